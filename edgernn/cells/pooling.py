"""Mean and maximum over time, so far: what y.mean(dim=1) and y.amax(dim=1) are at the last step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgernn.cells.base import Cell, Note
from edgernn.graph import FloatArray, Node
from edgernn.lowering.builder import Builder
from edgernn.lowering.normalization import broadcast
from edgernn.ranges import Ranges
from edgernn.runtime.program import UNIT, Scale, State

COUNT = Scale(1, 0)
TWICE = Scale(1, -16)


def mean_step(
    node: Node, x: Sequence[FloatArray], states: Sequence[FloatArray], note: Note
) -> Sequence[FloatArray]:
    """One float step: n' = n + 1;  p' = p + (x - p) / n'."""
    (value,), (p, n) = x, states
    count = n + np.float32(1)
    return [p + (value - p) / count, count]


def mean_lower(builder: Builder, node: Node, x: tuple[str, ...], ranges: Ranges) -> tuple[str, ...]:
    """Append one step of the running mean; returns the tensors of p' and n'.

    Its rounding, half a unit a step, is averaged with the values: 3 units of 2^-15 of the range
    after 100 steps, 6 after 1000, 60 after 5000. From step 32767 on it forgets like a decay.
    """
    (value, count), (mean, counter), b = node.outputs, node.carried, builder
    size, scale = b.size(x[0]), b.scale(x[0])
    p = b.state(mean.name, size, scale, mean.initial)
    n = b.state(counter.name, 1, COUNT, counter.initial)

    b.add(count, n, b.constant(f"{count}_one", np.ones(1), COUNT), COUNT)
    root = b.rsqrt(f"{value}_root", count, UNIT)
    share = b.mul(f"{value}_share", root, root, UNIT)
    # At most a half where it counts, and so twice as fine: the first step is selected below.
    shares = broadcast(b, f"{value}_shares", share, size, TWICE)
    wide = Scale(scale.mantissa, scale.exponent + 1)
    distance = b.sub(f"{value}_distance", x[0], p, wide)
    moved = b.add(f"{value}_moved", p, b.mul(f"{value}_move", distance, shares, scale), scale)
    b.select(value, n, moved, x[0])
    return (b.carry(mean.name, value), b.carry(counter.name, count))


def max_step(
    node: Node, x: Sequence[FloatArray], states: Sequence[FloatArray], note: Note
) -> Sequence[FloatArray]:
    """One float step: m' = max(m, x)."""
    return [np.maximum(states[0], x[0])]


def max_lower(builder: Builder, node: Node, x: tuple[str, ...], ranges: Ranges) -> tuple[str, ...]:
    """Append one step of the running maximum; exact, for windows of any length."""
    (value,), (carried,) = node.outputs, node.carried
    m = builder.state(
        carried.name, builder.size(x[0]), builder.scale(x[0]), np.zeros_like(carried.initial)
    )
    start_lowest(builder, carried.name)
    builder.maximum(value, m, x[0])
    return (builder.carry(carried.name, value),)


def start_lowest(builder: Builder, name: str) -> None:
    """Let a state start at the least there is, below every value."""
    at = next(i for i, state in enumerate(builder.states) if state.name == name)
    old = builder.states[at]
    lowest = np.full_like(old.initial, np.iinfo(np.int16).min)
    builder.states[at] = State(old.name, old.input, old.output, lowest)


MEAN = Cell(
    kind="mean_pooling",
    shapes={},
    outputs=("p", "n"),
    states=("p", "n"),
    step=mean_step,
    lower=mean_lower,
    sizes=("input", "1"),
)
MAX = Cell(
    kind="max_pooling",
    shapes={},
    outputs=("m",),
    states=("m",),
    step=max_step,
    lower=max_lower,
    sizes=("input",),
)
