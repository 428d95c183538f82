"""ONNX Runtime as an engine: exported files executed on one thread of the CPU."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgernn.runtime.errors import InputError, MissingExtraError
from edgernn.runtime.program import Program

Int16Array = NDArray[np.int16]
FloatArray = NDArray[np.float32]

_FATAL: Final = 4


def _session(content: bytes | str | os.PathLike[str]) -> Any:
    """An InferenceSession, one thread, silent: what goes wrong is an exception."""
    onnxruntime = _package()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = _FATAL
    model = content if isinstance(content, bytes) else Path(content).read_bytes()
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _package() -> Any:
    try:
        return importlib.import_module("onnxruntime")
    except ImportError:
        raise MissingExtraError(
            "running ONNX needs the package onnxruntime; "
            "install it with: pip install 'edgernn[onnx]'"
        ) from None


def _name() -> str:
    return f"onnxruntime {_package().__version__}"


class OnnxEngine:
    """Steps the integer model of `edgernn.exporters.onnx_step.to_onnx` for one stream.

    content: the model, or the path of its file. program: what it was exported from.
    """

    def __init__(self, content: bytes | str | os.PathLike[str], program: Program) -> None:
        self._session = _session(content)
        tensors = program.tensors
        self._inputs = {name: tensors[name].size for name in program.inputs}
        self._states = {state.name: tensors[state.input].size for state in program.states}
        self._output_names = list(program.outputs)
        self._fetch = [*program.outputs, *(f"state_{name}_next" for name in self._states)]

    @property
    def name(self) -> str:
        """Package and version."""
        return _name()

    def step(
        self, inputs: Mapping[str, Int16Array], states: Mapping[str, Int16Array]
    ) -> tuple[dict[str, Int16Array], dict[str, Int16Array]]:
        """One step: input and state name -> (size,) int16; returns outputs and next states.

        Raises InputError for an array that is missing or does not fit.
        """
        feeds = _fitting(inputs, self._inputs, "input", "")
        feeds |= _fitting(states, self._states, "state", "state_")
        results = [array[0] for array in self._session.run(self._fetch, feeds)]
        count = len(self._output_names)
        outputs = dict(zip(self._output_names, results[:count], strict=True))
        return outputs, dict(zip(self._states, results[count:], strict=True))


def _fitting(
    arrays: Mapping[str, Int16Array], sizes: Mapping[str, int], what: str, prefix: str
) -> dict[str, Int16Array]:
    """The arrays with a batch dimension, by their names in the model."""
    if set(arrays) != set(sizes):
        raise InputError(f"the {what}s must be {sorted(sizes)}, not {sorted(arrays)}")
    for name, size in sizes.items():
        shape, dtype = arrays[name].shape, arrays[name].dtype
        if shape != (size,) or dtype != np.int16:
            raise InputError(f"{what} {name} must be ({size},) int16, not {shape} {dtype}")
    return {f"{prefix}{name}": arrays[name][None] for name in sizes}


class FloatOnnx:
    """Runs the float reference of `edgernn.float_onnx.float_onnx` over sequences.

    content: the model, or the path of its file.
    """

    def __init__(self, content: bytes | str | os.PathLike[str]) -> None:
        self._session = _session(content)
        self._fetch = [output.name for output in self._session.get_outputs()]

    @property
    def name(self) -> str:
        """Package and version."""
        return _name()

    def run(
        self, inputs: Mapping[str, FloatArray], states: Mapping[str, FloatArray]
    ) -> dict[str, FloatArray]:
        """One or more sequences, all outputs by name.

        inputs: name -> (N, T, F) or (T, N, F) float32, the model's own layout; states: state name
        -> (N, H) float32. Raises InputError for an array that is missing or does not fit.
        """
        feeds = {**inputs, **{f"state_{name}": array for name, array in states.items()}}
        declared = {i.name: i.shape for i in self._session.get_inputs()}
        if set(feeds) != set(declared):
            raise InputError(f"the inputs must be {sorted(declared)}, not {sorted(feeds)}")
        for name, shape in declared.items():
            given = feeds[name]
            fits = given.ndim == len(shape) and given.shape[-1] == shape[-1]
            if not fits or given.dtype != np.float32:
                expected = ", ".join(str(n) for n in shape)
                raise InputError(
                    f"input {name} must be ({expected}) float32, not {given.shape} {given.dtype}"
                )
        return dict(zip(self._fetch, self._session.run(self._fetch, feeds), strict=True))
