"""Hopfield network (Hopfield 1982): a step updates the units that the input selects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn.cells.base import Cell, Note, product
from edgernn.graph import FloatArray, Node
from edgernn.lowering.builder import Builder
from edgernn.ranges import Ranges
from edgernn.runtime.errors import UnsupportedError
from edgernn.runtime.program import Matrix, Operator, Scale

MOST: Final = 127
"""A weight is an int8."""
SCALE: Final = Scale(1, -14)
"""At it -1, 0 and 1 are exact."""
FIELD: Final = Scale(1, -12)


def step(
    node: Node, x: Sequence[FloatArray], states: Sequence[FloatArray], note: Note
) -> Sequence[FloatArray]:
    """One float step; x is not 0 where a unit is updated."""
    (s,), one = states, np.float32(1)
    field = product(s, node.arrays["weight"])
    updated = np.where(field > 0, one, np.where(field < 0, -one, s))
    return [np.where(x[0] != 0, updated, s)]


def lower(builder: Builder, node: Node, x: tuple[str, ...], ranges: Ranges) -> tuple[str, ...]:
    """Append one step of the cell, exactly the float one; returns the tensor of s'.

    s' = sign(W s) where x is not 0, and s where x is 0 or W s is
    """
    (value,), (carried,) = node.outputs, node.carried
    weight, size = _whole(node), len(carried.initial)
    if not np.isin(carried.initial, (-1, 0, 1)).all():
        raise UnsupportedError(
            f"the initial state {carried.name} holds other numbers than -1, 0 and 1; start a "
            "Hopfield network from a pattern"
        )
    s = builder.state(carried.name, size, SCALE, carried.initial)
    # Nothing is rounded: a sum of one unit is 4096. Saturation keeps signs.
    rows = np.full(size, 1, np.int32)
    matrix = Matrix(weight, np.zeros(size, np.int64), 16384 * rows, 16 * rows)
    field = builder.tensor(f"{value}_field", size, FIELD)
    builder.operators.append(Operator("linear", (s,), (field,), matrix))
    up = builder.constant(f"{value}_up", np.ones(size), SCALE)
    down = builder.constant(f"{value}_down", -np.ones(size), SCALE)
    positive = builder.relu(f"{value}_positive", field)
    sign = builder.select(f"{value}_sign", positive, up, down)
    # A sum of 0 is exactly 0: a tie leaves the unit as it was.
    updated = builder.select(f"{value}_updated", field, sign, s)
    builder.select(value, x[0], updated, s)
    return (builder.carry(carried.name, value),)


def _whole(node: Node) -> NDArray[np.int8]:
    """W; UnsupportedError unless W is what patterns have stored."""
    weight = node.arrays["weight"]
    largest = float(np.abs(weight).max(initial=0.0))
    if not np.isfinite(weight).all() or (weight != np.rint(weight)).any() or largest > MOST:
        raise UnsupportedError(
            f"the weights of the Hopfield network {node.name} are not whole numbers up to {MOST}, "
            f"so that int8 does not hold them exactly; store at most {MOST} patterns, with store()"
        )
    if weight.diagonal().any() or (weight != weight.T).any():
        raise UnsupportedError(
            f"the weights of the Hopfield network {node.name} are not symmetric with a diagonal of "
            "zeros, so that recall need not end; set them with store()"
        )
    return weight.astype(np.int8)


CELL = Cell(
    kind="hopfield",
    shapes={
        "weight": ("hidden", "hidden"),
    },
    outputs=("s",),
    states=("s",),
    step=step,
    lower=lower,
    reads=("hidden",),
)
