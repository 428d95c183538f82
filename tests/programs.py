"""Random programs and graphs for the tests: any stack of cells, any size, no training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgernn.graph import GATES, Carried, Graph, Node, Output
from edgernn.lowering import lower
from edgernn.ranges import Ranges
from edgernn.rounding import Moments, Nearest
from edgernn.runtime.program import Program


def random_graph(
    cells: Sequence[str], hidden: Sequence[int], features: int, seed: int, head: int = 0
) -> Graph:
    """A stack of cells of given hidden sizes, a Linear on top if head > 0."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int, gain: float = 1.0) -> NDArray[np.float32]:
        return (gain * rng.standard_normal(shape)).astype(np.float32)

    sizes, nodes, value, width = {"x": features}, [], "x", features
    for i, (cell, size) in enumerate(zip(cells, hidden, strict=True)):
        rows = GATES[cell] * size
        gain = 0.7 if cell == "rnn_relu" else 2.0
        arrays = {
            "weight_ih": normal(rows, width, gain=gain / np.sqrt(width)),
            "weight_hh": normal(rows, size, gain=gain / np.sqrt(size)),
            "bias_ih": normal(rows, gain=0.5),
            "bias_hh": normal(rows, gain=0.5),
        }
        outputs = (f"l{i}_h", f"l{i}_c") if cell == "lstm" else (f"l{i}_h",)
        carried = tuple(
            Carried(f"s{v}", v, normal(size, gain=0.2).clip(-0.9, 0.9)) for v in outputs
        )
        nodes.append(Node(cell, (value,), outputs, arrays, carried))
        sizes |= dict.fromkeys(outputs, size)
        value, width = outputs[0], size
    if head:
        arrays = {"weight": normal(head, width), "bias": normal(head)}
        nodes.append(Node("linear", (value,), ("head",), arrays))
        sizes["head"] = head
        value = "head"
    return Graph(sizes, ("x",), (Output("y", value, last=False),), tuple(nodes))


def random_ranges(graph: Graph, amplitude: float = 4.0) -> Ranges:
    """Ranges that need no data: every value reaches `amplitude` and varies like white noise."""
    names = list(graph.sizes)
    parts = [f"{n.name}.{part}" for n in graph.nodes for part in ("gx", "gh", "a")]
    second = {n: Moments(np.zeros(k), np.eye(k)) for n, k in graph.sizes.items()}
    return Ranges(dict.fromkeys(names + parts, amplitude), second)


def random_program(
    cells: Sequence[str], hidden: Sequence[int], features: int, seed: int, head: int = 0
) -> Program:
    """A quantized program of that shape with random weights."""
    graph = random_graph(cells, hidden, features, seed, head)
    return lower(graph, random_ranges(graph), Nearest(), {})
