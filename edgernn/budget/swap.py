"""The same network with another cell, to price it: as wide, with weights of no meaning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from edgernn.cells import CELLS
from edgernn.graph import Carried, Graph, Node


@dataclass(frozen=True)
class Alternative:
    """Another cell. name: as people call it. rank_share: of low-rank matrices, the part of the
    hidden size that the rank is; 0 for none."""

    name: str
    kind: str
    rank_share: float = 0.0


ALTERNATIVES: Final = (
    Alternative("LSTM", "lstm"),
    Alternative("GRU", "gru"),
    Alternative("MGU", "mgu"),
    Alternative("FastGRNN", "fastgrnn"),
    Alternative("FastGRNN of rank hidden / 4", "fastgrnn_low_wu", 0.25),
    Alternative("Elman RNN", "rnn_tanh"),
)
REPLACEABLE: Final = frozenset(
    {
        "lstm", "lstm_peephole", "lstm_projection", "layer_norm_lstm",
        "gru", "gru_reset_before", "layer_norm_gru", "mgu", "rnn_tanh", "rnn_relu",
        "fastgrnn", "fastgrnn_low_w", "fastgrnn_low_u", "fastgrnn_low_wu",
    }
)  # fmt: skip
"""Cells of one input whose output is as wide as their state."""


def replaceable(graph: Graph) -> list[Node]:
    """The nodes that another cell can stand for: nothing reads more of them than their output."""
    read = {name for node in graph.nodes for name in node.reads}
    read |= {output.value for output in graph.outputs} | {f.output for f in graph.feedback}
    return [
        node
        for node in graph.nodes
        if node.kind in REPLACEABLE and read.isdisjoint(node.outputs[1:])
    ]


def swapped(graph: Graph, alternative: Alternative) -> Graph | None:
    """The graph with another cell in place of every one that can be replaced; None if that changes
    nothing."""
    chosen = {node.name for node in replaceable(graph) if node.kind != alternative.kind}
    if not chosen:
        return None
    sizes = dict(graph.sizes)
    nodes = []
    for node in graph.nodes:
        if node.name not in chosen:
            nodes.append(node)
            continue
        for name in node.outputs[1:]:
            del sizes[name]
        made = _made(node, alternative, graph.sizes)
        sizes |= {s.value: len(s.initial) for s in made.carried}
        nodes.append(made)
    return replace(graph, sizes=sizes, nodes=tuple(nodes))


def _made(node: Node, alternative: Alternative, sizes: Mapping[str, int]) -> Node:
    cell, hidden = CELLS[alternative.kind], sizes[node.name]
    rank = max(1, round(alternative.rank_share * hidden))
    values = {"input": sizes[node.inputs[0]], "hidden": hidden, "w_rank": rank, "u_rank": rank}
    rng = np.random.default_rng(0)
    bound = 1 / np.sqrt(hidden)
    arrays = {
        name: rng.uniform(-bound, bound, shape).astype(np.float32)
        for name, shape in cell.shapes_at(values).items()
    }
    outputs = (node.name, *(f"{node.name}_{name}" for name in cell.outputs[1:]))
    of_output = dict(zip(cell.outputs, outputs, strict=True))
    # The output's state keeps its name, so that a report of both can be compared.
    first = next((s for s in node.carried if s.value == node.name), None)
    carried = tuple(
        Carried(
            first.name if first and of_output[name] == node.name else of_output[name],
            of_output[name],
            np.zeros(hidden, np.float32),
        )
        for name in cell.states
    )
    return Node(
        alternative.kind, node.inputs, outputs, arrays, carried,
        reverse=node.reverse, mask=node.mask,
    )  # fmt: skip
