"""LSTM (Hochreiter and Schmidhuber 1997, with the forget gate of Gers 2000), as torch.nn.LSTM."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

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
    (gx,), (h, c), size = x, states, states[0].shape[1]
    a = gx + (h @ node.arrays["weight_hh"].T + node.arrays["bias_hh"])
    input_forget = sigmoid(a[:, : 2 * size])
    candidate, output = np.tanh(a[:, 2 * size : 3 * size]), sigmoid(a[:, 3 * size :])
    c = input_forget[:, size:] * c + input_forget[:, :size] * candidate
    return [output * np.tanh(c), c]


def lower(builder: Builder, node: Node, x: tuple[str, ...], ranges: Ranges) -> tuple[str, ...]:
    """Append one step of the cell; returns the tensors of h' and c'.

    i, f, o = sigmoid(...);  g = tanh(...);  c' = f c + i g;  h' = o tanh(c')
    """
    (value_h, value_c), (carried_h, carried_c) = node.outputs, node.carried
    hidden = len(carried_h.initial)
    h = builder.state(carried_h.name, hidden, UNIT, carried_h.initial)
    reach = max(ranges.amplitude(value_c), float(np.abs(carried_c.initial).max()))
    cell = covering_scale(max(HEADROOM * reach, 1.0), mantissa=3)
    c = builder.state(carried_c.name, hidden, cell, carried_c.initial)

    # PyTorch's rows are i f g o; the three sigmoids together take one operator instead of three.
    i, f, g, o = np.split(np.arange(4 * hidden), 4)
    order = np.concatenate([i, f, o, g])
    a = {name: array[order] for name, array in node.arrays.items()}
    moments_x, moments_h = ranges.moments(node.inputs[0]), ranges.moments(value_h)
    gx = builder.linear(f"{value_h}_gx", x[0], a["weight_ih"], a["bias_ih"], moments_x, GATE)
    gh = builder.linear(f"{value_h}_gh", h, a["weight_hh"], a["bias_hh"], moments_h, GATE)
    gates = builder.add(f"{value_h}_a", gx, gh, GATE)
    a_ifo, a_g = builder.split(gates, {f"{value_h}_a_ifo": 3 * hidden, f"{value_h}_a_g": hidden})
    ifo = builder.logistic(f"{value_h}_ifo", a_ifo)
    gate_i, gate_f, gate_o = builder.split(ifo, {f"{value_h}_{k}": hidden for k in "ifo"})
    candidate = builder.tanh(f"{value_h}_g", a_g)

    kept = builder.mul(f"{value_h}_fc", gate_f, c, cell)
    written = builder.mul(f"{value_h}_ig", gate_i, candidate, UNIT)
    builder.add(value_c, kept, written, cell)
    builder.mul(value_h, gate_o, builder.tanh(f"{value_h}_tc", value_c), UNIT)
    return (builder.carry(carried_h.name, value_h), builder.carry(carried_c.name, value_c))


CELL = Cell(
    kind="lstm",
    arrays=("weight_ih", "weight_hh", "bias_ih", "bias_hh"),
    outputs=("h", "c"),
    states=("h", "c"),
    step=step,
    lower=lower,
    prepare=input_product,
)
