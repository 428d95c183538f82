"""Constant factors and offsets, such as BatchNorm's, go into the weights beside them.

Rather into those before: a row of a matrix has a scale of its own, so int8 loses nothing by a
factor. The columns of the weights behind share their rows' scales, so only factors that are near
each other go there. What remains is a layer of its own.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from edgernn.cells import CELLS
from edgernn.cells.base import input_product
from edgernn.graph import Graph, Node

SPREAD: Final = 4.0
"""Largest ratio of two factors that weights behind take up: two of their eight bits at most."""


def fold(graph: Graph) -> Graph:
    """The same network with fewer affine nodes; values that vanish are named nowhere."""
    while (shorter := _once(graph)) is not None:
        graph = shorter
    return graph


def _once(graph: Graph) -> Graph | None:
    for node in graph.nodes:
        if node.kind == "affine":
            shorter = _into_before(graph, node) or _into_behind(graph, node)
            if shorter is not None:
                return shorter
    return None


def _into_before(graph: Graph, affine: Node) -> Graph | None:
    """The layer whose result only the affine reads computes the affine's value itself."""
    (x,) = affine.inputs
    before = next((node for node in graph.nodes if x == node.name), None)
    returned = any(output.value == x for output in graph.outputs)
    if before is None or returned or graph.consumers(x) != [affine]:
        return None
    a, b, arrays = affine.arrays["weight"], affine.arrays["bias"], dict(before.arrays)
    if before.kind in ("linear", "conv1d", "affine"):
        weight = arrays["weight"]
        arrays["weight"] = weight * a.reshape(-1, *(1,) * (weight.ndim - 1))
        arrays["bias"] = arrays["bias"] * a + b
    elif before.kind == "embedding":
        arrays["table"] = arrays["table"] * a + b
    else:
        return None
    merged = replace(before, outputs=(affine.name, *before.outputs[1:]), arrays=arrays)
    return _with(graph, {before.name: merged}, affine, x)


def _into_behind(graph: Graph, affine: Node) -> Graph | None:
    """Every layer that reads the affine reads what the affine reads."""
    value, factors = affine.name, np.abs(affine.arrays["weight"])
    if any(output.value == value for output in graph.outputs):
        return None
    if not factors.min() * SPREAD >= factors.max() > 0:
        return None
    readers = graph.consumers(value)
    merged = {reader.name: _reader(reader, affine) for reader in readers}
    if not readers or None in merged.values():
        return None
    return _with(graph, merged, affine, value)


def _reader(node: Node, affine: Node) -> Node | None:
    """The layer behind with the affine in its weights; None if it cannot take it."""
    names = ("weight", "bias")
    if node.kind in CELLS and CELLS[node.kind].prepare is input_product:
        names = ("weight_ih", "bias_ih")
    elif node.kind != "linear":
        return None
    if node.inputs != (affine.name,) or node.mask == affine.name:
        return None
    arrays, (weight, bias) = dict(node.arrays), names
    arrays[bias] = arrays[bias] + arrays[weight] @ affine.arrays["bias"]
    arrays[weight] = arrays[weight] * affine.arrays["weight"]
    return replace(node, inputs=affine.inputs, arrays=arrays)


def _with(graph: Graph, merged: dict[str, Node | None], affine: Node, gone: str) -> Graph:
    kept = [node for node in graph.nodes if node is not affine]
    nodes = tuple(merged.get(node.name) or node for node in kept)
    sizes = {name: size for name, size in graph.sizes.items() if name != gone}
    return replace(graph, sizes=sizes, nodes=nodes)
