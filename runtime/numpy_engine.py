"""The NumPy engine behind a StepRuntime: a compiled plan, stepped call by call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgernn.runtime.plan import Plan
from edgernn.runtime.program import Program

Int16Array = NDArray[np.int16]
_INT16 = np.dtype(np.int16)
_empty, _array = np.empty, np.ndarray
_BATCH = 64
"""Streams that one batched plan carries; more are taken in turns, so memory stays bounded."""
_BATCH_ELEMENTS = 1 << 24
"""Elements of its tensors; fewer streams at a time for a program of huge ones."""


class NumpyEngine:
    """See `edgernn.runtime.engine.Engine`. states: float64 views, which hold integers."""

    name = "numpy"

    def __init__(self, program: Program) -> None:
        self.program = program
        plan = Plan(program)
        self.states = plan.states
        self._outputs = [program.tensors[name] for name in program.outputs.values()]
        self._calls = tuple(plan.calls)
        self._in, self._out = list(plan.inputs.values()), list(plan.outputs.values())

    def recipe(self) -> tuple[Callable[..., NumpyEngine], tuple[Any, ...]]:
        """What makes another such engine."""
        return NumpyEngine, ()

    def step_function(self, checked: Callable[..., Any]) -> Callable[..., Any]:
        """`step_int` for plain arrays; `checked` is called with anything else."""
        if len(self._in) > 1 or len(self._out) > 1:
            return self._step_of_several(checked)
        (target,), (result,), calls = self._in, self._out, self._calls
        shape, out_shape = target.shape, result.shape

        def step_int(*x: Any, out: Any = None) -> Any:
            value = x[0] if len(x) == 1 else None
            if type(value) is not _array or value.dtype is not _INT16 or value.shape != shape:
                return checked(*x, out=out)
            if out is not None and (
                type(out) is not _array
                or out.dtype is not _INT16
                or out.shape != out_shape
                or not out.flags.writeable
            ):
                return checked(*x, out=out)
            target[...] = value
            for call in calls:
                call()
            if out is None:
                out = _empty(out_shape, _INT16)
            out[...] = result
            return out

        return step_int

    def _step_of_several(self, checked: Callable[..., Any]) -> Callable[..., Any]:
        """The same for several inputs or outputs."""
        targets, sources, calls = self._in, self._out, self._calls

        def step_int(*x: Any, out: Any = None) -> Any:
            if out is not None or len(x) != len(targets):
                return checked(*x, out=out)
            for value, target in zip(x, targets, strict=True):
                if (
                    type(value) is not _array
                    or value.dtype is not _INT16
                    or value.shape != target.shape
                ):
                    return checked(*x, out=out)
            for value, target in zip(x, targets, strict=True):
                target[...] = value
            for call in calls:
                call()
            results = tuple(source.astype(_INT16) for source in sources)
            return results if len(results) > 1 else results[0]

        return step_int

    def window(self, x: Sequence[Int16Array]) -> tuple[Int16Array, ...]:
        """(T, F) per input -> (T, O) per output; the state moves on."""
        length = len(x[0])
        results = tuple(np.empty((length, t.size), np.int16) for t in self._outputs)
        calls = self._calls
        for t in range(length):
            for target, value in zip(self._in, x, strict=True):
                target[...] = value[t]
            for call in calls:
                call()
            for result, source in zip(results, self._out, strict=True):
                result[t] = source
        return results

    def batch(self, x: Sequence[Int16Array]) -> tuple[Int16Array, ...]:
        """(N, T, F) per input -> (N, T, O) per output, each stream from the initial state."""
        streams, length = x[0].shape[:2]
        results = tuple(np.empty((streams, length, t.size), np.int16) for t in self._outputs)
        plan: Plan | None = None
        elements = sum(t.size for t in self.program.tensors.values())
        most = max(1, min(_BATCH, _BATCH_ELEMENTS // elements))
        for begin in range(0, streams, most):
            part = slice(begin, min(begin + most, streams))
            width = part.stop - part.start
            if plan is None or plan.batch != width:
                plan = Plan(self.program, width)
            for state in self.program.states:
                plan.states[state.name][...] = state.initial[:, None]
            for t in range(length):
                for target, value in zip(plan.inputs.values(), x, strict=True):
                    target[...] = value[part, t].T
                for call in plan.calls:
                    call()
                for result, source in zip(results, plan.outputs.values(), strict=True):
                    result[part, t] = source.T
        return results
