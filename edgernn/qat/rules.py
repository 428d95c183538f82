"""The operators of several inputs, of weights, and those that move numbers; see `qat.rule`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from edgernn.qat.rule import Array, Float32, Gradients, Rule, Weights
from edgernn.qat.unary import Unary
from edgernn.runtime.fixedpoint import INT16_MAX, INT16_MIN, quantize_multiplier
from edgernn.runtime.program import Operator, Program, Tensor

Q15: Final = 2.0**-15
_POWER: Final = 1 << 30
"""The 31-bit multiplier of a power of two."""


def _unsaturated(y: Array) -> Float32 | None:
    """1 where a value is not at a rail, else 0; None if none is."""
    inside = (y > INT16_MIN) & (y < INT16_MAX)
    return None if inside.all() else inside.astype(np.float32)


class Linear(Rule):
    """Matrix product. After `backward`, g is the gradient of the accumulator."""

    def __init__(self, op: Operator, ins: Sequence[Tensor], outs: Sequence[Tensor]) -> None:
        super().__init__(op, ins, outs)
        assert op.matrix is not None
        self.factor = op.matrix.multiplier * 2.0 ** -op.matrix.shift.astype(np.float64)
        self.slope = self.factor.astype(np.float32)

    def forward(self, x: Sequence[Array], y: Array, w: Weights | None) -> None:
        # Exact: accumulator times multiplier is below 2^53 wherever it does not saturate.
        assert w is not None
        v: Array = torch.mm(_rows(x[0]), w.forward).numpy()
        v += w.bias
        v *= self.factor
        v += 0.5
        np.floor(v, out=v)
        np.maximum(v, INT16_MIN, out=v)
        np.minimum(v.reshape(y.shape), INT16_MAX, out=y)

    def slopes(self, x: Sequence[Array], y: Array) -> Float32 | None:
        inside = _unsaturated(y)
        return None if inside is None else np.multiply(inside, self.slope, out=inside)

    def backward(
        self, g: Float32, gx: Gradients, x: Sequence[Float32], s: Float32 | None, w: Weights | None
    ) -> None:
        assert w is not None
        g *= self.slope if s is None else s
        (to,) = gx
        if to is not None:
            to += torch.mm(_rows(g), w.backward).numpy().reshape(to.shape)


def _rows(x: NDArray[Any]) -> torch.Tensor:
    """(..., K) as (M, K); a copy of a constant, which torch must not be able to write."""
    flat = x.reshape(-1, x.shape[-1])
    return torch.from_numpy(flat if flat.flags.writeable else flat.copy())


class Sum(Rule):
    """Sum or difference with three scales."""

    def __init__(self, op: Operator, ins: Sequence[Tensor], outs: Sequence[Tensor]) -> None:
        super().__init__(op, ins, outs)
        a, b, out = (float(t.scale) for t in (*ins, *outs))
        self.sign = 1.0 if op.kind == "add" else -1.0
        self.equal = a == b == out
        twice_max = 2.0 * max(a, b)
        q, shift = quantize_multiplier(twice_max / (32768.0 * out))
        parts = [quantize_multiplier(s / twice_max) for s in (a, b)]
        # With powers of two the roundings are one, as in `edgernn.runtime.arithmetic`.
        lossless = all(p == _POWER and k >= -14 for p, k in parts)
        self.dyadic = lossless and q == _POWER and shift < 0
        self.first, self.second = a / out, self.sign * b / out
        self.nudge = 2.0 ** (shift - 1)

    def forward(self, x: Sequence[Array], y: Array, w: Weights | None) -> None:
        a, b = x
        if self.equal:
            (np.add if self.sign > 0 else np.subtract)(a, b, out=y)
        elif self.dyadic:
            v = a * self.first
            v += b * self.second
            v += np.copysign(self.nudge, v)
            v += 0.5
            np.floor(v, out=y)
        else:
            super().forward(x, y, w)
            return
        np.maximum(y, INT16_MIN, out=y)
        np.minimum(y, INT16_MAX, out=y)

    def slopes(self, x: Sequence[Array], y: Array) -> Float32 | None:
        return _unsaturated(y)

    def backward(
        self, g: Float32, gx: Gradients, x: Sequence[Float32], s: Float32 | None, w: Weights | None
    ) -> None:
        if s is not None:
            g *= s
        for to, ratio in zip(gx, (self.first, self.second), strict=True):
            if to is None:
                continue
            if ratio == 1.0:
                to += g
            elif ratio == -1.0:
                to -= g
            else:
                to += g * ratio


class Mul(Rule):
    """Product; -32768 squared alone saturates."""

    reads = True

    def forward(self, x: Sequence[Array], y: Array, w: Weights | None) -> None:
        # Both roundings in one, as `edgernn.runtime.arithmetic` derives.
        v = x[0] * x[1]
        v *= Q15
        v += np.copysign(Q15, v)
        v += 0.5
        np.floor(v, out=v)
        np.minimum(v, INT16_MAX, out=y)

    def backward(
        self, g: Float32, gx: Gradients, x: Sequence[Float32], s: Float32 | None, w: Weights | None
    ) -> None:
        g *= Q15
        for to, other in zip(gx, reversed(x), strict=True):
            if to is not None:
                to += g * other


class Maximum(Rule):
    """The larger one; of equal ones each gets half of the gradient."""

    def forward(self, x: Sequence[Array], y: Array, w: Weights | None) -> None:
        np.maximum(x[0], x[1], out=y)

    def slopes(self, x: Sequence[Array], y: Array) -> Float32 | None:
        share: Float32 = (0.5 + 0.5 * np.sign(x[0] - x[1])).astype(np.float32)
        return share

    def backward(
        self, g: Float32, gx: Gradients, x: Sequence[Float32], s: Float32 | None, w: Weights | None
    ) -> None:
        assert s is not None
        for to, share in zip(gx, (s, 1.0 - s), strict=True):
            if to is not None:
                to += g * share


class Select(Rule):
    """One of two by a mask, which gets no gradient."""

    def __init__(self, op: Operator, ins: Sequence[Tensor], outs: Sequence[Tensor]) -> None:
        super().__init__(op, ins, outs)
        self.differentiable = range(1, 3)

    def forward(self, x: Sequence[Array], y: Array, w: Weights | None) -> None:
        y[...] = np.where(x[0] != 0, x[1], x[2])

    def slopes(self, x: Sequence[Array], y: Array) -> Float32 | None:
        taken: Float32 = (x[0] != 0).astype(np.float32)
        return taken

    def backward(
        self, g: Float32, gx: Gradients, x: Sequence[Float32], s: Float32 | None, w: Weights | None
    ) -> None:
        assert s is not None
        for to, share in zip(gx[1:], (s, 1.0 - s), strict=True):
            if to is not None:
                to += g * share


class Concat(Rule):
    """One after the other."""

    def forward(self, x: Sequence[Array], y: Array, w: Weights | None) -> None:
        np.concatenate(x, axis=-1, out=y)

    def backward(
        self, g: Float32, gx: Gradients, x: Sequence[Float32], s: Float32 | None, w: Weights | None
    ) -> None:
        end = 0
        for to, tensor in zip(gx, self.ins, strict=True):
            begin, end = end, end + tensor.size
            if to is not None:
                to += g[..., begin:end]


class Embedding(Rule):
    """Rows of a table; an id gets no gradient."""

    def __init__(self, op: Operator, ins: Sequence[Tensor], outs: Sequence[Tensor]) -> None:
        super().__init__(op, ins, outs)
        assert op.table is not None
        self.last, self.differentiable = len(op.table) - 1, range(0)

    def rows(self, ids: Array) -> NDArray[np.intp]:
        """The row that each id (..., 1) is of."""
        return np.clip(ids[..., 0], 0, self.last).astype(np.intp)

    def forward(self, x: Sequence[Array], y: Array, w: Weights | None) -> None:
        assert w is not None
        y[...] = w.forward.numpy()[self.rows(x[0])]


RULES: Final[dict[str, Callable[[Operator, Sequence[Tensor], Sequence[Tensor]], Rule]]] = {
    "linear": Linear,
    "add": Sum,
    "sub": Sum,
    "mul": Mul,
    "maximum": Maximum,
    "select": Select,
    "concat": Concat,
    "embedding": Embedding,
    **dict.fromkeys(("logistic", "tanh", "relu", "rescale", "lookup", "rsqrt"), Unary),
}
"""Every operator but split, whose outputs are views of its input."""


def rule_of(op: Operator, program: Program) -> Rule | None:
    """The rule of a program's operator; None for a split."""
    if op.kind == "split":
        return None
    ins, outs = ([program.tensors[n] for n in names] for names in (op.inputs, op.outputs))
    return RULES[op.kind](op, ins, outs)
