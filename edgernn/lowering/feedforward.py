"""Layers without state: Linear, ReLU, tanh, sigmoid, sums, concatenation, slices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from edgernn.graph import Graph, Node
from edgernn.lowering.builder import Builder, covering_scale
from edgernn.ranges import Ranges
from edgernn.runtime.program import Scale

_READ_BY_TABLE: Final = ("tanh", "sigmoid")
_KEEP_SCALE: Final = ("relu", "slice", "last", "first")
HEADROOM: Final = 2.0
"""What is met in use reaches further than calibration data; int16 has the bit to spare."""


def free_scale(graph: Graph, value: str, ranges: Ranges) -> Scale:
    """The calibrated scale of a value whose scale is ours to choose."""
    mantissa = 3 if _reaches_table(graph, value) else 1
    return covering_scale(HEADROOM * ranges.amplitude(value), mantissa)


def input_scale(graph: Graph, value: str, ranges: Ranges) -> Scale:
    """The scale of an input: calibrated; 1 for what is no number but a mask."""
    if value in graph.masks:
        return Scale(1, 0)
    return free_scale(graph, value, ranges)


def _reaches_table(graph: Graph, value: str) -> bool:
    return any(
        node.kind in _READ_BY_TABLE
        or (node.kind in _KEEP_SCALE and _reaches_table(graph, node.outputs[0]))
        for node in graph.consumers(value)
    )


def linear(b: Builder, graph: Graph, node: Node, inputs: list[str], ranges: Ranges) -> str:
    """nn.Linear."""
    scale = free_scale(graph, node.name, ranges)
    moments = ranges.moments(node.inputs[0])
    scale = b.reachable(scale, inputs[0], node.arrays["weight"], moments)
    return b.linear(
        node.name, inputs[0], node.arrays["weight"], node.arrays["bias"], moments, scale
    )


def relu(b: Builder, graph: Graph, node: Node, inputs: list[str], ranges: Ranges) -> str:
    """ReLU keeps the scale of its input."""
    return b.relu(node.name, inputs[0])


def tanh(b: Builder, graph: Graph, node: Node, inputs: list[str], ranges: Ranges) -> str:
    """tanh, by table."""
    return b.tanh(node.name, _for_table(b, node, inputs[0]))


def sigmoid(b: Builder, graph: Graph, node: Node, inputs: list[str], ranges: Ranges) -> str:
    """sigmoid, by table."""
    return b.logistic(node.name, _for_table(b, node, inputs[0]))


def add(b: Builder, graph: Graph, node: Node, inputs: list[str], ranges: Ranges) -> str:
    """A residual sum; where no runtime-independent sum of these scales exists, both operands are
    first brought to the scale of the result."""
    scale = free_scale(graph, node.name, ranges)
    if b.can_add(inputs[0], inputs[1], scale):
        return b.add(node.name, inputs[0], inputs[1], scale)
    reach = max(32767 * float(b.scale(x)) for x in inputs)
    wide = covering_scale(max(reach, ranges.amplitude(node.name)), scale.mantissa)
    first, second = (b.rescale(f"{node.name}_{i}", x, wide) for i, x in enumerate(inputs))
    return b.add(node.name, first, second, wide)


def concat(b: Builder, graph: Graph, node: Node, inputs: list[str], ranges: Ranges) -> str:
    """Parts are brought to the widest of their scales."""
    widest = max((b.scale(x) for x in inputs), key=float)
    parts = [b.rescale(f"{node.name}_{i}", x, widest) for i, x in enumerate(inputs)]
    return b.concat(node.name, tuple(parts))


def slice_(b: Builder, graph: Graph, node: Node, inputs: list[str], ranges: Ranges) -> str:
    """A run of features."""
    total, size = b.size(inputs[0]), graph.sizes[node.name]
    if size == total:
        return inputs[0]
    parts = {f"{node.name}_before": node.begin, node.name: size}
    parts[f"{node.name}_after"] = total - node.begin - size
    b.split(inputs[0], {name: n for name, n in parts.items() if n})
    return node.name


def _for_table(b: Builder, node: Node, x: str) -> str:
    scale = b.scale(x)
    if scale.mantissa == 3:
        return x
    return b.rescale(f"{node.name}_a", x, covering_scale(float(scale) * 32767, mantissa=3))


LAYERS: Final[dict[str, Callable[[Builder, Graph, Node, list[str], Ranges], str]]] = {
    "linear": linear,
    "relu": relu,
    "tanh": tanh,
    "sigmoid": sigmoid,
    "add": add,
    "concat": concat,
    "slice": slice_,
}
