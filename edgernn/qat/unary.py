"""Functions of one number, by tables of all int16: what the operators compute, and their slopes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn.qat.rule import Array, Float32, Gradients, Rule, Weights
from edgernn.runtime.fixedpoint import INT16_MAX, INT16_MIN
from edgernn.runtime.operators import KINDS
from edgernn.runtime.program import UNIT, Operator, Scale, Tensor

_ALL: Final = np.arange(INT16_MIN, INT16_MAX + 1, dtype=np.int64)


class Unary(Rule):
    """A function of one number, by the table of all int16, and the table of its slopes."""

    def __init__(self, op: Operator, ins: Sequence[Tensor], outs: Sequence[Tensor]) -> None:
        super().__init__(op, ins, outs)
        if op.table is None:
            self.values, self.rise = _tables(op.kind, ins[0].scale, outs[0].scale)
        else:
            self.values, self.rise = _tabulated(op, ins[0].scale, outs[0].scale)

    def forward(self, x: Sequence[Array], y: Array, w: Weights | None) -> None:
        # Without "clip", which never does, NumPy would copy y first.
        self.values.take(_index(x[0]), out=y, mode="clip")

    def slopes(self, x: Sequence[Array], y: Array) -> Float32 | None:
        return self.rise.take(_index(x[0]))

    def backward(
        self, g: Float32, gx: Gradients, x: Sequence[Float32], s: Float32 | None, w: Weights | None
    ) -> None:
        (to,) = gx
        if to is not None:
            assert s is not None
            to += g * s


def _index(x: Array) -> NDArray[np.intp]:
    return (x + 32768.0).astype(np.intp)


@cache
def _tables(kind: str, scale_in: Scale, scale_out: Scale) -> tuple[Array, Float32]:
    return _tabulated(Operator(kind, ("x",), ("y",)), scale_in, scale_out)


def _tabulated(op: Operator, scale_in: Scale, scale_out: Scale) -> tuple[Array, Float32]:
    """Values and slopes of an operator for every int16."""
    ins, outs = [Tensor("x", 1, scale_in)], [Tensor("y", 1, scale_out)]
    (found,) = KINDS[op.kind].compute(op, ins, outs, [_ALL])
    x, y = _ALL.astype(np.float64), found.astype(np.float64)
    real = y * float(UNIT)
    ratio = float(scale_in) / float(scale_out)
    if op.kind == "logistic":
        rise = real * (1.0 - real) * ratio
    elif op.kind == "tanh":
        rise = (1.0 - real * real) * ratio
    elif op.kind == "lookup":
        assert op.table is not None
        rise = np.diff(op.table.astype(np.float64)).repeat(128) / 128.0
    elif op.kind == "rsqrt":
        rise = np.where((x > 0) & (y < INT16_MAX), -0.5 * y / np.maximum(x, 1.0), 0.0)
    elif op.kind == "relu":
        rise = np.where(x > 0, 1.0, 0.0)
    else:
        inside = (y > INT16_MIN) & (y < INT16_MAX)
        rise = np.where(inside, ratio, 0.0)
    return y, rise.astype(np.float32)
