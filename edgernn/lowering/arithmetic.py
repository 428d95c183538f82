"""Element-wise arithmetic between values of any scale."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from edgernn.graph import Graph, Node
from edgernn.lowering.builder import Builder, covering_scale
from edgernn.lowering.scales import free_scale
from edgernn.ranges import Ranges
from edgernn.runtime.program import UNIT, Scale

Sum = Literal["add", "sub"]


def summed(
    b: Builder, kind: Sum, name: str, operands: tuple[str, str], scale: Scale, reach: float
) -> str:
    """The sum or difference of two tensors, at `scale` where it is the same on every runtime.

    Where no runtime-independent sum of these scales exists, both operands are first brought to a
    scale that holds them and the result, which reaches `reach`.
    """
    append = b.add if kind == "add" else b.sub
    first, second = operands
    if b.can_add(first, second, scale):
        return append(name, first, second, scale)
    widest = max(32767 * float(b.scale(x)) for x in operands)
    wide = covering_scale(max(widest, reach), scale.mantissa)
    first, second = (b.rescale(f"{name}_{i}", x, wide) for i, x in enumerate(operands))
    return append(name, first, second, wide)


def multiplied(b: Builder, name: str, x: str, y: str, scale: Scale) -> str:
    """The product, at the scale that its operands' scales make, or if that is none that a sum may
    read, at `scale`."""
    natural = Scale.of(b.scale(x).fraction * b.scale(y).fraction / UNIT.fraction)
    if natural.mantissa in (1, 3):
        return b.mul(name, x, y, natural)
    return b.rescale(name, b.mul(f"{name}_wide", x, y, natural), scale)


def affine(
    b: Builder,
    name: str,
    x: str,
    weight: NDArray[np.float32],
    bias: NDArray[np.float32],
    scale: Scale,
    reach: float,
) -> str:
    """weight * x + bias, one number of each per feature."""
    plain = bool((weight == 1).all())
    offset = bool(bias.any())
    if plain and not offset:
        return x
    product = x
    if not plain:
        factor = b.constant(f"{name}_weight", weight)
        product = multiplied(b, f"{name}_wx" if offset else name, x, factor, scale)
    if not offset:
        return product
    # At the product's own scale, or a coarser one: their sum is then exact everywhere.
    own = b.scale(product)
    while 32767 * float(own) < _reach(bias):
        own = Scale(own.mantissa, own.exponent + 1)
    constant = b.constant(f"{name}_bias", bias, own)
    return summed(b, "add", name, (product, constant), scale, reach)


def _reach(values: NDArray[np.float32]) -> float:
    return float(np.abs(values).max(initial=0.0))


def lower_sub(b: Builder, graph: Graph, node: Node, inputs: list[str], ranges: Ranges) -> str:
    """A difference of two values."""
    scale = free_scale(graph, node.name, ranges)
    reach = ranges.amplitude(node.name)
    return summed(b, "sub", node.name, (inputs[0], inputs[1]), scale, reach)


def lower_mul(b: Builder, graph: Graph, node: Node, inputs: list[str], ranges: Ranges) -> str:
    """A product of two values."""
    return multiplied(b, node.name, inputs[0], inputs[1], free_scale(graph, node.name, ranges))


def lower_affine(b: Builder, graph: Graph, node: Node, inputs: list[str], ranges: Ranges) -> str:
    """A constant factor and offset per feature."""
    scale = free_scale(graph, node.name, ranges)
    a = node.arrays
    return affine(
        b, node.name, inputs[0], a["weight"], a["bias"], scale, ranges.amplitude(node.name)
    )


def lower_maximum(b: Builder, graph: Graph, node: Node, inputs: list[str], ranges: Ranges) -> str:
    """The larger one of two values, both at the wider of their scales."""
    widest = max((b.scale(x) for x in inputs), key=float)
    first, second = (b.rescale(f"{node.name}_{i}", x, widest) for i, x in enumerate(inputs))
    return b.maximum(node.name, first, second)


LAYERS: Final[dict[str, Callable[[Builder, Graph, Node, list[str], Ranges], str]]] = {
    "sub": lower_sub,
    "mul": lower_mul,
    "maximum": lower_maximum,
    "affine": lower_affine,
}
