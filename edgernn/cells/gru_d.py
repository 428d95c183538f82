"""GRU-D (Che et al. 2018, arXiv 1606.01865): a GRU for data with missing values and time gaps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgernn.cells.base import Cell, Note, product, sigmoid
from edgernn.graph import FloatArray, Node
from edgernn.lowering.builder import Builder, covering_scale
from edgernn.lowering.normalization import shifted, summed
from edgernn.ranges import Ranges
from edgernn.runtime.program import GATE, UNIT, Scale

HALF = Scale(1, -14)
WIDEST, NARROWEST = 16.0, 2.0
"""Exponents of a decay that its table covers; e^-16 is far below one unit."""
_FAR = 1024


def step(
    node: Node, x: Sequence[FloatArray], states: Sequence[FloatArray], note: Note
) -> Sequence[FloatArray]:
    """One float step; x is x, 1 where it was observed, and the time since it was; rows r z n."""
    (now, observed, gap), (h, last), a = x, states, node.arrays
    size, zero = h.shape[1], np.float32(0)
    of_x = gap * a["decay_x"] + a["bias_decay_x"]
    of_h = product(gap, a["decay_h"], a["bias_decay_h"])
    note("of_x", of_x)
    note("of_h", of_h)
    decayed = a["mean"] + np.exp(-np.maximum(of_x, zero)) * (last - a["mean"])
    filled = np.where(observed != zero, now, decayed)
    note("filled", filled)
    hd = np.exp(-np.maximum(of_h, zero)) * h
    note("hd", hd)
    gx = product(filled, a["weight_ih"], a["bias_ih"]) + product(observed, a["weight_mh"])
    gates = sigmoid(gx[:, : 2 * size] + product(hd, a["weight_hh"][: 2 * size]))
    r, z = gates[:, :size], gates[:, size:]
    note("rh", r * hd)
    n = np.tanh(gx[:, 2 * size :] + product(r * hd, a["weight_hh"][2 * size :]))
    return [hd + z * (n - hd), np.where(observed != zero, now, last)]


def lower(builder: Builder, node: Node, x: tuple[str, ...], ranges: Ranges) -> tuple[str, ...]:
    """Append one step of the cell; returns the tensors of h' and x_last'.

    Missing elements are chosen away by `select`, so whatever they hold is never computed with.
    """
    (value, value_x), (carried_h, carried_x), a, b = (
        node.outputs,
        node.carried,
        node.arrays,
        builder,
    )
    (now, observed, gap), hidden, scale = x, len(carried_h.initial), builder.scale(x[0])
    h = b.state(carried_h.name, hidden, UNIT, carried_h.initial)
    last = b.state(carried_x.name, b.size(now), scale, carried_x.initial)

    rate = _decay_of_inputs(b, node, gap, ranges)
    mean = b.constant(f"{value}_mean", a["mean"], scale)
    away = b.mul(f"{value}_away", rate, b.sub(f"{value}_from_mean", last, mean, scale), scale)
    decayed = b.add(f"{value}_decayed", away, mean, scale)
    filled = b.select(f"{value}_filled", observed, now, decayed)
    b.select(value_x, observed, now, last)

    moments = ranges.moments(node.inputs[2])
    width, of_table = _span(ranges.amplitude(f"{value}.of_h"))
    wanted = b.reachable(of_table, gap, a["decay_h"], moments)
    offset = a["bias_decay_h"] - np.float32(width / 2)
    exponent = b.linear(f"{value}_of_h", gap, a["decay_h"], offset, moments, wanted)
    hd = b.mul(f"{value}_hd", _decay(b, f"{value}_rate_h", exponent, width, of_table), h, UNIT)

    of_filled, of_mask = ranges.moments(f"{value}.filled"), ranges.moments(node.inputs[1])
    zeros = np.zeros(3 * hidden)
    gx = summed(
        b, f"{value}_gx",
        b.linear(f"{value}_wx", filled, a["weight_ih"], a["bias_ih"], of_filled, GATE),
        b.linear(f"{value}_vm", observed, a["weight_mh"], zeros, of_mask, GATE),
        GATE,
    )  # fmt: skip
    gx_rz, gx_n = b.split(gx, {f"{value}_gx_rz": 2 * hidden, f"{value}_gx_n": hidden})
    gates, new = a["weight_hh"][: 2 * hidden], a["weight_hh"][2 * hidden :]
    of_hd, of_rh = ranges.moments(f"{value}.hd"), ranges.moments(f"{value}.rh")
    gh = b.linear(f"{value}_gh", hd, gates, zeros[: 2 * hidden], of_hd, GATE)
    rz = b.logistic(f"{value}_rz", b.add(f"{value}_a_rz", gx_rz, gh, GATE))
    r, z = b.split(rz, {f"{value}_r": hidden, f"{value}_z": hidden})
    reset = b.mul(f"{value}_rh", r, hd, UNIT)
    gh_n = b.linear(f"{value}_gh_n", reset, new, zeros[:hidden], of_rh, GATE)
    n = b.tanh(f"{value}_n", b.add(f"{value}_a_n", gx_n, gh_n, GATE))

    distance = b.sub(f"{value}_distance", n, hd, HALF)
    b.add(value, hd, b.mul(f"{value}_move", z, distance, HALF), UNIT)
    return (b.carry(carried_h.name, value), b.carry(carried_x.name, value_x))


def _decay_of_inputs(b: Builder, node: Node, gap: str, ranges: Ranges) -> str:
    """exp(-max(0, w gap + b)), element by element."""
    value, a, of_gap = node.name, node.arrays, b.scale(gap)
    width, of_table = _span(ranges.amplitude(f"{value}.of_x"))
    offset = a["bias_decay_x"] - np.float32(width / 2)
    # Not so fine that the product and its offset cannot be summed.
    least = float(of_table) / _FAR / float(of_gap)
    weight = a["decay_x"]
    held = covering_scale(max(float(np.abs(weight).max()), least))
    rates = b.constant(f"{value}_rates", weight, held)
    own = Scale.of(of_gap.fraction * held.fraction * (1 << 15))
    exponent = b.mul(f"{value}_exponent", gap, rates, own)
    exponent = shifted(b, f"{value}_of_x", exponent, offset, of_table)
    return _decay(b, f"{value}_rate_x", exponent, width, of_table)


def _span(amplitude: float) -> tuple[float, Scale]:
    """How large an exponent the table covers, and the scale that reaches half of it."""
    width = NARROWEST
    while width < min(2 * amplitude, WIDEST):
        width *= 2
    return width, Scale(1, int(width).bit_length() - 17)


def _decay(b: Builder, name: str, exponent: str, width: float, scale: Scale) -> str:
    """exp(-max(0, e)) of e - width / 2: at -width / 2 int16 saturates, so no maximum is needed."""

    def function(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.exp(-np.maximum(x + width / 2, 0.0))

    return b.lookup(name, b.rescale(f"{name}_e", exponent, scale), function, UNIT)


CELL = Cell(
    kind="gru_d",
    shapes={
        "weight_ih": ("3*hidden", "input"),
        "weight_hh": ("3*hidden", "hidden"),
        "weight_mh": ("3*hidden", "input"),
        "bias_ih": ("3*hidden",),
        "decay_x": ("input",),
        "bias_decay_x": ("input",),
        "decay_h": ("hidden", "input"),
        "bias_decay_h": ("hidden",),
        "mean": ("input",),
    },
    outputs=("h", "x"),
    states=("h", "x"),
    step=step,
    lower=lower,
    products=("filled", "hd", "rh"),
    counted=("filled",),
    sizes=("hidden", "input"),
    reads=("input", "input", "input"),
)
