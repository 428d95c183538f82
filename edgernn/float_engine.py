"""The float reference: a graph executed in NumPy, float32, one batch of sequences at a time.

It is what quantization is calibrated with and measured against, and what the importer holds
against torch. Equations as in torch.nn.GRU, LSTM and RNN.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from edgernn.graph import FloatArray, Graph, Node
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
    (N, T, size): inputs, outputs of nodes, and of an rnn_relu node named v its pre-activations
    `v.gx`, `v.gh` and `v.a`; it must copy what it keeps.
    Returns output name -> (N, T, size) and state name -> (N, size) after the last step.
    InputError if an array is missing, unknown or has another shape.
    """
    values = _check_inputs(graph, inputs)
    batch = len(next(iter(values.values())))
    started = _check_states(graph, states or {}, batch)
    finished: dict[str, FloatArray] = {}
    if observe is not None:
        for name in graph.inputs:
            observe(name, values[name])
    for node in graph.nodes:
        operands = [values[name] for name in node.inputs]
        if node.carried:
            first = [started[state.name] for state in node.carried]
            results, final = _CELLS[node.kind](node, operands[0], first, observe)
            finished.update((c.name, h) for c, h in zip(node.carried, final, strict=True))
        else:
            results = (_layer(graph, node, operands),)
        values.update(zip(node.outputs, results, strict=True))
        if observe is not None:
            for name, value in zip(node.outputs, results, strict=True):
                observe(name, value)
    return {output.name: values[output.value] for output in graph.outputs}, finished


def sigmoid(x: FloatArray) -> FloatArray:
    """1 / (1 + exp(-x)), without overflow for any x."""
    result: FloatArray = np.float32(0.5) * (np.tanh(np.float32(0.5) * x) + np.float32(1))
    return result


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
    result: FloatArray
    if node.kind == "linear":
        result = _product(x[0], node.arrays["weight"], node.arrays["bias"])
    elif node.kind == "relu":
        result = np.maximum(x[0], np.float32(0))
    elif node.kind == "tanh":
        result = np.tanh(x[0])
    elif node.kind == "sigmoid":
        result = sigmoid(x[0])
    elif node.kind == "add":
        result = x[0] + x[1]
    elif node.kind == "concat":
        result = np.concatenate(x, axis=-1)
    elif node.kind == "slice":
        result = x[0][..., node.begin : node.begin + graph.sizes[node.name]]
    else:
        raise UnsupportedError(f"the float engine has no layer {node.kind} ({node.name})")
    return result


def _product(x: FloatArray, weight: FloatArray, bias: FloatArray) -> FloatArray:
    flat = np.ascontiguousarray(x).reshape(-1, x.shape[-1]) @ weight.T
    flat += bias
    result: FloatArray = flat.reshape(*x.shape[:-1], len(weight))
    return result


def _input_product(node: Node, x: FloatArray) -> FloatArray:
    """W x + b for all steps at once, time first: (T, N, rows)."""
    return _product(x.swapaxes(0, 1), node.arrays["weight_ih"], node.arrays["bias_ih"])


_Run = tuple[tuple[FloatArray, ...], tuple[FloatArray, ...]]


def _gru(node: Node, x: FloatArray, first: list[FloatArray], observe: Observer | None) -> _Run:
    (h,) = first
    size = h.shape[1]
    weight, bias = np.ascontiguousarray(node.arrays["weight_hh"].T), node.arrays["bias_hh"]
    gx = _input_product(node, x)
    out = np.empty((*gx.shape[:2], size), np.float32)
    for t, step in enumerate(gx):
        gh = h @ weight + bias
        rz = sigmoid(step[:, : 2 * size] + gh[:, : 2 * size])
        r, z = rz[:, :size], rz[:, size:]
        n = np.tanh(step[:, 2 * size :] + r * gh[:, 2 * size :])
        h = n + z * (h - n)
        out[t] = h
    return (out.swapaxes(0, 1),), (h,)


def _lstm(node: Node, x: FloatArray, first: list[FloatArray], observe: Observer | None) -> _Run:
    h, c = first
    size = h.shape[1]
    weight, bias = np.ascontiguousarray(node.arrays["weight_hh"].T), node.arrays["bias_hh"]
    gx = _input_product(node, x)
    out_h, out_c = (np.empty((*gx.shape[:2], size), np.float32) for _ in range(2))
    for t, step in enumerate(gx):
        a = step + (h @ weight + bias)
        input_forget = sigmoid(a[:, : 2 * size])
        candidate, output = np.tanh(a[:, 2 * size : 3 * size]), sigmoid(a[:, 3 * size :])
        c = input_forget[:, size:] * c + input_forget[:, :size] * candidate
        h = output * np.tanh(c)
        out_h[t], out_c[t] = h, c
    return (out_h.swapaxes(0, 1), out_c.swapaxes(0, 1)), (h, c)


def _rnn(node: Node, x: FloatArray, first: list[FloatArray], observe: Observer | None) -> _Run:
    (h,) = first
    weight, bias = np.ascontiguousarray(node.arrays["weight_hh"].T), node.arrays["bias_hh"]
    relu = node.kind == "rnn_relu"
    gx = _input_product(node, x)
    out = np.empty((*gx.shape[:2], h.shape[1]), np.float32)
    # Only a ReLU state has no bound, so only its parts need a range.
    seen: NDArray[np.float32] | None = np.empty_like(gx) if relu and observe else None
    for t, step in enumerate(gx):
        gh = h @ weight + bias
        a = step + gh
        h = np.maximum(a, np.float32(0)) if relu else np.tanh(a)
        out[t] = h
        if seen is not None:
            seen[t] = gh
    if seen is not None and observe is not None:
        for part, value in (("gx", gx), ("gh", seen), ("a", gx + seen)):
            observe(f"{node.name}.{part}", value.swapaxes(0, 1))
    return (out.swapaxes(0, 1),), (h,)


_CELLS: dict[str, Callable[[Node, FloatArray, list[FloatArray], Observer | None], _Run]] = {
    "gru": _gru,
    "lstm": _lstm,
    "rnn_tanh": _rnn,
    "rnn_relu": _rnn,
}
