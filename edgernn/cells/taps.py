"""What convolution and pooling over time share: a buffer of the last steps, and its taps.

The buffer holds (K - 1) * dilation frames of C features, flat, oldest first.
"""

from __future__ import annotations

import numpy as np

from edgernn.graph import FloatArray, Node
from edgernn.lowering.builder import Builder
from edgernn.runtime.program import State

LOWEST = np.finfo(np.float32).min
"""Stands for minus infinity, which padding puts in front of a maximum."""


def frames(node: Node, x: FloatArray, buffer: FloatArray) -> tuple[list[FloatArray], FloatArray]:
    """The taps [(N, C)], oldest first, and the next buffer (N, B)."""
    size, dilation = x.shape[-1], int(node.numbers["dilation"])
    window = np.concatenate([buffer, x], axis=-1)
    count = 1 + buffer.shape[-1] // (size * dilation)
    begins = [k * dilation * size for k in range(count)]
    return [window[:, begin : begin + size] for begin in begins], window[:, size:]


def window(builder: Builder, node: Node, x: str) -> str:
    """Declare the buffer at the scale of x; the tensor of buffer and x, one after the other."""
    (carried,) = node.carried
    scale, initial = builder.scale(x), carried.initial
    lowest = initial == LOWEST
    buffer = builder.state(carried.name, len(initial), scale, np.where(lowest, 0, initial))
    if lowest.any():
        state = builder.states[-1]
        integers = np.where(lowest, np.int16(-32768), state.initial)
        builder.states[-1] = State(state.name, state.input, state.output, integers)
    return builder.concat(f"{carried.value}_window", (buffer, x))


def taps(builder: Builder, node: Node, whole: str, size: int) -> list[str]:
    """The taps of a window, (C,) each, oldest first."""
    dilation, value = int(node.numbers["dilation"]), node.outputs[0]
    count = 1 + (builder.size(whole) // size - 1) // dilation
    parts = {f"{value}_tap0": size}
    for k in range(1, count):
        if dilation > 1:
            parts[f"{value}_gap{k}"] = (dilation - 1) * size
        parts[f"{value}_tap{k}"] = size
    split = builder.split(whole, parts)
    return [name for name in split if name.startswith(f"{value}_tap")]


def shift(builder: Builder, node: Node, whole: str, size: int) -> str:
    """The window without its oldest frame becomes the next buffer."""
    (carried,) = node.carried
    rest = builder.size(whole) - size
    _, following = builder.split(whole, {f"{carried.value}_oldest": size, carried.value: rest})
    return builder.carry(carried.name, following)
