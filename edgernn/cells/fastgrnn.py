"""FastGRNN (Kusupati et al. 2018, arXiv 1901.02358): gate and candidate share their weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from edgernn.cells.base import Cell, Note, product, sigmoid
from edgernn.graph import FloatArray, Node
from edgernn.lowering.builder import Builder, covering_scale
from edgernn.ranges import Ranges
from edgernn.runtime.program import GATE, UNIT, Scale

KINDS: Final = ("fastgrnn", "fastgrnn_low_w", "fastgrnn_low_u", "fastgrnn_low_wu")
"""W and U whole, or one or both of them a product of two narrow matrices."""
HALF = Scale(1, -14)
HEADROOM = 2.0
"""Of what has no bound: streams run longer than calibration data."""
SETTLED: Final = 8.0
"""Beyond it sigmoid and tanh hardly move."""


def prepare(node: Node, x: Sequence[FloatArray]) -> Sequence[FloatArray]:
    """W x for all steps at once; with a low rank only its inner product."""
    return [product(x[0], node.arrays["weight_ih_down" if _low(node, "w") else "weight_ih"])]


def step(
    node: Node, x: Sequence[FloatArray], states: Sequence[FloatArray], note: Note
) -> Sequence[FloatArray]:
    """One float step; x is W x, or its inner product."""
    (gx,), (h,), a = x, states, node.arrays
    if _low(node, "w"):
        note("wx", gx)
        gx = product(gx, a["weight_ih_up"])
    gh = product(h, a["weight_hh_down" if _low(node, "u") else "weight_hh"])
    if _low(node, "u"):
        note("uh", gh)
        gh = product(gh, a["weight_hh_up"])
    shared = gx + gh
    z, n = sigmoid(shared + a["bias_z"]), np.tanh(shared + a["bias_n"])
    zeta, nu = sigmoid(a["zeta"]), sigmoid(a["nu"])
    return [(zeta * (np.float32(1) - z) + nu) * n + z * h]


def lower(builder: Builder, node: Node, x: tuple[str, ...], ranges: Ranges) -> tuple[str, ...]:
    """Append one step of the cell; returns the tensor of h'.

    a = W x + U h;  z = sigmoid(a + b_z);  n = tanh(a + b_n)
    h' = (zeta (1 - z) + nu) n + z h, of which nothing bounds h where z is near 1
    """
    (value,), (carried,), a = node.outputs, node.carried, node.arrays
    hidden = len(carried.initial)
    reach = max(HEADROOM * ranges.amplitude(value), float(np.abs(carried.initial).max()), 0.5)
    scale = covering_scale(reach)
    h = builder.state(carried.name, hidden, scale, carried.initial)

    # b_z comes with the product, so the candidate adds what b_n has more.
    more = a["bias_n"] - a["bias_z"]
    apart = float(np.abs(more).max())
    gate = max(GATE, covering_scale(SETTLED + apart, mantissa=3), key=float)
    gx = _product(builder, node, ranges, "w", x[0], node.inputs[0], a["bias_z"], gate)
    gh = _product(builder, node, ranges, "u", h, value, np.zeros(hidden, np.float32), gate)
    a_z = a_n = builder.add(f"{value}_a_z", gx, gh, gate)
    if apart:
        finest = Scale(3, gate.exponent - 8)
        fine = max(covering_scale(apart, mantissa=3), finest, key=float)
        a_n = builder.add(f"{value}_a_n", a_z, builder.constant(f"{value}_b", more, fine), gate)
    z, n = builder.logistic(f"{value}_z", a_z), builder.tanh(f"{value}_n", a_n)

    zeta, nu = (np.repeat(sigmoid(a[name]), hidden) for name in ("zeta", "nu"))
    fall = builder.mul(f"{value}_fall", builder.constant(f"{value}_zeta", zeta, UNIT), z, UNIT)
    top = builder.constant(f"{value}_top", zeta + nu, HALF)
    written = builder.mul(f"{value}_kn", builder.sub(f"{value}_k", top, fall, HALF), n, HALF)
    kept = builder.mul(f"{value}_zh", z, h, scale)
    builder.add(value, kept, written, scale)
    return (builder.carry(carried.name, value),)


def _low(node: Node, which: str) -> bool:
    """Is this matrix, w or u, a product of two?"""
    return which in node.kind.partition("_low_")[2]


def _product(
    builder: Builder,
    node: Node,
    ranges: Ranges,
    which: str,
    x: str,
    source: str,
    bias: FloatArray,
    gate: Scale,
) -> str:
    """W x or U h plus bias, at the scale of the gate; source: the value that x is."""
    array, value = {"w": "weight_ih", "u": "weight_hh"}[which], node.name
    name, moments = f"{value}_g{which}", ranges.moments(source)
    if not _low(node, which):
        return builder.linear(name, x, node.arrays[array], bias, moments, gate)
    inner = {"w": f"{value}.wx", "u": f"{value}.uh"}[which]
    down = node.arrays[f"{array}_down"]
    scale = covering_scale(HEADROOM * ranges.amplitude(inner))
    scale = builder.reachable(scale, x, down, moments)
    zeros = np.zeros(len(down), np.float32)
    narrow = builder.linear(f"{name}_down", x, down, zeros, moments, scale)
    up, moments = node.arrays[f"{array}_up"], ranges.moments(inner)
    return builder.linear(name, narrow, up, bias, moments, gate)


def _cell(kind: str) -> Cell:
    low = kind.partition("_low_")[2]
    shapes: dict[str, tuple[str, ...]] = {}
    for which, array, columns in (("w", "weight_ih", "input"), ("u", "weight_hh", "hidden")):
        if which in low:
            shapes[f"{array}_down"] = (f"{which}_rank", columns)
            shapes[f"{array}_up"] = ("hidden", f"{which}_rank")
        else:
            shapes[array] = ("hidden", columns)
    shapes |= {"zeta": ("1",), "nu": ("1",), "bias_z": ("hidden",), "bias_n": ("hidden",)}
    return Cell(
        kind=kind,
        shapes=shapes,
        outputs=("h",),
        states=("h",),
        step=step,
        lower=lower,
        prepare=prepare,
        products=tuple(name for which, name in (("w", "wx"), ("u", "uh")) if which in low),
    )


VARIANTS: Final = tuple(_cell(kind) for kind in KINDS)
