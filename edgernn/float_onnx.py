"""The float reference as ONNX: the network before it is quantized, in standard operators.

GRU, LSTM and RNN of the ONNX standard over whole sequences, batch N and time T dynamic. Internally
time comes first; what is read at the last step only is computed there only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn.exporters.onnx_graph import OnnxGraph, refuse_repeated
from edgernn.graph import Graph, Node
from edgernn.runtime.errors import UnsupportedError

# PyTorch's gates in ONNX's order: GRU z r h of r z n, LSTM i o f c of i f g o.
_GATE_ORDER: Final = {
    "gru": (1, 0, 2),
    "lstm": (0, 3, 1, 2),
    "rnn_tanh": (0,),
    "rnn_relu": (0,),
}
_OPERATORS: Final = {"gru": "GRU", "lstm": "LSTM", "rnn_tanh": "RNN", "rnn_relu": "RNN"}
_FUNCTIONS: Final = {"relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid", "add": "Add"}


def float_onnx(graph: Graph) -> bytes:
    """The float network over sequences, in ONNX's standard operators.

    Inputs x (N, T, F) float32, or (T, N, F) without batch_first, by the graph's own names, and
    state_<name> (N, H) float32; outputs by name, (N, O) for the last step, else in the layout of
    the inputs, and state_<name>_next (N, H).
    Errors: UnsupportedError for names that collide, for an unknown kind of node, and where an
    LSTM's cell state is read at every step, which ONNX's LSTM does not return; MissingExtraError
    without the package onnx.
    Source of the gate order: https://onnx.ai/onnx/operators/ (GRU, LSTM, RNN), torch.nn.
    """
    return _Writer(graph).write()


class _Writer:
    """Values at every step, (T, N, F), and at the last step, (N, F), each made when asked for."""

    def __init__(self, graph: Graph) -> None:
        self._source = graph
        self._graph = OnnxGraph(_public_names(graph))
        self._producers = {name: node for node in graph.nodes for name in node.outputs}
        self._every: dict[str, str] = {}
        self._last: dict[str, str] = {}

    def write(self) -> bytes:
        g, source = self._graph, self._source
        for name in source.inputs:
            value = g.input(name, np.float32, self._shape(source.sizes[name]))
            self._every[name] = self._swapped(value) if source.batch_first else value
        for state in source.states:
            g.input(f"state_{state.name}", np.float32, ("N", len(state.initial)))
        for node in source.nodes:
            # In order, so that stacks of any depth need no recursion through cells.
            if node.carried:
                self._cell(node)
        for output in source.outputs:
            size = source.sizes[output.value]
            if output.last:
                g.output(output.name, np.float32, ("N", size))
                g.node("Identity", [self._at_last(output.value)], output.name)
                continue
            g.output(output.name, np.float32, self._shape(size))
            value = self._at_every(output.value)
            if source.batch_first:
                self._swapped(value, output.name)
            else:
                g.node("Identity", [value], output.name)
        for state in source.states:
            name = f"state_{state.name}_next"
            g.output(name, np.float32, ("N", len(state.initial)))
            g.node("Identity", [self._at_last(state.value)], name)
        return g.model()

    def _shape(self, size: int) -> tuple[str | int, ...]:
        return ("N", "T", size) if self._source.batch_first else ("T", "N", size)

    def _swapped(self, value: str, output: str = "") -> str:
        return self._graph.node("Transpose", [value], output, perm=[1, 0, 2])

    def _at_every(self, name: str) -> str:
        """The value at every step."""
        if name not in self._every:
            node = self._producers[name]
            if node.kind == "lstm":
                raise UnsupportedError(
                    f"the cell state {name} is read at every step, which the LSTM of ONNX does "
                    "not return; read it at the last step only, or compare with PyTorch instead"
                )
            self._every[name] = self._layer(node, self._at_every)
        return self._every[name]

    def _at_last(self, name: str) -> str:
        """The value at the last step."""
        if name not in self._last:
            if name in self._every:
                last = self._graph.scalar(-1, np.int64)
                self._last[name] = self._graph.node("Gather", [self._every[name], last], axis=0)
            else:
                self._last[name] = self._layer(self._producers[name], self._at_last)
        return self._last[name]

    def _cell(self, node: Node) -> None:
        g, size = self._graph, len(node.carried[0].initial)
        arrays = {name: _reordered(a, node.kind) for name, a in node.arrays.items()}
        axis = g.constant(np.array([0], np.int64))
        initial = [g.node("Unsqueeze", [f"state_{s.name}", axis]) for s in node.carried]
        inputs = [
            self._at_every(node.inputs[0]),
            g.constant(arrays["weight_ih"][None]),
            g.constant(arrays["weight_hh"][None]),
            g.constant(np.concatenate([arrays["bias_ih"], arrays["bias_hh"]])[None]),
            "",
            *initial,
        ]
        results = [g.name() for _ in range(1 + len(node.carried))]
        g.nodes(_OPERATORS[node.kind], inputs, results, hidden_size=size, **_attributes(node.kind))
        # ONNX keeps an axis for the direction.
        direction = g.constant(np.array([1], np.int64))
        self._every[node.outputs[0]] = g.node("Squeeze", [results[0], direction])
        for name, result in zip(node.outputs, results[1:], strict=True):
            self._last[name] = g.node("Squeeze", [result, axis])

    def _layer(self, node: Node, read: Callable[[str], str]) -> str:
        """A layer without state, at every step or at the last one."""
        g, inputs = self._graph, [read(name) for name in node.inputs]
        if node.kind in _FUNCTIONS:
            return g.node(_FUNCTIONS[node.kind], inputs)
        if node.kind == "linear":
            weight, bias = (g.constant(a) for a in (node.arrays["weight"].T, node.arrays["bias"]))
            return g.node("Add", [g.node("MatMul", [inputs[0], weight]), bias])
        if node.kind == "concat":
            return g.node("Concat", inputs, axis=-1)
        if node.kind == "slice":
            end = node.begin + self._source.sizes[node.name]
            limits = [g.constant(np.array([n], np.int64)) for n in (node.begin, end, -1)]
            return g.node("Slice", [inputs[0], *limits])
        raise UnsupportedError(
            f"no float ONNX form for {node.kind} ({node.name}); compare with PyTorch instead"
        )


def _attributes(kind: str) -> dict[str, object]:
    if kind == "gru":
        # PyTorch's GRU resets after the recurrent product and its bias.
        return {"linear_before_reset": 1}
    return {"activations": ["Relu"]} if kind == "rnn_relu" else {}


def _reordered(array: NDArray[np.float32], kind: str) -> NDArray[np.float32]:
    """Rows from PyTorch's gate order to ONNX's."""
    order = _GATE_ORDER[kind]
    gates = np.split(array.astype(np.float32, copy=False), len(order))
    return np.concatenate([gates[i] for i in order])


def _public_names(graph: Graph) -> list[str]:
    names = [*graph.inputs, *(output.name for output in graph.outputs)]
    for state in graph.states:
        names += [f"state_{state.name}", f"state_{state.name}_next"]
    refuse_repeated(names, "model")
    return names
