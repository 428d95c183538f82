"""Scales that are ours to choose: of inputs, and of results that no operator fixes."""

from __future__ import annotations

from typing import Final

from edgernn.cells import CELLS
from edgernn.graph import Graph, Node
from edgernn.lowering.builder import covering_scale
from edgernn.ranges import Ranges
from edgernn.runtime.program import Scale

_READ_BY_TABLE: Final = ("tanh", "sigmoid")
_KEEP_SCALE: Final = ("relu", "clamp", "slice", "last", "first")
HEADROOM: Final = 2.0
"""What is met in use reaches further than calibration data; int16 has the bit to spare."""


def free_scale(graph: Graph, value: str, ranges: Ranges) -> Scale:
    """The calibrated scale of a value whose scale is ours to choose."""
    mantissa = 3 if _reaches_table(graph, value) else 1
    return covering_scale(HEADROOM * ranges.amplitude(value), mantissa)


def input_scale(graph: Graph, value: str, ranges: Ranges) -> Scale:
    """The scale of an input: calibrated; 1 for what is no number but a mask or a token id."""
    if value in graph.masks or value in graph.tokens:
        return Scale(1, 0)
    counted = [_counted(node, value) for node in graph.consumers(value)]
    if counted and all(counted):
        return covering_scale(HEADROOM * max(ranges.amplitude(name) for name in counted))
    return free_scale(graph, value, ranges)


def _counted(node: Node, value: str) -> str:
    """The noted value with the elements of an input that a cell computes with; "" if with all."""
    names = CELLS[node.kind].counted if node.kind in CELLS else ()
    own = [name for name, read in zip(names, node.inputs, strict=False) if read == value]
    return f"{node.name}.{own[0]}" if own and node.reads.count(value) == 1 else ""


def _reaches_table(graph: Graph, value: str) -> bool:
    return any(
        node.kind in _READ_BY_TABLE
        or (node.kind in _KEEP_SCALE and _reaches_table(graph, node.outputs[0]))
        for node in graph.consumers(value)
    )
