"""Jordan network (Jordan 1986): what is carried to the next step is the output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from edgernn.cells.base import Cell, Note, input_product, product, sigmoid
from edgernn.graph import FloatArray, Node
from edgernn.lowering.builder import Builder, covering_scale
from edgernn.ranges import Ranges
from edgernn.runtime.program import GATE, UNIT

HIDDEN: Final = ("tanh", "relu")
OUTPUT: Final = ("identity", "sigmoid", "tanh")
HEADROOM = 2.0
"""Of what has no bound: streams run longer than calibration data."""


def kind_of(hidden: str, output: str) -> str:
    """The kind with these two functions, of HIDDEN and of OUTPUT."""
    return f"jordan_{hidden}_{output}"


def step(
    node: Node, x: Sequence[FloatArray], states: Sequence[FloatArray], note: Note
) -> Sequence[FloatArray]:
    """One float step; x is W x + b."""
    (gx,), (y,), a = x, states, node.arrays
    gy = product(y, a["weight_yh"])
    total = gx + gy
    _, hidden, output = node.kind.split("_")
    if hidden == "relu":
        # Only a ReLU has no bound, so only its parts need a range.
        for name, part in (("gx", gx), ("gy", gy), ("a", total)):
            note(name, part)
    h = np.maximum(total, np.float32(0)) if hidden == "relu" else np.tanh(total)
    note("h", h)
    result = product(h, a["weight_hy"]) + a["bias_hy"]
    if output == "identity":
        return [result]
    return [sigmoid(result) if output == "sigmoid" else np.tanh(result)]


def lower(builder: Builder, node: Node, x: tuple[str, ...], ranges: Ranges) -> tuple[str, ...]:
    """Append one step of the cell; returns the tensor of y'.

    h = phi(W x + b + C y);  y' = psi(V h + c)
    """
    (value,), (carried,), a = node.outputs, node.carried, node.arrays
    _, hidden, output = node.kind.split("_")
    moments_x, moments_y = ranges.moments(node.inputs[0]), ranges.moments(value)
    moments_h = ranges.moments(f"{value}.h")
    gate, scale = GATE, UNIT
    if hidden == "relu":
        # The two products may be larger than their sum, which they cancel to.
        reach = max(ranges.amplitude(f"{value}.{part}") for part in ("gx", "gy", "a"))
        gate = covering_scale(HEADROOM * reach)
        gate = builder.reachable(gate, x[0], a["weight_ih"], moments_x)
    if output == "identity":
        # A state that hardly moved in calibration must still be one that the product reaches.
        least = float(np.abs(a["weight_hy"]).max()) * float(UNIT if hidden == "tanh" else gate) * 8
        reach = max(HEADROOM * ranges.amplitude(value), float(np.abs(carried.initial).max()))
        scale = covering_scale(max(reach, least))
    y = builder.state(carried.name, len(carried.initial), scale, carried.initial)

    zeros = np.zeros(len(a["weight_yh"]), np.float32)
    gx = builder.linear(f"{value}_gx", x[0], a["weight_ih"], a["bias_ih"], moments_x, gate)
    gy = builder.linear(f"{value}_gy", y, a["weight_yh"], zeros, moments_y, gate)
    total = builder.add(f"{value}_a", gx, gy, gate)
    name = f"{value}_h"
    h = builder.relu(name, total) if hidden == "relu" else builder.tanh(name, total)
    if output == "identity":
        builder.linear(value, h, a["weight_hy"], a["bias_hy"], moments_h, scale)
    else:
        before = builder.linear(f"{value}_v", h, a["weight_hy"], a["bias_hy"], moments_h, GATE)
        _ = (builder.logistic if output == "sigmoid" else builder.tanh)(value, before)
    return (builder.carry(carried.name, value),)


VARIANTS: Final = tuple(
    Cell(
        kind=kind_of(hidden, output),
        shapes={
            "weight_ih": ("hidden", "input"),
            "weight_yh": ("hidden", "output"),
            "weight_hy": ("output", "hidden"),
            "bias_ih": ("hidden",),
            "bias_hy": ("output",),
        },
        outputs=("y",),
        states=("y",),
        step=step,
        lower=lower,
        prepare=input_product,
        products=("h",),
        sizes=("output",),
    )
    for hidden in HIDDEN
    for output in OUTPUT
)
