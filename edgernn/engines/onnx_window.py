"""ONNX Runtime as an engine for whole windows."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edgernn.engines.onnx import _name, _session
from edgernn.runtime.checks import described
from edgernn.runtime.errors import FileFormatError, InputError
from edgernn.runtime.window import Window

Int16Array = NDArray[np.int16]


class OnnxWindowEngine:
    """Runs the integer model of `edgernn.exporters.onnx_window.to_onnx_window`, a window at a time.

    content: the model, or the path of its file. window: what it was exported from; FileFormatError
    if the model's inputs or outputs are not the window's.
    """

    steps = None

    def __init__(self, content: bytes | str | os.PathLike[str], window: Window) -> None:
        self._session = _session(content)
        self.name = _name()
        self._sizes = {tensor.name: tensor.size for tensor in window.inputs}
        tensors, once = window.tensors(), window.once()
        # Rank and size; what there is once has no time axis.
        inputs = {name: (3, size) for name, size in self._sizes.items()}
        outputs = {
            name: (3 if s.at == "step" and s.value not in once else 2, tensors[s.value].size)
            for name, s in window.outputs.items()
        }
        for expected, values in (
            (inputs, self._session.get_inputs()),
            (outputs, self._session.get_outputs()),
        ):
            found = {v.name: (len(v.shape), v.shape[-1]) for v in values if v.shape}
            same = len(values) == len(found) and all(v.type == "tensor(int16)" for v in values)
            if found != expected or not same:
                where = "the ONNX model" if isinstance(content, bytes) else os.fspath(content)
                raise FileFormatError(f"{where} is not this program's; export the program again")
        self._outputs = list(outputs)

    def run(self, inputs: Mapping[str, Int16Array]) -> dict[str, Int16Array]:
        """A window, input name -> (T, F) int16; outputs by name, (T, O) or (O,) int16.

        Raises InputError for an array that is missing or does not fit.
        """
        if inputs.keys() != self._sizes.keys():
            raise InputError(f"the inputs must be {sorted(self._sizes)}, not {sorted(inputs)}")
        length = len(next(iter(inputs.values())))
        for name, size in self._sizes.items():
            array = inputs[name]
            if array.shape != (length, size) or array.dtype != np.int16 or not length:
                raise InputError(
                    f"input {name} must be (T, {size}) int16, the same T >= 1 for every input, "
                    f"not {described([array])}"
                )
        feeds = {name: array[:, None] for name, array in inputs.items()}
        values = zip(self._outputs, self._session.run(self._outputs, feeds), strict=True)
        # The batch is the last axis but one, with a time axis before it or without.
        return {name: value[..., 0, :] for name, value in values}
