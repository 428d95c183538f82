"""GRU as published (Cho et al. 2014, arXiv 1406.1078): the reset gate acts on h, before U_n."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgernn.cells.base import Cell, Note, input_product, product, sigmoid
from edgernn.graph import FloatArray, Node
from edgernn.lowering.builder import Builder
from edgernn.ranges import Ranges
from edgernn.runtime.program import GATE, UNIT, Scale

HALF = Scale(1, -14)


def step(
    node: Node, x: Sequence[FloatArray], states: Sequence[FloatArray], note: Note
) -> Sequence[FloatArray]:
    """One float step; x is W x + b, rows r z n."""
    (gx,), (h,), size = x, states, states[0].shape[1]
    rz = sigmoid(gx[:, : 2 * size] + product(h, node.arrays["weight_hh"]))
    r, z = rz[:, :size], rz[:, size:]
    reset = r * h
    note("rh", reset)
    n = np.tanh(gx[:, 2 * size :] + product(reset, node.arrays["weight_rh"]))
    return [h + z * (n - h)]


def lower(builder: Builder, node: Node, x: tuple[str, ...], ranges: Ranges) -> tuple[str, ...]:
    """Append one step of the cell; returns the tensor of h'.

    r, z = sigmoid(W_rz x + b_rz + U_rz h);  n = tanh(W_n x + b_n + U_n (r h))
    h' = h + z (n - h) = (1 - z) h + z n
    """
    (value,), (carried,), a = node.outputs, node.carried, node.arrays
    hidden = len(carried.initial)
    h = builder.state(carried.name, hidden, UNIT, carried.initial)
    moments_x, moments_h = ranges.moments(node.inputs[0]), ranges.moments(value)
    moments_rh = ranges.moments(f"{value}.rh")

    gx = builder.linear(f"{value}_gx", x[0], a["weight_ih"], a["bias_ih"], moments_x, GATE)
    gx_rz, gx_n = builder.split(gx, {f"{value}_gx_rz": 2 * hidden, f"{value}_gx_n": hidden})
    zeros = np.zeros(2 * hidden, np.float32)
    gh_rz = builder.linear(f"{value}_gh_rz", h, a["weight_hh"], zeros, moments_h, GATE)
    rz = builder.logistic(f"{value}_rz", builder.add(f"{value}_a_rz", gx_rz, gh_rz, GATE))
    r, z = builder.split(rz, {f"{value}_r": hidden, f"{value}_z": hidden})

    reset = builder.mul(f"{value}_rh", r, h, UNIT)
    zeros = zeros[:hidden]
    gh_n = builder.linear(f"{value}_gh_n", reset, a["weight_rh"], zeros, moments_rh, GATE)
    n = builder.tanh(f"{value}_n", builder.add(f"{value}_a_n", gx_n, gh_n, GATE))

    # n - h lies in (-2, 2): one bit more than its operands.
    distance = builder.sub(f"{value}_n_h", n, h, HALF)
    written = builder.mul(f"{value}_zn_h", z, distance, HALF)
    builder.add(value, h, written, UNIT)
    return (builder.carry(carried.name, value),)


CELL = Cell(
    kind="gru_reset_before",
    shapes={
        "weight_ih": ("3*hidden", "input"),
        "weight_hh": ("2*hidden", "hidden"),
        "weight_rh": ("hidden", "hidden"),
        "bias_ih": ("3*hidden",),
    },
    outputs=("h",),
    states=("h",),
    step=step,
    lower=lower,
    prepare=input_product,
    products=("rh",),
)
