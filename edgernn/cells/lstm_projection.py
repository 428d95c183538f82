"""LSTM with recurrent projection (Sak et al. 2014, arXiv 1402.1128), torch.nn.LSTM's proj_size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgernn.cells.base import Cell, Note, input_product, product, sigmoid
from edgernn.graph import FloatArray, Node
from edgernn.lowering.builder import Builder, covering_scale
from edgernn.ranges import Ranges
from edgernn.runtime.program import GATE, UNIT

HEADROOM = 2.0
"""Of the cell state, an open sum, and of the projected state: streams run longer than data."""


def step(
    node: Node, x: Sequence[FloatArray], states: Sequence[FloatArray], note: Note
) -> Sequence[FloatArray]:
    """One float step; x is W x + b."""
    (gx,), (h, c), size = x, states, states[1].shape[1]
    a = gx + (product(h, node.arrays["weight_hh"]) + node.arrays["bias_hh"])
    input_forget = sigmoid(a[:, : 2 * size])
    candidate, output = np.tanh(a[:, 2 * size : 3 * size]), sigmoid(a[:, 3 * size :])
    c = input_forget[:, size:] * c + input_forget[:, :size] * candidate
    whole = output * np.tanh(c)
    note("m", whole)
    return [product(whole, node.arrays["weight_hr"]), c]


def lower(builder: Builder, node: Node, x: tuple[str, ...], ranges: Ranges) -> tuple[str, ...]:
    """Append one step of the cell; returns the tensors of h' (P,) and c' (H,).

    i, f, o = sigmoid(...);  g = tanh(...);  c' = f c + i g;  h' = W_hr (o tanh(c'))
    """
    (value_h, value_c), (carried_h, carried_c) = node.outputs, node.carried
    projected, hidden = len(carried_h.initial), len(carried_c.initial)
    weight = node.arrays["weight_hr"]
    # Whatever the data, o tanh(c) lies within +-1; a state that hardly moved in calibration must
    # still be one that the product's multipliers reach.
    bound, least = float(np.abs(weight).sum(axis=1).max()), float(np.abs(weight).max()) / 4096
    reach = max(min(HEADROOM * ranges.amplitude(value_h), bound), least)
    scale = covering_scale(max(reach, float(np.abs(carried_h.initial).max())))
    h = builder.state(carried_h.name, projected, scale, carried_h.initial)
    reach = max(ranges.amplitude(value_c), float(np.abs(carried_c.initial).max()))
    cell = covering_scale(max(HEADROOM * reach, 1.0), mantissa=3)
    c = builder.state(carried_c.name, hidden, cell, carried_c.initial)

    # PyTorch's rows are i f g o; the three sigmoids together take one operator instead of three.
    i, f, g, o = np.split(np.arange(4 * hidden), 4)
    order = np.concatenate([i, f, o, g])
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    a = {name: node.arrays[name][order] for name in names}
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
    whole = builder.mul(f"{value_h}_m", gate_o, builder.tanh(f"{value_h}_tc", value_c), UNIT)
    zeros = np.zeros(projected, np.float32)
    builder.linear(value_h, whole, weight, zeros, ranges.moments(f"{value_h}.m"), scale)
    return (builder.carry(carried_h.name, value_h), builder.carry(carried_c.name, value_c))


CELL = Cell(
    kind="lstm_projection",
    arrays=("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr"),
    outputs=("h", "c"),
    states=("h", "c"),
    step=step,
    lower=lower,
    prepare=input_product,
    products=("m",),
)
