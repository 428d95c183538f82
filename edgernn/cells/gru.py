"""GRU as PyTorch has it: the reset gate acts on the recurrent product, after its bias."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgernn.cells.base import Cell, Note, input_product, sigmoid
from edgernn.graph import FloatArray, Node
from edgernn.lowering.builder import Builder
from edgernn.ranges import Ranges
from edgernn.runtime.program import GATE, UNIT, Scale

HALF = Scale(1, -14)


def step(
    node: Node, x: Sequence[FloatArray], states: Sequence[FloatArray], note: Note
) -> Sequence[FloatArray]:
    """One float step; x is W x + b."""
    (gx,), (h,), size = x, states, states[0].shape[1]
    gh = h @ node.arrays["weight_hh"].T + node.arrays["bias_hh"]
    rz = sigmoid(gx[:, : 2 * size] + gh[:, : 2 * size])
    r, z = rz[:, :size], rz[:, size:]
    n = np.tanh(gx[:, 2 * size :] + r * gh[:, 2 * size :])
    return [n + z * (h - n)]


def lower(builder: Builder, node: Node, x: tuple[str, ...], ranges: Ranges) -> tuple[str, ...]:
    """Append one step of the cell; returns the tensor of h'.

    r, z = sigmoid(W_rz x + b + U_rz h + c);  n = tanh(W_n x + b_n + r (U_n h + c_n))
    h' = n + z (h - n)      torch.nn.GRU; Cho et al. 2014 (arXiv 1406.1078), reset after the product
    """
    (value,), (carried,), a = node.outputs, node.carried, node.arrays
    hidden = len(carried.initial)
    h = builder.state(carried.name, hidden, UNIT, carried.initial)

    moments_x, moments_h = ranges.moments(node.inputs[0]), ranges.moments(value)
    gx = builder.linear(f"{value}_gx", x[0], a["weight_ih"], a["bias_ih"], moments_x, GATE)
    gh = builder.linear(f"{value}_gh", h, a["weight_hh"], a["bias_hh"], moments_h, GATE)
    gx_rz, gx_n = builder.split(gx, {f"{value}_gx_rz": 2 * hidden, f"{value}_gx_n": hidden})
    gh_rz, gh_n = builder.split(gh, {f"{value}_gh_rz": 2 * hidden, f"{value}_gh_n": hidden})

    rz = builder.logistic(f"{value}_rz", builder.add(f"{value}_a_rz", gx_rz, gh_rz, GATE))
    r, z = builder.split(rz, {f"{value}_r": hidden, f"{value}_z": hidden})
    reset = builder.mul(f"{value}_rgh_n", r, gh_n, GATE)
    n = builder.tanh(f"{value}_n", builder.add(f"{value}_a_n", gx_n, reset, GATE))

    # h - n lies in (-2, 2): one bit more than its operands.
    distance = builder.sub(f"{value}_h_n", h, n, HALF)
    kept = builder.mul(f"{value}_zh_n", z, distance, HALF)
    builder.add(value, n, kept, UNIT)
    return (builder.carry(carried.name, value),)


CELL = Cell(
    kind="gru",
    shapes={
        "weight_ih": ("3*hidden", "input"),
        "weight_hh": ("3*hidden", "hidden"),
        "bias_ih": ("3*hidden",),
        "bias_hh": ("3*hidden",),
    },
    outputs=("h",),
    states=("h",),
    step=step,
    lower=lower,
    prepare=input_product,
)
