"""LSTM with peepholes (Gers and Schmidhuber 2000; Graves 2013): the gates see the cell state."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgernn.cells.base import Cell, Note, input_product, product, sigmoid
from edgernn.cells.lstm import cell_state, rows_ifog
from edgernn.graph import FloatArray, Node
from edgernn.lowering.builder import Builder, covering_scale
from edgernn.ranges import Ranges
from edgernn.runtime.program import GATE, UNIT, Scale

WIDE = Scale(GATE.mantissa, GATE.exponent + 2)
"""The widest scale that a sum at GATE may read: +-48, beyond which no gate moves any more."""
FINE = Scale(GATE.mantissa, GATE.exponent - 4)
"""Finer than this a peephole's share of a gate need not be."""


def step(
    node: Node, x: Sequence[FloatArray], states: Sequence[FloatArray], note: Note
) -> Sequence[FloatArray]:
    """One float step; x is W x + b, rows i f g o."""
    (gx,), (h, c), size = x, states, states[0].shape[1]
    a = gx + product(h, node.arrays["weight_hh"])
    peephole = node.arrays["weight_peephole"]
    i = sigmoid(a[:, :size] + peephole[:size] * c)
    f = sigmoid(a[:, size : 2 * size] + peephole[size : 2 * size] * c)
    c = f * c + i * np.tanh(a[:, 2 * size : 3 * size])
    o = sigmoid(a[:, 3 * size :] + peephole[2 * size :] * c)
    return [o * np.tanh(c), c]


def lower(builder: Builder, node: Node, x: tuple[str, ...], ranges: Ranges) -> tuple[str, ...]:
    """Append one step of the cell; returns the tensors of h' and c'.

    i, f = sigmoid(W x + b + U h + p c);  g = tanh(W x + b + U h);  c' = f c + i g
    o = sigmoid(W x + b + U h + p c');  h' = o tanh(c')
    """
    (value_h, value_c), (carried_h, carried_c) = node.outputs, node.carried
    hidden = len(carried_h.initial)
    h = builder.state(carried_h.name, hidden, UNIT, carried_h.initial)
    c = cell_state(builder, node, ranges)
    cell = builder.scale(c)

    # i and f together take one operator where apart they would take two.
    order = rows_ifog(hidden)
    a = {name: node.arrays[name][order] for name in ("weight_ih", "weight_hh", "bias_ih")}
    moments_x, moments_h = ranges.moments(node.inputs[0]), ranges.moments(value_h)
    zeros = np.zeros(4 * hidden, np.float32)
    gx = builder.linear(f"{value_h}_gx", x[0], a["weight_ih"], a["bias_ih"], moments_x, GATE)
    gh = builder.linear(f"{value_h}_gh", h, a["weight_hh"], zeros, moments_h, GATE)
    gates = builder.add(f"{value_h}_a", gx, gh, GATE)
    sizes = {f"{value_h}_a_if": 2 * hidden, f"{value_h}_a_o": hidden, f"{value_h}_a_g": hidden}
    a_if, a_o, a_g = builder.split(gates, sizes)

    both = builder.concat(f"{value_h}_cc", (c, c))
    peephole_if, peephole_o = np.split(node.arrays["weight_peephole"], [2 * hidden])
    seen = _peephole(builder, f"{value_h}_p_if", peephole_if, both, a_if)
    gate_i, gate_f = builder.split(
        builder.logistic(f"{value_h}_if", seen), {f"{value_h}_{k}": hidden for k in "if"}
    )
    candidate = builder.tanh(f"{value_h}_g", a_g)
    kept = builder.mul(f"{value_h}_fc", gate_f, c, cell)
    written = builder.mul(f"{value_h}_ig", gate_i, candidate, UNIT)
    builder.add(value_c, kept, written, cell)

    seen = _peephole(builder, f"{value_h}_p_o", peephole_o, value_c, a_o)
    gate_o = builder.logistic(f"{value_h}_o", seen)
    builder.mul(value_h, gate_o, builder.tanh(f"{value_h}_tc", value_c), UNIT)
    return (builder.carry(carried_h.name, value_h), builder.carry(carried_c.name, value_c))


def _peephole(builder: Builder, name: str, weight: FloatArray, c: str, gate: str) -> str:
    """gate + weight * c, element by element, at GATE."""
    cell = builder.scale(c)
    # A product has the scale of its weight times that of c times 2^15.
    finest = Scale(1, FINE.exponent - 15 - cell.exponent)
    scale = max(covering_scale(float(np.abs(weight).max())), finest, key=float)
    weights = builder.constant(name, weight, scale)
    wide = Scale.of(scale.fraction * cell.fraction / UNIT.fraction)
    share = builder.mul(f"{name}_c", weights, c, wide)
    if float(wide) > float(WIDE):
        share = builder.rescale(f"{name}_near", share, WIDE)
    return builder.add(f"{name}_a", gate, share, GATE)


CELL = Cell(
    kind="lstm_peephole",
    shapes={
        "weight_ih": ("4*hidden", "input"),
        "weight_hh": ("4*hidden", "hidden"),
        "weight_peephole": ("3*hidden",),
        "bias_ih": ("4*hidden",),
    },
    outputs=("h", "c"),
    states=("h", "c"),
    step=step,
    lower=lower,
    prepare=input_product,
    sizes=("hidden", "hidden"),
)
