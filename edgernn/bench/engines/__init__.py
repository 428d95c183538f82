"""The engines of a benchmark: one module each, which a process of its own loads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Kind:
    """An engine that may take part.

    name: in options and in JSON. title: in tables. module: of `edgernn.bench.engines`. exact: must
    it give the bits of the integer program? reads: the files of the folder that it loads.
    """

    name: str
    title: str
    module: str
    exact: bool
    reads: tuple[str, ...]


FLOAT_FILE: Final = "model.float.safetensors"
KINDS: Final = {
    kind.name: kind
    for kind in (
        Kind("numpy", "NumPy", "numpy_engine", True, ("model.safetensors",)),
        Kind("native", "native C", "native", True, ("model.safetensors", "library.so")),
        Kind("litert", "LiteRT", "litert", True, ("model.tflite",)),
        Kind("tflite-runtime", "tflite-runtime", "tflite_runtime", True, ("model.tflite",)),
        Kind("onnx", "ONNX Runtime int8", "onnx", True, ("model.onnx",)),
        Kind("onnx-float", "ONNX Runtime float", "onnx_float", False, ("model.float.onnx",)),
        Kind("torch", "PyTorch float", "torch_float", False, (FLOAT_FILE,)),
        Kind("torch-int8", "PyTorch dynamic int8", "torch_dynamic", False, (FLOAT_FILE,)),
    )
}
"""By name, in the order of tables."""
BASELINE: Final = "torch"
"""Everything is also given as a ratio to this one."""
