"""The float reference: a graph executed in NumPy, float32, one batch of sequences at a time.

It is what quantization is calibrated with and measured against, and what the importer holds
against torch. The equations of a cell are in its module of `edgernn.cells`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from edgernn.cells import CELLS
from edgernn.feedback import run_fed_back
from edgernn.graph import FloatArray, Graph, Node
from edgernn.layers import LAYERS_FLOAT, NOTES
from edgernn.runtime.errors import InputError, UnsupportedError

Observer = Callable[[str, FloatArray], None]


def run_float(
    graph: Graph,
    inputs: Mapping[str, FloatArray],
    states: Mapping[str, FloatArray] | None = None,
    observe: Observer | None = None,
) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
    """Run sequences through the graph, every step, whatever the model returns of them.

    inputs: value name -> (N, T, size) float32, batch first. states: state name -> (N, size);
    a state that is not given starts at its initial value. observe is called with every value
    (N, T, size): inputs, outputs of nodes, and what a cell notes, as `<node>.<name>`; it must copy
    what it keeps. What a window has once, after `last` or `first`, is (N, 1, size).
    Returns output name -> (N, T, size) and state name -> (N, size) after the last step.
    InputError if an array is missing, unknown or has another shape.
    """
    values = _check_inputs(graph, inputs)
    started = _check_states(graph, states or {}, len(next(iter(values.values()))))
    if graph.feedback:
        return run_fed_back(graph, values, started, observe, _run_graph)
    return _run_graph(graph, values, started, observe)


def _run_graph(
    graph: Graph,
    values: dict[str, FloatArray],
    started: Mapping[str, FloatArray],
    observe: Observer | None,
) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
    finished: dict[str, FloatArray] = {}
    if observe is not None:
        for name in graph.inputs:
            observe(name, values[name])
    for node in graph.nodes:
        operands = [values[name] for name in node.inputs]
        results: Sequence[FloatArray]
        if node.kind in CELLS:
            first = [started[state.name] for state in node.carried]
            mask = values[node.mask] if node.mask else None
            sizes = [graph.sizes[name] for name in node.outputs]
            results, final = _run(node, operands, mask, first, sizes, observe)
            finished.update((c.name, h) for c, h in zip(node.carried, final, strict=True))
        else:
            results = (_layer(graph, node, operands),)
            if observe is not None and node.kind in NOTES:
                NOTES[node.kind](node, operands, _noted(node, observe))
        values.update(zip(node.outputs, results, strict=True))
        if observe is not None:
            for name, value in zip(node.outputs, results, strict=True):
                observe(name, value)
    return {output.name: values[output.value] for output in graph.outputs}, finished


def _noted(node: Node, observe: Observer) -> Observer:
    return lambda name, value: observe(f"{node.name}.{name}", value)


def _check_inputs(graph: Graph, inputs: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    if set(inputs) != set(graph.inputs):
        raise InputError(f"the inputs are {sorted(inputs)}, and this graph has {graph.inputs}")
    values = {name: np.asarray(inputs[name], np.float32) for name in graph.inputs}
    lengths = next(iter(values.values())).shape[:2]
    for name, value in values.items():
        if value.shape != (*lengths, graph.sizes[name]) or value.ndim != 3:
            raise InputError(
                f"input {name} has shape {value.shape}; it must be (batch, time, "
                f"{graph.sizes[name]}), batch and time the same for every input"
            )
    return values


def _check_states(
    graph: Graph, states: Mapping[str, FloatArray], batch: int
) -> dict[str, FloatArray]:
    known = {state.name: state.initial for state in graph.states}
    for name, value in states.items():
        if name not in known:
            raise InputError(f"{name} is not a state of this graph; it has {sorted(known)}")
        if np.shape(value) != (batch, len(known[name])):
            raise InputError(
                f"state {name} has shape {np.shape(value)}; it must be {(batch, len(known[name]))}"
            )
    return {
        name: np.asarray(states[name], np.float32)
        if name in states
        else np.repeat(initial[None], batch, axis=0)
        for name, initial in known.items()
    }


def _layer(graph: Graph, node: Node, x: list[FloatArray]) -> FloatArray:
    if node.kind in ("last", "first"):
        return x[0][:, -1:] if node.kind == "last" else x[0][:, :1]
    if node.kind not in LAYERS_FLOAT:
        raise UnsupportedError(f"the float engine has no layer {node.kind} ({node.name})")
    return LAYERS_FLOAT[node.kind](graph.sizes, node, x)


def _run(
    node: Node,
    inputs: list[FloatArray],
    mask: FloatArray | None,
    first: list[FloatArray],
    sizes: list[int],
    observe: Observer | None,
) -> tuple[list[FloatArray], list[FloatArray]]:
    """All steps of a cell: its outputs (N, T, S) and its last states (N, S)."""
    cell = CELLS[node.kind]
    # Time first, so that a step's rows lie together.
    prepared = [np.ascontiguousarray(v.swapaxes(0, 1)) for v in cell.prepare(node, inputs)]
    length = len(prepared[0])
    outputs = [np.empty((*prepared[0].shape[:2], size), np.float32) for size in sizes]
    noted: dict[str, FloatArray] = {}
    states, t = list(first), 0

    def note(name: str, value: FloatArray) -> None:
        if name not in noted:
            noted[name] = np.empty((length, *value.shape), np.float32)
        noted[name][t] = value

    carried = [cell.outputs.index(name) for name in cell.states]
    for t in reversed(range(length)) if node.reverse else range(length):
        results = list(cell.step(node, [v[t] for v in prepared], states, note))
        if mask is not None:
            for i, old in zip(carried, states, strict=True):
                results[i] = np.where(mask[:, t] != 0, results[i], old)
        states = [results[i] for i in carried]
        for output, value in zip(outputs, results, strict=True):
            output[t] = value
    if observe is not None:
        for name, value in noted.items():
            observe(f"{node.name}.{name}", value.swapaxes(0, 1))
    return [output.swapaxes(0, 1) for output in outputs], states
