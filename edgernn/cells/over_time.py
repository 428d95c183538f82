"""What a softmax over time is made of: the sum of the steps so far, the log of the sum of their
exponentials, and the first step that is read, held for all that follow.

A cell that runs backwards starts at the window's last step, so what one direction has summed up the
other one holds: `edgernn.nn.SoftmaxOverTime` is these and an exp.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgernn.cells.attention_pooling import MARGIN, softplus_of_minus
from edgernn.cells.base import Cell, Note
from edgernn.cells.pooling import COUNT, start_lowest
from edgernn.graph import FloatArray, Node
from edgernn.lowering.builder import Builder, covering_scale
from edgernn.ranges import Ranges

HEADROOM = 2.0


def sum_step(
    node: Node, x: Sequence[FloatArray], states: Sequence[FloatArray], note: Note
) -> Sequence[FloatArray]:
    """One float step: s' = s + x."""
    return [states[0] + x[0]]


def sum_lower(builder: Builder, node: Node, x: tuple[str, ...], ranges: Ranges) -> tuple[str, ...]:
    """Append one step of the running sum; returns the tensor of s'.

    Each step rounds x to the scale of the sum, which covers twice what calibration saw.
    """
    (value,), (carried,), b = node.outputs, node.carried, builder
    scale = covering_scale(HEADROOM * ranges.amplitude(value))
    s = b.state(carried.name, b.size(x[0]), scale, carried.initial)
    added = x[0] if b.can_add(s, x[0], scale) else b.rescale(f"{value}_added", x[0], scale)
    b.add(value, s, added, scale)
    return (b.carry(carried.name, value),)


def log_sum_exp_step(
    node: Node, x: Sequence[FloatArray], states: Sequence[FloatArray], note: Note
) -> Sequence[FloatArray]:
    """One float step: L' = max(L, x) + log(1 + e^-|x - L|)."""
    (value,), (total,) = x, states
    more = np.log1p(np.exp(-np.abs(value - total)))
    return [np.maximum(total, value) + more]


def log_sum_exp_lower(
    builder: Builder, node: Node, x: tuple[str, ...], ranges: Ranges
) -> tuple[str, ...]:
    """Append one step of the running log of the sum of exponentials; returns the tensor of L'.

    L starts at the least there is, MARGIN below every x, so that the first step counts alone;
    above, MARGIN lets windows of e^12 steps fit.
    """
    (value,), (carried,), b = node.outputs, node.carried, builder
    reach = HEADROOM * ranges.amplitude(node.inputs[0]) + MARGIN
    scale = max(covering_scale(reach), b.scale(x[0]), key=float)
    read = b.rescale(f"{value}_read", x[0], scale)
    total = b.state(carried.name, b.size(read), scale, np.zeros_like(carried.initial))
    start_lowest(b, carried.name)
    above = b.sub(f"{value}_above", read, total, scale)
    more = b.lookup(f"{value}_more", above, softplus_of_minus, scale)
    b.add(value, b.maximum(f"{value}_larger", total, read), more, scale)
    return (b.carry(carried.name, value),)


def hold_step(
    node: Node, x: Sequence[FloatArray], states: Sequence[FloatArray], note: Note
) -> Sequence[FloatArray]:
    """One float step: m' = m, and x at the first step, while n is 0;  n' = 1."""
    (value,), (m, n) = x, states
    return [np.where(n > np.float32(0), m, value), np.maximum(n, np.float32(1))]


def hold_lower(builder: Builder, node: Node, x: tuple[str, ...], ranges: Ranges) -> tuple[str, ...]:
    """Append one step that holds, exactly; returns the tensors of m' and n'."""
    (value, started), (held, flag), b = node.outputs, node.carried, builder
    m = b.state(held.name, b.size(x[0]), b.scale(x[0]), held.initial)
    n = b.state(flag.name, 1, COUNT, flag.initial)
    b.select(value, n, m, x[0])
    b.maximum(started, n, b.constant(f"{started}_one", np.ones(1), COUNT))
    return (b.carry(held.name, value), b.carry(flag.name, started))


SUM = Cell(
    kind="sum_over_time",
    shapes={},
    outputs=("s",),
    states=("s",),
    step=sum_step,
    lower=sum_lower,
    sizes=("input",),
)
LOG_SUM_EXP = Cell(
    kind="log_sum_exp",
    shapes={},
    outputs=("L",),
    states=("L",),
    step=log_sum_exp_step,
    lower=log_sum_exp_lower,
    sizes=("input",),
)
HOLD = Cell(
    kind="hold",
    shapes={},
    outputs=("m", "n"),
    states=("m", "n"),
    step=hold_step,
    lower=hold_lower,
    sizes=("input", "1"),
)
