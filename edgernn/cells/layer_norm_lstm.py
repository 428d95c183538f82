"""LSTM with layer normalisation (Ba et al. 2016, arXiv 1607.06450, equations 20 to 22)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgernn.cells.base import Cell, Note, product, sigmoid
from edgernn.graph import FloatArray, Node
from edgernn.lowering import normalization
from edgernn.lowering.builder import Builder, covering_scale
from edgernn.lowering.normalization import Spread
from edgernn.normalization import centered, scaled
from edgernn.ranges import Ranges
from edgernn.runtime.program import GATE, UNIT

HEADROOM = 2.0
"""The cell state is an open sum: streams run longer than calibration data."""


def prepare(node: Node, x: Sequence[FloatArray]) -> Sequence[FloatArray]:
    """W x less its mean, for all steps at once."""
    return [centered(product(x[0], node.arrays["weight_ih"]))]


def step(
    node: Node, x: Sequence[FloatArray], states: Sequence[FloatArray], note: Note
) -> Sequence[FloatArray]:
    """One float step; x is W x less its mean, rows i f g o."""
    (dx,), (h, c), a, eps = x, states, node.arrays, node.numbers["eps"]
    size = states[0].shape[1]
    gx = scaled(dx, a["gain_ih"], eps, note, "x_") + a["bias_ih"]
    gates = gx + scaled(centered(h @ a["weight_hh"].T), a["gain_hh"], eps, note, "h_")
    input_forget = sigmoid(gates[:, : 2 * size])
    candidate, output = np.tanh(gates[:, 2 * size : 3 * size]), sigmoid(gates[:, 3 * size :])
    c = input_forget[:, size:] * c + input_forget[:, :size] * candidate
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
    reach = max(ranges.amplitude(value_c), float(np.abs(carried_c.initial).max()))
    cell = covering_scale(max(HEADROOM * reach, 1.0), mantissa=3)
    c = b.state(carried_c.name, hidden, cell, carried_c.initial)

    # PyTorch's rows are i f g o; the three sigmoids together take one operator instead of three.
    i, f, g, o = np.split(np.arange(4 * hidden), 4)
    order = np.concatenate([i, f, o, g])
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
    a_ifo, a_g = b.split(gates, {f"{value}_a_ifo": 3 * hidden, f"{value}_a_g": hidden})
    ifo = b.logistic(f"{value}_ifo", a_ifo)
    gate_i, gate_f, gate_o = b.split(ifo, {f"{value}_{k}": hidden for k in "ifo"})
    candidate = b.tanh(f"{value}_g", a_g)

    kept = b.mul(f"{value}_fc", gate_f, c, cell)
    written = b.mul(f"{value}_ig", gate_i, candidate, UNIT)
    b.add(value_c, kept, written, cell)

    name = f"{value}_c"
    count, low = spread["c"].passes(float(cell))
    deviations = normalization.centered(
        b, name, value_c, ranges.amplitude(f"{value}.c_mean"), spread["c"].scale(count), count
    )
    of_c = normalization.normalized(b, name, deviations, a["gain_c"], eps, spread["c"], low)
    read = normalization.shifted(b, f"{value}_lc", of_c, a["bias_c"], GATE)
    b.mul(value, gate_o, b.tanh(f"{value}_tc", read), UNIT)
    return (b.carry(carried_h.name, value), b.carry(carried_c.name, value_c))


CELL = Cell(
    kind="layer_norm_lstm",
    arrays=("weight_ih", "weight_hh", "bias_ih", "gain_ih", "gain_hh", "gain_c", "bias_c"),
    outputs=("h", "c"),
    states=("h", "c"),
    step=step,
    lower=lower,
    prepare=prepare,
    numbers=("eps",),
)
