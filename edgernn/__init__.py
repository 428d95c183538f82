"""Recurrent networks from PyTorch as one int8 integer program, the same bits on every engine.

    program = edgernn.quantize(model, (example,), calibration=x)
    edgernn.export(program, "build/", formats=("tflite", "onnx"))

`edgernn.runtime` steps the program with NumPy alone.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from edgernn.version import __version__

if TYPE_CHECKING:
    from edgernn.exporting import export as export
    from edgernn.quantization import quantize as quantize
    from edgernn.runtime.engine import StepRuntime as StepRuntime
    from edgernn.runtime.errors import EdgernnError as EdgernnError
    from edgernn.runtime.window_runtime import WindowRuntime as WindowRuntime

# Loaded on first use, so that `import edgernn.runtime` brings NumPy and nothing else.
_HOMES = {
    "EdgernnError": "edgernn.runtime.errors",
    "StepRuntime": "edgernn.runtime.engine",
    "WindowRuntime": "edgernn.runtime.window_runtime",
    "export": "edgernn.exporting",
    "quantize": "edgernn.quantization",
}

__all__ = ["EdgernnError", "StepRuntime", "WindowRuntime", "__version__", "export", "quantize"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
