"""Layers without state: Linear, ReLU, tanh, sigmoid, sums, concatenation, slices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from edgernn.graph import Graph, Node
from edgernn.lowering import activations, arithmetic, embedding, heads, layer_norm
from edgernn.lowering.builder import Builder, covering_scale
from edgernn.lowering.scales import free_scale
from edgernn.ranges import Ranges


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
    """A residual sum."""
    scale, reach = free_scale(graph, node.name, ranges), ranges.amplitude(node.name)
    return arithmetic.summed(b, "add", node.name, (inputs[0], inputs[1]), scale, reach)


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
    "layer_norm": layer_norm.layer_norm,
    "log_softmax": heads.log_softmax,
    "softmax": heads.softmax,
    "softplus": heads.softplus,
    **activations.LAYERS,
    **arithmetic.LAYERS,
    **embedding.LAYERS,
}
