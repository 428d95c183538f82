"""A float network as PyTorch modules again: of a step with its states, or of a window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from edgernn import cells
from edgernn.bench.engines.torch_cells import CELLS, CellStep, OwnStep, Whole
from edgernn.bench.engines.torch_layers import layer
from edgernn.graph import Graph, Node


def step_of(node: Node) -> nn.Module:
    """One step of a cell: (inputs, states) -> outputs, lists of (N, S)."""
    return CellStep(node) if node.kind in CELLS else OwnStep(node)


class StepModel(nn.Module):
    """One step of a graph that streams: inputs (1, F) and states (1, S), in the graph's order ->
    (outputs (1, O), next states)."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph
        self.parts = nn.ModuleList(
            step_of(node) if node.kind in cells.CELLS else layer(node, graph.sizes)
            for node in graph.nodes
        )
        self.settle()

    def settle(self) -> None:
        """Take the parts as they are now; to be called when some were exchanged."""
        self.plan = list(zip(self.graph.nodes, self.parts, strict=True))

    def forward(
        self, x: Sequence[Tensor], states: Sequence[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """See above."""
        graph = self.graph
        values = dict(zip(graph.inputs, x, strict=True))
        place = 0
        for node, part in self.plan:
            if node.kind not in cells.CELLS:
                values[node.outputs[0]] = part(*[values[n] for n in node.inputs])
                continue
            own = states[place : place + len(node.carried)]
            place += len(node.carried)
            results = part([values[n] for n in node.inputs], own)
            values.update(zip(node.outputs, _held(node, results, own, values), strict=True))
        following = [values[state.value] for state in graph.states]
        return [values[output.value] for output in graph.outputs], following


class FedBack(StepModel):
    """The same of a graph with feedback, whose states come last."""

    def forward(
        self, x: Sequence[Tensor], states: Sequence[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """See StepModel."""
        values = dict(zip(self.graph.inputs, x, strict=True))
        fed = self.graph.feedback
        for feedback, last in zip(fed, states[len(states) - len(fed) :], strict=True):
            given = values[feedback.given] != 0
            values[feedback.input] = torch.where(given, values[feedback.input], last)
        return super().forward(list(values.values()), states)


class WindowModel(nn.Module):
    """A graph over a window: inputs (1, T, F) -> outputs (1, T, O), (1, O) of what is read once.

    Two directions of one layer are one module of torch.nn, as users write them.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph
        self.parts = nn.ModuleList()
        self.groups: list[list[Node]] = []
        nodes = list(graph.nodes)
        while nodes:
            group = [nodes.pop(0)]
            if nodes and _is_bidirectional(graph, group[0], nodes[0]):
                group.append(nodes.pop(0))
            self.groups.append(group)
            self.parts.append(_part(group, graph))
        self.settle()

    def settle(self) -> None:
        """Take the parts as they are now; to be called when some were exchanged."""
        self.plan = list(zip(self.groups, self.parts, strict=True))

    def forward(self, x: Sequence[Tensor]) -> list[Tensor]:
        """See above."""
        values = dict(zip(self.graph.inputs, x, strict=True))
        for group, part in self.plan:
            node = group[0]
            inputs = [values[name] for name in node.inputs]
            if node.kind in ("last", "first"):
                values[node.name] = inputs[0][:, -1:] if node.kind == "last" else inputs[0][:, :1]
            elif isinstance(part, Whole):
                for own, value in zip(group, part(inputs[0]), strict=True):
                    values[own.outputs[0]] = value
            elif node.kind in cells.CELLS:
                values.update(zip(node.outputs, _scanned(node, part, inputs, values), strict=True))
            else:
                values[node.name] = part(*inputs)
        return [values[o.value][:, -1] if o.last else values[o.value] for o in self.graph.outputs]


def _part(group: list[Node], graph: Graph) -> nn.Module:
    node = group[0]
    if node.kind in ("last", "first"):
        return nn.Identity()
    if _is_whole(graph, node):
        return Whole(group)
    return step_of(node) if node.kind in cells.CELLS else layer(node, graph.sizes)


def _is_whole(graph: Graph, node: Node) -> bool:
    """Can torch.nn's layer do it, which returns the first output of each step alone?"""
    read = {name for other in graph.nodes for name in other.reads}
    read |= {output.value for output in graph.outputs}
    return node.kind in CELLS and not node.mask and read.isdisjoint(node.outputs[1:])


def _is_bidirectional(graph: Graph, one: Node, other: Node) -> bool:
    return (
        _is_whole(graph, one)
        and _is_whole(graph, other)
        and one.kind == other.kind
        and one.inputs == other.inputs
        and not one.reverse
        and other.reverse
        and one.arrays["weight_hh"].shape == other.arrays["weight_hh"].shape
    )


def _held(
    node: Node, results: Sequence[Tensor], states: Sequence[Tensor], values: dict[str, Tensor]
) -> Sequence[Tensor]:
    """The results, but the states as they were where the mask is 0."""
    if not node.mask:
        return results
    on, held = values[node.mask] != 0, dict(zip(node.outputs, results, strict=True))
    for state, old in zip(node.carried, states, strict=True):
        held[state.value] = torch.where(on, held[state.value], old)
    return list(held.values())


def _scanned(
    node: Node, part: Any, inputs: list[Tensor], values: dict[str, Tensor]
) -> list[Tensor]:
    """A cell step by step over a window, in Python, as the layers of edgernn.nn do it."""
    length = inputs[0].shape[1]
    states = [torch.from_numpy(state.initial.copy())[None] for state in node.carried]
    found: list[Sequence[Tensor]] = []
    for t in reversed(range(length)) if node.reverse else range(length):
        results = part([x[:, t] for x in inputs], states)
        now = {node.mask: values[node.mask][:, t]} if node.mask else {}
        results = _held(node, results, states, now)
        named = dict(zip(node.outputs, results, strict=True))
        states = [named[state.value] for state in node.carried]
        found.append(results)
    ordered = found[::-1] if node.reverse else found
    return [torch.stack(list(series), dim=1) for series in zip(*ordered, strict=True)]
