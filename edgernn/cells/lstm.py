"""LSTM (Hochreiter and Schmidhuber 1997, with the forget gate of Gers 2000), as torch.nn.LSTM."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgernn.cells.base import Cell, Note, input_product, sigmoid
from edgernn.graph import FloatArray, Node
from edgernn.lowering.builder import Builder, covering_scale
from edgernn.ranges import Ranges
from edgernn.runtime.program import GATE, UNIT

HEADROOM = 2.0
"""The cell state is an open sum: streams run longer than calibration data."""


def step(
    node: Node, x: Sequence[FloatArray], states: Sequence[FloatArray], note: Note
) -> Sequence[FloatArray]:
    """One float step; x is W x + b."""
    (gx,), (h, c) = x, states
    return gated(gx + (h @ node.arrays["weight_hh"].T + node.arrays["bias_hh"]), c)


def gated(a: FloatArray, c: FloatArray) -> list[FloatArray]:
    """o tanh(c') and c', of the pre-activations a, rows i f g o, and c."""
    output, c = remembered(a, c)
    return [output * np.tanh(c), c]


def remembered(a: FloatArray, c: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The output gate and c', of the pre-activations a, rows i f g o, and c."""
    size = c.shape[1]
    input_forget = sigmoid(a[:, : 2 * size])
    candidate, output = np.tanh(a[:, 2 * size : 3 * size]), sigmoid(a[:, 3 * size :])
    return output, input_forget[:, size:] * c + input_forget[:, :size] * candidate


def lower(builder: Builder, node: Node, x: tuple[str, ...], ranges: Ranges) -> tuple[str, ...]:
    """Append one step of the cell; returns the tensors of h' and c'.

    i, f, o = sigmoid(...);  g = tanh(...);  c' = f c + i g;  h' = o tanh(c')
    """
    (value_h, value_c), (carried_h, carried_c) = node.outputs, node.carried
    hidden = len(carried_h.initial)
    h = builder.state(carried_h.name, hidden, UNIT, carried_h.initial)
    lower_gated(builder, node, x[0], h, value_h, ranges)
    return (builder.carry(carried_h.name, value_h), builder.carry(carried_c.name, value_c))


def cell_state(builder: Builder, node: Node, ranges: Ranges) -> str:
    """Declare the state c, at the scale that calibration gives it."""
    value, carried = node.outputs[1], node.carried[1]
    reach = max(ranges.amplitude(value), float(np.abs(carried.initial).max()))
    scale = covering_scale(max(HEADROOM * reach, 1.0), mantissa=3)
    return builder.state(carried.name, len(carried.initial), scale, carried.initial)


def rows_ifog(hidden: int) -> NDArray[np.int64]:
    """PyTorch's rows i f g o in the order i f o g, which brings the sigmoids together."""
    i, f, g, o = np.split(np.arange(4 * hidden), 4)
    return np.concatenate([i, f, o, g])


def lower_gated(builder: Builder, node: Node, x: str, h: str, result: str, ranges: Ranges) -> None:
    """Append c' and, as `result`, o tanh(c'), of x and the state h; declares the state c."""
    value_h, value_c = node.outputs
    c = cell_state(builder, node, ranges)

    # The three sigmoids together take one operator instead of three.
    order = rows_ifog(builder.size(c))
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    a = {name: node.arrays[name][order] for name in names}
    moments_x, moments_h = ranges.moments(node.inputs[0]), ranges.moments(value_h)
    gx = builder.linear(f"{value_h}_gx", x, a["weight_ih"], a["bias_ih"], moments_x, GATE)
    gh = builder.linear(f"{value_h}_gh", h, a["weight_hh"], a["bias_hh"], moments_h, GATE)
    gates = builder.add(f"{value_h}_a", gx, gh, GATE)
    gate_o = lower_memory(builder, node, gates, c)
    builder.mul(result, gate_o, builder.tanh(f"{value_h}_tc", value_c), UNIT)


def lower_memory(builder: Builder, node: Node, gates: str, c: str) -> str:
    """Append c' of the pre-activations, rows i f o g, and the state c; returns the output gate."""
    value_h, value_c = node.outputs
    hidden, cell = builder.size(c), builder.scale(c)
    a_ifo, a_g = builder.split(gates, {f"{value_h}_a_ifo": 3 * hidden, f"{value_h}_a_g": hidden})
    ifo = builder.logistic(f"{value_h}_ifo", a_ifo)
    gate_i, gate_f, gate_o = builder.split(ifo, {f"{value_h}_{k}": hidden for k in "ifo"})
    candidate = builder.tanh(f"{value_h}_g", a_g)

    kept = builder.mul(f"{value_h}_fc", gate_f, c, cell)
    written = builder.mul(f"{value_h}_ig", gate_i, candidate, UNIT)
    builder.add(value_c, kept, written, cell)
    return gate_o


CELL = Cell(
    kind="lstm",
    shapes={
        "weight_ih": ("4*hidden", "input"),
        "weight_hh": ("4*hidden", "hidden"),
        "bias_ih": ("4*hidden",),
        "bias_hh": ("4*hidden",),
    },
    outputs=("h", "c"),
    states=("h", "c"),
    step=step,
    lower=lower,
    prepare=input_product,
    sizes=("hidden", "hidden"),
)
