"""An exported .tflite file behind the interface of an engine: one step, states in and out."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgernn.runtime.errors import FileFormatError, InputError, MissingExtraError
from edgernn.runtime.program import Program

PACKAGES: Final = (
    ("ai-edge-litert", "ai_edge_litert.interpreter"),
    ("tflite-runtime", "tflite_runtime.interpreter"),
)
SIGNATURE: Final = "step"


class TFLiteEngine:
    """One loaded .tflite file, executed by ai-edge-litert or, without it, tflite-runtime.

    content: a file's bytes, or its path; written by `edgernn.exporters.tflite.to_tflite`.
    program: if given, the file must have its inputs, outputs and states, in size and scale.
    One thread. An engine keeps no state between steps; it is not safe to share between threads.

    Raises MissingExtraError without an interpreter, FileFormatError for a file that does not load
    or is not the program's.
    """

    def __init__(
        self, content: bytes | str | os.PathLike[str], program: Program | None = None
    ) -> None:
        opened = open_model(content, SIGNATURE)
        self.name, self.where, self._interpreter = opened.name, opened.where, opened.interpreter
        ins, outs = opened.inputs, opened.outputs
        pairs = {f"state_{n}": f"state_{n}_next" for n in _state_names(ins, outs, program)}
        self._states_in = {k.removeprefix("state_"): _slot(ins[k]) for k in pairs}
        self._states_out = [(k.removeprefix("state_"), outs[v]["index"]) for k, v in pairs.items()]
        self._inputs = {k: _slot(v) for k, v in ins.items() if k not in pairs}
        following = set(pairs.values())
        self._outputs = [(k, v["index"]) for k, v in outs.items() if k not in following]
        if program is not None:
            _compare(program, ins, outs, self.where)

    def step(
        self, inputs: Mapping[str, NDArray[Any]], states: Mapping[str, NDArray[np.int16]]
    ) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[np.int16]]]:
        """One step: (outputs, next states), fresh arrays (size,) by name.

        inputs: name -> (size,) int16, or float32 in a file with float_io.
        states: name -> (size,) int16. Raises InputError for a name, size or dtype that differs.
        """
        self._set(self._inputs, inputs, "input")
        self._set(self._states_in, states, "state")
        interpreter = self._interpreter
        try:
            interpreter.invoke()
        except RuntimeError as error:
            raise FileFormatError(
                f"{self.where} fails on {self.name}: {str(error).strip()[:200]}; export it again"
            ) from None
        get = interpreter.get_tensor
        return (
            {name: get(index)[0] for name, index in self._outputs},
            {name: get(index)[0] for name, index in self._states_out},
        )

    def _set(
        self,
        slots: Mapping[str, tuple[int, tuple[int, ...], Any]],
        arrays: Mapping[str, NDArray[Any]],
        what: str,
    ) -> None:
        if arrays.keys() != slots.keys():
            raise InputError(
                f"{self.where} takes the {what}s {sorted(slots)}, and was given {sorted(arrays)}"
            )
        for name, (index, shape, dtype) in slots.items():
            array = arrays[name]
            if array.shape != shape or array.dtype != dtype:
                raise InputError(
                    f"{what} {name} of {self.where} must be {dtype} of shape {shape}, "
                    f"not {array.dtype} of shape {array.shape}"
                )
            self._interpreter.set_tensor(index, array[None])


@dataclass(frozen=True)
class OpenModel:
    """An interpreter that is ready to run.

    name: its package and version. where: what to call the file. inputs, outputs: of a signature,
    name -> the interpreter's details.
    """

    name: str
    where: str
    interpreter: Any
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]


def open_model(content: bytes | str | os.PathLike[str], signature: str) -> OpenModel:
    """Load a file, or its content. MissingExtraError without an interpreter; FileFormatError."""
    name, interpreter_class = _interpreter()
    where = "the .tflite model" if isinstance(content, bytes) else os.fspath(content)
    if not isinstance(content, bytes):
        try:
            with open(where, "rb") as stream:
                content = stream.read()
        except OSError as error:
            raise FileFormatError(f"cannot read {where}: {error.strerror}") from None
    try:
        with _quiet():
            interpreter = interpreter_class(model_content=content, num_threads=1)
            interpreter.allocate_tensors()
        # A runner that lives on holds the interpreter's memory, which invoke() does not tolerate.
        runner = interpreter.get_signature_runner(signature)
        ins, outs = runner.get_input_details(), runner.get_output_details()
    except (ValueError, RuntimeError) as error:
        raise FileFormatError(
            f"{where} does not run on {name}: {str(error).strip()[:300]}"
        ) from None
    return OpenModel(name, where, interpreter, ins, outs)


@contextmanager
def _quiet() -> Iterator[None]:
    """LiteRT announces its delegate on the process's stderr, past Python; errors are raised."""
    sys.stderr.flush()
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)


def _interpreter() -> tuple[str, Any]:
    for package, module in PACKAGES:
        try:
            interpreter = importlib.import_module(module).Interpreter
        except ModuleNotFoundError:
            continue
        return f"{package} {importlib.metadata.version(package)}", interpreter
    raise MissingExtraError(
        "a .tflite file cannot be run without ai-edge-litert or tflite-runtime; "
        "install one with: pip install 'edgernn[tflite]'"
    )


def _slot(detail: Mapping[str, Any]) -> tuple[int, tuple[int, ...], Any]:
    return detail["index"], (int(detail["shape"][-1]),), np.dtype(detail["dtype"])


def _state_names(
    ins: Mapping[str, Any], outs: Mapping[str, Any], program: Program | None
) -> list[str]:
    if program is not None:
        return [s.name for s in program.states if f"state_{s.name}" in ins]
    names = [k.removeprefix("state_") for k in ins if k.startswith("state_")]
    return [name for name in names if f"state_{name}_next" in outs]


def _compare(program: Program, ins: Mapping[str, Any], outs: Mapping[str, Any], where: str) -> None:
    expected_in = {name: name for name in program.inputs}
    expected_in |= {f"state_{s.name}": s.input for s in program.states}
    expected_out = dict(program.outputs)
    expected_out |= {f"state_{s.name}_next": s.output for s in program.states}
    exposed = {k for k in outs if k.startswith("tensor_")} - set(expected_out)
    for found, expected, extra in ((ins, expected_in, set()), (outs, expected_out, exposed)):
        if set(found) - extra != set(expected):
            raise FileFormatError(
                f"{where} has the tensors {sorted(found)} where the program has {sorted(expected)}"
                "; export the program again"
            )
        for name, tensor_name in expected.items():
            tensor, detail = program.tensors[tensor_name], found[name]
            # A float32 edge has no scale of its own.
            scales = list(detail["quantization_parameters"]["scales"]) or [float(tensor.scale)]
            if tuple(detail["shape"]) != (1, tensor.size) or scales != [float(tensor.scale)]:
                raise FileFormatError(
                    f"tensor {name} of {where} is not the program's; export the program again"
                )
