"""Activation functions in integers: a table each; a clamp exactly."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn.activations import ACTIVATIONS
from edgernn.graph import Graph, Node
from edgernn.lowering.builder import Builder, covering_scale
from edgernn.lowering.scales import free_scale
from edgernn.ranges import Ranges
from edgernn.runtime.functions import ENTRIES
from edgernn.runtime.program import Scale

Function = Callable[[NDArray[np.float64]], NDArray[np.float64]]
OF_NEAR: Final = Scale(1, -11)
NEAR: Final = 16.0
"""Beyond this, an input has a table of its own for the part near 0; its points are 1/16 apart."""


def activation(b: Builder, graph: Graph, node: Node, inputs: list[str], ranges: Ranges) -> str:
    """f(x) by a table of the input as it is; for an input that is wide, and curved near 0,
    f(n) + (f(x) - f(n)) with n = x limited to +-NEAR, by a table each."""
    x, name = inputs[0], node.name
    scale, own = free_scale(graph, name, ranges), b.scale(inputs[0])

    def function(v: NDArray[np.float64]) -> NDArray[np.float64]:
        with np.errstate(over="ignore"):
            return ACTIVATIONS[node.kind](v, **node.numbers)

    def beyond(v: NDArray[np.float64]) -> NDArray[np.float64]:
        return function(v) - function(np.clip(v, -NEAR, NEAR))

    # One step of rescaling takes it no further than 2^15.
    wide = 1 < float(own) / float(OF_NEAR) <= 2**15 and not _is_straight(function, own, scale)
    if not wide:
        # Kinks, at 0 and +-3, are points of the table whether the scale is 2^e or 3 * 2^e.
        return b.lookup(name, x, function, scale)
    if own.mantissa != 1:
        # So is NEAR at the scale 2^e only.
        x = b.rescale(f"{name}_even", x, covering_scale(32767 * float(own)))
    near = b.rescale(f"{name}_near", x, OF_NEAR)
    if float(np.abs(beyond(_inputs(b.scale(x)))).max()) <= 0.5 * float(scale):
        return b.lookup(name, near, function, scale)
    first = b.lookup(f"{name}_within", near, function, scale)
    return b.add(name, first, b.lookup(f"{name}_beyond", x, beyond, scale), scale)


def _inputs(own: Scale) -> NDArray[np.float64]:
    units: NDArray[np.float64] = np.arange(-32768, 32769, dtype=np.float64)
    values: NDArray[np.float64] = units * np.float64(float(own))
    return values


def _is_straight(function: Function, own: Scale, scale: Scale) -> bool:
    """Is the function a line between the points of its table, to a unit of its scale?"""
    x = _inputs(own)
    y, every = function(x), (len(x) - 1) // (ENTRIES - 1)
    return bool(np.abs(np.interp(x, x[::every], y[::every]) - y).max() <= float(scale))


def clamp(b: Builder, graph: Graph, node: Node, inputs: list[str], ranges: Ranges) -> str:
    """max and min with constants, at the scale of the input, which a table would round off."""
    x, name = inputs[0], node.name
    low, high = node.numbers.get("min", -math.inf), node.numbers.get("max", math.inf)
    scale, size = b.scale(x), b.size(x)
    reach = 32767 * float(scale)
    if low > reach or high < -reach:
        # One number for every input.
        level = high if high < low else low if low > reach else high
        return b.lookup(name, x, lambda v: np.full_like(v, level), free_scale(graph, name, ranges))
    if low == 0.0:
        x = b.relu(f"{name}_low", x)
    elif low > -reach:
        x = b.maximum(f"{name}_low", x, b.constant(f"{name}_min", np.full(size, low), scale))
    if high < reach:
        limit = b.constant(f"{name}_max", np.full(size, high), scale)
        over = b.relu(f"{name}_above", b.sub(f"{name}_over", x, limit, scale))
        x = b.select(name, over, limit, x)
    return x


LAYERS: Final[dict[str, Callable[[Builder, Graph, Node, list[str], Ranges], str]]] = {
    **dict.fromkeys(ACTIVATIONS, activation),
    "clamp": clamp,
}
