"""Layer normalisation as a layer without state."""

from __future__ import annotations

from edgernn.graph import Graph, Node
from edgernn.lowering import normalization
from edgernn.lowering.builder import Builder
from edgernn.lowering.normalization import Spread
from edgernn.lowering.scales import free_scale
from edgernn.ranges import Ranges


def layer_norm(b: Builder, graph: Graph, node: Node, inputs: list[str], ranges: Ranges) -> str:
    """nn.LayerNorm over the features of a step."""
    spread = Spread.of(ranges, f"{node.name}.")
    x, name = inputs[0], node.name
    count, low = spread.passes(float(b.scale(x)))
    deviations = normalization.centered(
        b, name, x, ranges.amplitude(f"{name}.mean"), spread.scale(count), count
    )
    y = normalization.normalized(
        b, name, deviations, node.arrays["weight"], node.numbers["eps"], spread, low
    )
    return normalization.shifted(b, name, y, node.arrays["bias"], free_scale(graph, name, ranges))
