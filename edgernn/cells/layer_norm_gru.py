"""GRU with layer normalisation (Ba et al. 2016, arXiv 1607.06450, supplementary material)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgernn.cells.base import Cell, Note, product, sigmoid
from edgernn.graph import FloatArray, Node
from edgernn.lowering import normalization
from edgernn.lowering.builder import Builder
from edgernn.lowering.normalization import Spread
from edgernn.normalization import centered, scaled
from edgernn.ranges import Ranges
from edgernn.runtime.program import GATE, UNIT, Scale

HALF = Scale(1, -14)


def prepare(node: Node, x: Sequence[FloatArray]) -> Sequence[FloatArray]:
    """W x for all steps at once."""
    return [product(x[0], node.arrays["weight_ih"])]


def step(
    node: Node, x: Sequence[FloatArray], states: Sequence[FloatArray], note: Note
) -> Sequence[FloatArray]:
    """One float step; x is W x, rows r z n."""
    (wx,), (h,), a, eps = x, states, node.arrays, node.numbers["eps"]
    size = 2 * states[0].shape[1]
    uh = h @ a["weight_hh"].T
    parts = {"xg": wx[:, :size], "xn": wx[:, size:], "hg": uh[:, :size], "hn": uh[:, size:]}
    rows = {"g": slice(0, size), "n": slice(size, None)}
    y = {}
    for part, value in parts.items():
        side, own = "ih" if part[0] == "x" else "hh", rows[part[1]]
        unbiased = scaled(centered(value), a[f"gain_{side}"][own], eps, note, f"{part}_")
        y[part] = unbiased + a[f"bias_{side}"][own]
    gates = sigmoid(y["xg"] + y["hg"])
    r, z = gates[:, : size // 2], gates[:, size // 2 :]
    n = np.tanh(y["xn"] + r * y["hn"])
    return [h + z * (n - h)]


def lower(builder: Builder, node: Node, x: tuple[str, ...], ranges: Ranges) -> tuple[str, ...]:
    """Append one step of the cell; returns the tensor of h'.

    r, z = sigmoid(LN(W_g x) + LN(U_g h) + b_g);
    n = tanh(LN(W_n x) + b_n + r (LN(U_n h) + c_n));  h' = h + z (n - h)
    """
    (value,), (carried,), a, b = node.outputs, node.carried, node.arrays, builder
    hidden, eps = len(carried.initial), node.numbers["eps"]
    h = b.state(carried.name, hidden, UNIT, carried.initial)
    rows = {"g": slice(0, 2 * hidden), "n": slice(2 * hidden, None)}
    sources = {
        "x": (x[0], "ih", ranges.moments(node.inputs[0])),
        "h": (h, "hh", normalization.about_zero(ranges.moments(value))),
    }
    y = {}
    for part in ("xg", "hg", "xn", "hn"):
        (source, side, moments), own = sources[part[0]], rows[part[1]]
        y[part] = normalization.normalized_product(
            b, f"{value}_{part}", source, a[f"weight_{side}"][own], moments,
            a[f"gain_{side}"][own], eps, Spread.of(ranges, f"{value}.{part}_"),
        )  # fmt: skip
    bias = a["bias_ih"][rows["g"]] + a["bias_hh"][rows["g"]]
    gx = normalization.shifted(b, f"{value}_gx", y["xg"], bias, GATE)
    gates = b.logistic(f"{value}_rz", normalization.summed(b, f"{value}_a", gx, y["hg"], GATE))
    r, z = b.split(gates, {f"{value}_r": hidden, f"{value}_z": hidden})

    nx = normalization.shifted(b, f"{value}_nx", y["xn"], a["bias_ih"][rows["n"]], GATE)
    nh = normalization.shifted(b, f"{value}_nh", y["hn"], a["bias_hh"][rows["n"]], GATE)
    reset = b.mul(f"{value}_rnh", r, nh, b.scale(nh))
    n = b.tanh(f"{value}_n", normalization.summed(b, f"{value}_a_n", nx, reset, GATE))

    distance = b.sub(f"{value}_distance", n, h, HALF)
    b.add(value, h, b.mul(f"{value}_move", z, distance, HALF), UNIT)
    return (b.carry(carried.name, value),)


CELL = Cell(
    kind="layer_norm_gru",
    shapes={
        "weight_ih": ("3*hidden", "input"),
        "weight_hh": ("3*hidden", "hidden"),
        "bias_ih": ("3*hidden",),
        "bias_hh": ("3*hidden",),
        "gain_ih": ("3*hidden",),
        "gain_hh": ("3*hidden",),
    },
    outputs=("h",),
    states=("h",),
    step=step,
    lower=lower,
    prepare=prepare,
    numbers=("eps",),
)
