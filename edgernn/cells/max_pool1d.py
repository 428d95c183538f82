"""Causal maximum over the last K steps, torch.nn.MaxPool1d of stride 1 with its padding in front.

y[c] = max over k of x[t - k d, c]
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgernn.cells import taps
from edgernn.cells.base import Cell, Note
from edgernn.graph import FloatArray, Node
from edgernn.lowering.builder import Builder
from edgernn.ranges import Ranges


def step(
    node: Node, x: Sequence[FloatArray], states: Sequence[FloatArray], note: Note
) -> Sequence[FloatArray]:
    """One float step over frames (N, C)."""
    parts, buffer = taps.frames(node, x[0], states[0])
    y = parts[0]
    for part in parts[1:]:
        y = np.maximum(y, part)
    return [y, buffer]


def lower(builder: Builder, node: Node, x: tuple[str, ...], ranges: Ranges) -> tuple[str, ...]:
    """Append one step; returns the tensors of y and of the next buffer."""
    value, size = node.outputs[0], builder.size(x[0])
    whole = taps.window(builder, node, x[0])
    parts = taps.taps(builder, node, whole, size)
    y = parts[0]
    for k, part in enumerate(parts[1:], 1):
        y = builder.maximum(value if k == len(parts) - 1 else f"{value}_max{k}", y, part)
    return y, taps.shift(builder, node, whole, size)


CELL = Cell(
    kind="max_pool1d",
    shapes={},
    outputs=("y", "buffer"),
    states=("buffer",),
    step=step,
    lower=lower,
    numbers=("dilation",),
    sizes=("input", "span*input"),
)
