"""A recurrent node as ONNX: the standard's own operator, or a Scan of the cell's traced step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from edgernn.cells import CELLS
from edgernn.exporters.onnx_graph import OnnxGraph
from edgernn.graph import FloatArray, Node
from edgernn.onnx_axes import BATCH, Axis, Shape
from edgernn.onnx_trace import Traced, tracing
from edgernn.runtime.errors import UnsupportedError

OPERATORS: Final = {"gru": "GRU", "lstm": "LSTM", "rnn_tanh": "RNN", "rnn_relu": "RNN"}
_ARRAYS: Final = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
# PyTorch's gates in ONNX's order: GRU z r h of r z n, LSTM i o f c of i f g o.
_GATE_ORDER: Final = {
    "gru": (1, 0, 2),
    "lstm": (0, 3, 1, 2),
    "rnn_tanh": (0,),
    "rnn_relu": (0,),
}


def is_standard(node: Node) -> bool:
    """Does an operator of ONNX compute this node? None has masks or a projection."""
    return node.kind in OPERATORS and not node.mask and set(node.arrays) == set(_ARRAYS)


def standard(g: OnnxGraph, node: Node, x: str, initial: Sequence[str]) -> tuple[str, list[str]]:
    """GRU, LSTM or RNN over x (T, N, F): the first output (T, N, H), and the last states (N, H).

    initial: (N, H) for each state. Source of the order of the gates: https://onnx.ai/onnx/operators
    """
    arrays = {name: _reordered(node.arrays[name], node.kind) for name in _ARRAYS}
    axis = g.constant(np.array([0], np.int64))
    inputs = [
        x,
        g.constant(arrays["weight_ih"][None]),
        g.constant(arrays["weight_hh"][None]),
        g.constant(np.concatenate([arrays["bias_ih"], arrays["bias_hh"]])[None]),
        "",
        *(g.node("Unsqueeze", [state, axis]) for state in initial),
    ]
    options: dict[str, Any] = {"direction": "reverse"} if node.reverse else {}
    if node.kind == "gru":
        # PyTorch's GRU resets after the recurrent product and its bias.
        options["linear_before_reset"] = 1
    if node.kind == "rnn_relu":
        options["activations"] = ["Relu"]
    y, *finals = (g.name() for _ in range(1 + len(initial)))
    size = len(node.carried[0].initial)
    g.nodes(OPERATORS[node.kind], inputs, [y, *finals], hidden_size=size, **options)
    # ONNX keeps an axis for the direction.
    direction = g.constant(np.array([1], np.int64))
    return g.node("Squeeze", [y, direction]), [g.node("Squeeze", [h, axis]) for h in finals]


def _reordered(array: FloatArray, kind: str) -> NDArray[np.float32]:
    """Rows from PyTorch's gate order to ONNX's."""
    order = _GATE_ORDER[kind]
    gates = np.split(array.astype(np.float32, copy=False), len(order))
    return np.concatenate([gates[i] for i in order])


def scanned(
    g: OnnxGraph,
    node: Node,
    inputs: Sequence[Traced],
    mask: Traced | None,
    initial: Sequence[str],
    wanted: Sequence[int],
) -> tuple[list[str], list[str]]:
    """Any cell over its inputs (T, N, F): the wanted outputs (T, N, S), the last states (N, S).

    wanted: positions in node.outputs. UnsupportedError if its step cannot be traced.
    """
    cell, owner = CELLS[node.kind], f"{node.kind} ({node.name})"
    with tracing(owner):
        prepared = [_traced(p, owner) for p in cell.prepare(node, _arrays(inputs))]
    sequences = [*prepared, *([] if mask is None else [mask])]
    body = OnnxGraph(parent=g)
    sizes = [len(state.initial) for state in node.carried]
    states = [_declared(body, (BATCH, size)) for size in sizes]
    x = [_declared(body, p.shape[1:], p.dtype) for p in sequences]
    frozen = None if mask is None else x.pop()
    with tracing(owner):
        results = list(cell.step(node, _arrays(x), _arrays(states), lambda *_: None))
        carried = [cell.outputs.index(name) for name in cell.states]
        if frozen is not None:
            for i, old in zip(carried, _arrays(states), strict=True):
                results[i] = np.where(_arrays([frozen])[0] != 0, results[i], old)
    names = []
    for i in (*carried, *wanted):
        result = _traced(results[i], owner).astype(np.float32)
        # One value may leave the loop several times, or pass through it untouched.
        expected = states[carried.index(i)].shape if i in carried else (BATCH, result.shape[-1])
        if result.shape != expected:
            raise UnsupportedError(
                f"no float ONNX form for {owner}: {cell.outputs[i]} has shape {result.shape} after "
                f"a step, not {expected}"
            )
        names.append(body.node("Identity", [result.name]))
        body.output(names[-1], np.float32, _dimensions(result.shape))
    outside = [g.name() for _ in names]
    directions = {"scan_input_directions": [1] * len(sequences)}
    if wanted:
        # An attribute of no elements has no type.
        directions["scan_output_directions"] = [1] * len(wanted)
    g.nodes(
        "Scan",
        [*initial, *(s.name for s in sequences)],
        outside,
        body=body.proto(),
        num_scan_inputs=len(sequences),
        **(directions if node.reverse else {}),
    )
    return outside[len(carried) :], outside[: len(carried)]


def _declared(body: OnnxGraph, shape: Shape, dtype: Any = np.float32) -> Traced:
    """An input of the body."""
    name = body.input(body.name(), dtype, _dimensions(shape))
    return Traced(body, name, shape, dtype)


def _dimensions(shape: Shape) -> tuple[int | str, ...]:
    return tuple("N" if isinstance(dim, Axis) else dim for dim in shape)


def _arrays(values: Sequence[Traced]) -> list[FloatArray]:
    """Traced values where arrays are declared: they take their place."""
    return cast("list[FloatArray]", list(values))


def _traced(value: Any, owner: str) -> Traced:
    if not isinstance(value, Traced):
        raise UnsupportedError(
            f"no float ONNX form for {owner}: a result depends on no input; compute it from one"
        )
    return value
