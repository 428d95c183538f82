"""An exported .tflite file of a window program behind the interface of a window engine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgernn.engines.tflite import open_model
from edgernn.runtime.errors import FileFormatError, InputError
from edgernn.runtime.program import Tensor
from edgernn.runtime.window import Window

SIGNATURE: Final = "window"
Int16Array = NDArray[np.int16]


class TFLiteWindowEngine:
    """One loaded .tflite file, executed by ai-edge-litert or, without it, tflite-runtime.

    content: a file's bytes, or its path; written by
    `edgernn.exporters.tflite_window.to_tflite_window` for the window program, whose inputs and
    outputs it must have in size and scale. It runs windows of any length; another length than the
    last one takes a moment longer. One thread; not safe to share between threads.

    Raises MissingExtraError without an interpreter, FileFormatError for a file that does not load
    or is not the window program's.
    """

    steps: int | None = None

    def __init__(self, content: bytes | str | os.PathLike[str], window: Window) -> None:
        opened = open_model(content, SIGNATURE)
        self.name, self.where, self._interpreter = opened.name, opened.where, opened.interpreter
        _compare(window, opened.inputs, opened.outputs, self.where)
        self._inputs = [(t, opened.inputs[t.name]["index"]) for t in window.inputs]
        self._outputs = {name: opened.outputs[name]["index"] for name in window.outputs}
        self._length = int(opened.inputs[window.inputs[0].name]["shape"][1])

    def run(self, inputs: Mapping[str, Int16Array]) -> dict[str, Int16Array]:
        """A window: inputs (T, F) int16 by name -> outputs (T, O) or (O,) int16 by name.

        Raises InputError for a name, size or dtype that differs, and for a window without steps.
        """
        length = self._checked(inputs)
        interpreter = self._interpreter
        try:
            if length != self._length:
                for t, index in self._inputs:
                    interpreter.resize_tensor_input(index, [1, length, t.size])
                interpreter.allocate_tensors()
                self._length = length
            for t, index in self._inputs:
                interpreter.set_tensor(index, inputs[t.name][None])
            interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise FileFormatError(
                f"{self.where} fails on {self.name}: {str(error).strip()[:200]}; export it again"
            ) from None
        return {name: interpreter.get_tensor(index)[0] for name, index in self._outputs.items()}

    def _checked(self, inputs: Mapping[str, Int16Array]) -> int:
        names = sorted(t.name for t, _ in self._inputs)
        if sorted(inputs) != names:
            raise InputError(
                f"{self.where} takes the inputs {names}, and was given {sorted(inputs)}"
            )
        length = len(inputs[names[0]]) if inputs[names[0]].ndim else 0
        for t, _ in self._inputs:
            array = inputs[t.name]
            if array.shape != (length, t.size) or array.dtype != np.int16 or not length:
                raise InputError(
                    f"input {t.name} of {self.where} must be int16 (T, {t.size}), T at least 1 and "
                    f"the same for all inputs, not {array.dtype} of shape {array.shape}"
                )
        return length


def _compare(window: Window, ins: Mapping[str, Any], outs: Mapping[str, Any], where: str) -> None:
    tensors, once = window.tensors(), window.once()
    expected_out = {name: tensors[source.value] for name, source in window.outputs.items()}
    expected_in = {t.name: t for t in window.inputs}
    for found, expected in ((ins, expected_in), (outs, expected_out)):
        if set(found) != set(expected):
            raise FileFormatError(
                f"{where} has the tensors {sorted(found)} where the window program has "
                f"{sorted(expected)}; export the program again"
            )
    length = list(ins[window.inputs[0].name]["shape"])[1:2]
    for name, t in expected_in.items():
        _compare_tensor(name, t, ins[name], [1, *length, t.size], where)
    for name, source in window.outputs.items():
        every = source.at == "step" and source.value not in once
        t = tensors[source.value]
        _compare_tensor(name, t, outs[name], [1, *(length if every else []), t.size], where)


def _compare_tensor(name: str, t: Tensor, detail: Any, shape: list[int], where: str) -> None:
    scales = list(detail["quantization_parameters"]["scales"])
    same = detail["dtype"] == np.int16 and scales == [float(t.scale)]
    if not same or list(detail["shape"]) != shape:
        raise FileFormatError(
            f"tensor {name} of {where} is not the window program's; export the program again"
        )
