"""LSTM with layer normalisation (Ba et al. 2016, arXiv 1607.06450, equations 20 to 22)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgernn.cells.base import Cell, Note, product
from edgernn.cells.lstm import cell_state, lower_memory, remembered, rows_ifog
from edgernn.graph import FloatArray, Node
from edgernn.lowering import normalization
from edgernn.lowering.builder import Builder
from edgernn.lowering.normalization import Spread
from edgernn.normalization import centered, scaled
from edgernn.ranges import Ranges
from edgernn.runtime.program import GATE, UNIT


def prepare(node: Node, x: Sequence[FloatArray]) -> Sequence[FloatArray]:
    """W x less its mean, for all steps at once."""
    return [centered(product(x[0], node.arrays["weight_ih"]))]


def step(
    node: Node, x: Sequence[FloatArray], states: Sequence[FloatArray], note: Note
) -> Sequence[FloatArray]:
    """One float step; x is W x less its mean, rows i f g o."""
    (dx,), (h, c), a, eps = x, states, node.arrays, node.numbers["eps"]
    gx = scaled(dx, a["gain_ih"], eps, note, "x_") + a["bias_ih"]
    gates = gx + scaled(centered(h @ a["weight_hh"].T), a["gain_hh"], eps, note, "h_")
    output, c = remembered(gates, c)
    note("c_mean", c.mean(axis=-1, keepdims=True))
    return [output * np.tanh(scaled(centered(c), a["gain_c"], eps, note, "c_") + a["bias_c"]), c]


def lower(builder: Builder, node: Node, x: tuple[str, ...], ranges: Ranges) -> tuple[str, ...]:
    """Append one step of the cell; returns the tensors of h' and c'.

    i, f, o = sigmoid(LN(W x) + LN(U h) + b);  g = tanh(...);  c' = f c + i g;
    h' = o tanh(LN(c'))
    """
    (value, value_c), (carried_h, carried_c), b = node.outputs, node.carried, builder
    hidden, eps = len(carried_h.initial), node.numbers["eps"]
    h = b.state(carried_h.name, hidden, UNIT, carried_h.initial)
    c = cell_state(b, node, ranges)

    # The three sigmoids together take one operator instead of three.
    order = rows_ifog(hidden)
    a = {k: v if k.endswith("_c") else v[order] for k, v in node.arrays.items()}
    spread = {part: Spread.of(ranges, f"{value}.{part}_") for part in "xhc"}
    of_x = normalization.normalized_product(
        b, f"{value}_x", x[0], a["weight_ih"], ranges.moments(node.inputs[0]), a["gain_ih"], eps,
        spread["x"],
    )  # fmt: skip
    of_h = normalization.normalized_product(
        b, f"{value}_h", h, a["weight_hh"], normalization.about_zero(ranges.moments(value)),
        a["gain_hh"], eps, spread["h"],
    )  # fmt: skip
    gx = normalization.shifted(b, f"{value}_gx", of_x, a["bias_ih"], GATE)
    gates = normalization.summed(b, f"{value}_a", gx, of_h, GATE)
    gate_o = lower_memory(b, node, gates, c)

    name = f"{value}_c"
    count, low = spread["c"].passes(float(b.scale(c)))
    deviations = normalization.centered(
        b, name, value_c, ranges.amplitude(f"{value}.c_mean"), spread["c"].scale(count), count
    )
    of_c = normalization.normalized(b, name, deviations, a["gain_c"], eps, spread["c"], low)
    read = normalization.shifted(b, f"{value}_lc", of_c, a["bias_c"], GATE)
    b.mul(value, gate_o, b.tanh(f"{value}_tc", read), UNIT)
    return (b.carry(carried_h.name, value), b.carry(carried_c.name, value_c))


CELL = Cell(
    kind="layer_norm_lstm",
    shapes={
        "weight_ih": ("4*hidden", "input"),
        "weight_hh": ("4*hidden", "hidden"),
        "bias_ih": ("4*hidden",),
        "gain_ih": ("4*hidden",),
        "gain_hh": ("4*hidden",),
        "gain_c": ("hidden",),
        "bias_c": ("hidden",),
    },
    outputs=("h", "c"),
    states=("h", "c"),
    step=step,
    lower=lower,
    prepare=prepare,
    numbers=("eps",),
    sizes=("hidden", "hidden"),
)
