"""What a step is given, looked at closely: refused in one sentence, or brought to where it fits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgernn.runtime.errors import InputError
from edgernn.runtime.program import Program, Tensor

Int16Array = NDArray[np.int16]


class Window(Protocol):
    """The part of an engine that is needed here."""

    def window(self, x: Sequence[Int16Array]) -> tuple[Int16Array, ...]:
        """(T, F) per input -> (T, O) per output; the state moves on."""


class CheckedStep:
    """`StepRuntime.step_int` for arguments of any kind: arrays of any layout, and what is none."""

    def __init__(self, program: Program, engine: Window) -> None:
        self._inputs = [program.tensors[name] for name in program.inputs]
        self._outputs = [program.tensors[name] for name in program.outputs.values()]
        self._engine = engine

    def __call__(self, *x: Any, out: Any = None) -> Any:
        if not fits(x, self._inputs, ()):
            wanted = ", ".join(f"int16({t.size},)" for t in self._inputs)
            raise InputError(f"step_int takes {wanted}, not {described(x)}")
        if out is not None:
            self._refuse_out(out)
        rows = tuple(y[0] for y in self._engine.window([v[np.newaxis] for v in x]))
        if out is not None:
            out[...] = rows[0]
            return out
        return rows if len(rows) > 1 else rows[0]

    def _refuse_out(self, out: Any) -> None:
        if len(self._outputs) > 1:
            raise InputError(f"out= takes one output, and this program has {len(self._outputs)}")
        shape = (self._outputs[0].size,)
        if not (isinstance(out, np.ndarray) and out.dtype == np.int16 and out.shape == shape):
            raise InputError(f"out= is to be int16{shape}, not {described((out,))}")
        if not out.flags.writeable:
            raise InputError("out= is to be written to, and it is read-only")


def fits(x: Sequence[Any], tensors: Sequence[Tensor], lead: tuple[int, ...]) -> bool:
    """Is there an int16 array (*lead, size) for every tensor?"""
    return len(x) == len(tensors) and all(
        isinstance(v, np.ndarray) and v.dtype == np.int16 and v.shape == (*lead, t.size)
        for v, t in zip(x, tensors, strict=True)
    )


def described(x: Sequence[Any]) -> str:
    """Values as a message shows them."""
    shown = (
        f"{v.dtype}{v.shape}" if isinstance(v, np.ndarray) else f"a {type(v).__name__}" for v in x
    )
    return ", ".join(shown) or "nothing"
