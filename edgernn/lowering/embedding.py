"""Rows of an int8 table by token id."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from edgernn.graph import Graph, Node
from edgernn.lowering.builder import Builder
from edgernn.ranges import Ranges
from edgernn.runtime.program import Scale

LIMIT: Final = 127


def table_scale(reach: float) -> Scale:
    """The tighter one of 2^e and 3 * 2^e at which +-reach fits int8."""
    reach = min(max(reach, 2.0**-30), 2.0**30)
    candidates = []
    for mantissa in (1, 3):
        exponent = int(np.ceil(np.log2(reach / (LIMIT * mantissa))))
        if LIMIT * mantissa * 2.0**exponent < reach:
            exponent += 1
        candidates.append(Scale(mantissa, exponent))
    return min(candidates, key=float)


def lower_embedding(b: Builder, graph: Graph, node: Node, inputs: list[str], ranges: Ranges) -> str:
    """The row that the id says; one scale for the whole table."""
    table = node.arrays["table"].astype(np.float64)
    scale = table_scale(float(np.abs(table).max()))
    integers = np.clip(np.rint(table / float(scale)), -LIMIT, LIMIT).astype(np.int8)
    return b.embedding(node.name, inputs[0], integers, scale)


LAYERS: Final[dict[str, Callable[[Builder, Graph, Node, list[str], Ranges], str]]] = {
    "embedding": lower_embedding,
}
