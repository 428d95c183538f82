"""Elman RNN (Elman 1990) as torch.nn.RNN has it, with tanh or ReLU."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgernn.cells.base import Cell, Note, input_product
from edgernn.graph import FloatArray, Node
from edgernn.lowering.builder import Builder, covering_scale
from edgernn.ranges import Ranges
from edgernn.runtime.program import GATE, UNIT

HEADROOM = 2.0
"""A ReLU state has no bound: streams run longer than calibration data."""


def step(
    node: Node, x: Sequence[FloatArray], states: Sequence[FloatArray], note: Note
) -> Sequence[FloatArray]:
    """One float step; x is W x + b."""
    (gx,), (h,) = x, states
    gh = h @ node.arrays["weight_hh"].T + node.arrays["bias_hh"]
    a = gx + gh
    if node.kind == "rnn_tanh":
        return [np.tanh(a)]
    # Only a ReLU state has no bound, so only its parts need a range.
    for name, part in (("gx", gx), ("gh", gh), ("a", a)):
        note(name, part)
    return [np.maximum(a, np.float32(0))]


def lower(builder: Builder, node: Node, x: tuple[str, ...], ranges: Ranges) -> tuple[str, ...]:
    """Append one step of the cell; returns the tensor of h'.  h' = phi(W x + b + U h + c)"""
    (value,), (carried,), a = node.outputs, node.carried, node.arrays
    relu = node.kind == "rnn_relu"
    if relu:
        initial = float(np.abs(carried.initial).max())
        # The two products may be larger than their sum, which they cancel to.
        reach = max(ranges.amplitude(f"{value}.{part}") for part in ("gx", "gh", "a"))
        gate = covering_scale(max(HEADROOM * reach, initial))
        moments = ranges.moments(node.inputs[0])
        gate = hidden_scale = builder.reachable(gate, x[0], a["weight_ih"], moments)
    else:
        gate, hidden_scale = GATE, UNIT
    h = builder.state(carried.name, len(carried.initial), hidden_scale, carried.initial)
    moments_x, moments_h = ranges.moments(node.inputs[0]), ranges.moments(value)
    gx = builder.linear(f"{value}_gx", x[0], a["weight_ih"], a["bias_ih"], moments_x, gate)
    gh = builder.linear(f"{value}_gh", h, a["weight_hh"], a["bias_hh"], moments_h, gate)
    total = builder.add(f"{value}_a", gx, gh, gate)
    _ = builder.relu(value, total) if relu else builder.tanh(value, total)
    return (builder.carry(carried.name, value),)


TANH, RELU = (
    Cell(
        kind=kind,
        shapes={
            "weight_ih": ("hidden", "input"),
            "weight_hh": ("hidden", "hidden"),
            "bias_ih": ("hidden",),
            "bias_hh": ("hidden",),
        },
        outputs=("h",),
        states=("h",),
        step=step,
        lower=lower,
        prepare=input_product,
    )
    for kind in ("rnn_tanh", "rnn_relu")
)
