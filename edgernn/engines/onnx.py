"""ONNX Runtime as an engine: exported files executed on one thread of the CPU."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgernn.runtime.errors import FileFormatError, InputError, MissingExtraError
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
    where = "the ONNX model" if isinstance(content, bytes) else os.fspath(content)
    try:
        model = content if isinstance(content, bytes) else Path(content).read_bytes()
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except OSError as error:
        raise FileFormatError(f"cannot read {where}: {error.strerror}") from None
    except Exception as error:
        # ONNX Runtime's exceptions share no base of their own.
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else "no reason"
        raise FileFormatError(f"{where} does not load in {_name()}: {reason}") from None


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

    content: the model, or the path of its file. program: what it was exported from; FileFormatError
    if the model's inputs or outputs are not the program's.
    """

    def __init__(self, content: bytes | str | os.PathLike[str], program: Program) -> None:
        self._session = _session(content)
        self.name = _name()
        tensors = program.tensors
        self._inputs = {n: (n, tensors[n].size) for n in program.inputs}
        self._states = {s.name: (f"state_{s.name}", tensors[s.input].size) for s in program.states}
        declared = {i.name: i for i in self._session.get_inputs()}
        self._fetch = [o.name for o in self._session.get_outputs()]
        self._following = {f"state_{name}_next": name for name in self._states}
        expected = dict([*self._inputs.values(), *self._states.values()])
        missing = {*program.outputs, *self._following} - set(self._fetch)
        if missing or {n: i.shape[-1] for n, i in declared.items()} != expected:
            where = "the ONNX model" if isinstance(content, bytes) else os.fspath(content)
            raise FileFormatError(f"{where} is not this program's; export the program again")
        floats = {n for n, i in declared.items() if i.type == "tensor(float)"}
        self._dtypes = {n: np.dtype(np.float32 if n in floats else np.int16) for n in expected}

    def step(
        self, inputs: Mapping[str, NDArray[Any]], states: Mapping[str, Int16Array]
    ) -> tuple[dict[str, NDArray[Any]], dict[str, Int16Array]]:
        """One step: (outputs, next states), arrays (size,) by name; exposed tensors are outputs.

        inputs: name -> (size,) int16, or float32 in a model with float_io. states: name -> (size,)
        int16. Raises InputError for an array that is missing or does not fit.
        """
        feeds = self._fitting(inputs, self._inputs, "input")
        feeds |= self._fitting(states, self._states, "state")
        values = zip(self._fetch, self._session.run(self._fetch, feeds), strict=True)
        outputs: dict[str, NDArray[Any]] = {}
        following: dict[str, Int16Array] = {}
        for name, value in values:
            if name in self._following:
                following[self._following[name]] = value[0]
            else:
                outputs[name] = value[0]
        return outputs, following

    def _fitting(
        self,
        arrays: Mapping[str, NDArray[Any]],
        wanted: Mapping[str, tuple[str, int]],
        what: str,
    ) -> dict[str, NDArray[Any]]:
        """The arrays with a batch dimension, by their names in the model."""
        if arrays.keys() != wanted.keys():
            raise InputError(f"the {what}s must be {sorted(wanted)}, not {sorted(arrays)}")
        for name, (key, size) in wanted.items():
            array, dtype = arrays[name], self._dtypes[key]
            if array.shape != (size,) or array.dtype != dtype:
                raise InputError(
                    f"{what} {name} must be ({size},) {dtype}, not {array.shape} {array.dtype}"
                )
        return {key: arrays[name][None] for name, (key, _) in wanted.items()}


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
