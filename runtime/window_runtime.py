"""WindowRuntime: a window program in NumPy, one window or a batch of them at a time."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgernn.runtime.checks import described
from edgernn.runtime.engine import StepRuntime, quantize
from edgernn.runtime.errors import InputError
from edgernn.runtime.program import Program
from edgernn.runtime.window import Source, Stage, Window, validate_window, window_of

Int16Array = NDArray[np.int16]


class WindowRuntime:
    """Runs a window program. It has no state: every window starts anew.

    Shapes below are for one input of F features and one output of O; with several, pass one array
    per input in order and receive a tuple of outputs. An output that there is once in a window
    comes without the time axis.
    """

    def __init__(self, program: Window | Program) -> None:
        window = window_of(program) if isinstance(program, Program) else program
        validate_window(window)
        self.program = window
        self._runtimes = [StepRuntime(stage.program) for stage in window.stages]
        self._tensors = window.tensors()

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> WindowRuntime:
        """Read a `.safetensors` program of either kind. FileFormatError if it is not sound."""
        from edgernn.runtime.file import load_any

        return cls(load_any(path))

    def run(self, *x: Any) -> Any:
        """A window (T, F) -> (T, O) or (O,) float32; a batch (N, T, F) -> (N, ...).

        A mask, if the program has one, is an input like the others: (T, 1), 0 where a step is
        padding. InputError for NaN, infinity or a wrong shape.
        """
        if len(x) != len(self.program.inputs):
            raise InputError(
                f"this program has {len(self.program.inputs)} inputs, and {len(x)} were given"
            )
        results = self.run_int(
            *(quantize(v, t) for v, t in zip(x, self.program.inputs, strict=True))
        )
        several = isinstance(results, tuple)
        floats = tuple(
            value * np.float32(float(self._tensors[source.value].scale))
            for value, source in zip(
                results if several else (results,), self.program.outputs.values(), strict=True
            )
        )
        return floats if several else floats[0]

    def run_int(self, *x: Int16Array) -> Any:
        """`run` on the raw bits."""
        values = self.values(*x)
        results = tuple(self._picked(values, source) for source in self.program.outputs.values())
        if x[0].ndim == 2:
            results = tuple(value[0] for value in results)
        return results if len(results) > 1 else results[0]

    def values(self, *x: Int16Array) -> dict[str, Int16Array]:
        """Every value that the stages exchange, (N, T, size), or (N, size) if there is one."""
        named = self._checked(x)
        for stage, runtime in zip(self.program.stages, self._runtimes, strict=True):
            named.update(self._scan(stage, runtime, named))
        return named

    def _checked(self, x: Sequence[Int16Array]) -> dict[str, Int16Array]:
        lead = np.shape(x[0])[:-1] if x else ()
        fits = len(x) == len(self.program.inputs) and all(
            isinstance(v, np.ndarray) and v.dtype == np.int16 and v.shape == (*lead, t.size)
            for v, t in zip(x, self.program.inputs, strict=True)
        )
        if len(lead) not in (1, 2) or not fits or 0 in lead:
            sizes = ", ".join(f"(T, {t.size}) or (N, T, {t.size})" for t in self.program.inputs)
            raise InputError(f"a window is int16 {sizes}, T and N at least 1, not {described(x)}")
        arrays = [v if len(lead) == 2 else v[np.newaxis] for v in x]
        return {t.name: v for t, v in zip(self.program.inputs, arrays, strict=True)}

    def _scan(
        self, stage: Stage, runtime: StepRuntime, values: dict[str, Int16Array]
    ) -> dict[str, Int16Array]:
        inputs = [self._picked(values, stage.sources[n]) for n in stage.program.inputs]
        if stage.direction == "once":
            inputs = [v[:, np.newaxis] for v in inputs]
        if stage.direction == "reverse":
            inputs = [v[:, ::-1] for v in inputs]
        if len(inputs[0]) == 1:
            # The plan of one stream is there; one of a batch would be compiled for each call.
            runtime.reset()
            results = runtime.run_int(*(v[0] for v in inputs))
        else:
            results = runtime.run_int(*inputs)
        results = results if isinstance(results, tuple) else (results,)
        if len(inputs[0]) == 1:
            results = tuple(v[np.newaxis] for v in results)
        if stage.direction == "once":
            results = tuple(v[:, 0] for v in results)
        if stage.direction == "reverse":
            results = tuple(v[:, ::-1] for v in results)
        return dict(zip(stage.program.outputs, results, strict=True))

    @staticmethod
    def _picked(values: dict[str, Int16Array], source: Source) -> Int16Array:
        value = values[source.value]
        if source.at == "step":
            return value
        return value[:, 0] if source.at == "first" else value[:, -1]
