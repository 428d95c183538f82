"""Minimal gated unit (Zhou et al. 2016, arXiv 1603.09420): one gate that forgets and resets."""

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
    """One float step; x is W x + b, rows f n."""
    (gx,), (h,), size = x, states, states[0].shape[1]
    weight = node.arrays["weight_hh"]
    f = sigmoid(gx[:, :size] + h @ weight[:size].T)
    reset = f * h
    note("fh", reset)
    n = np.tanh(gx[:, size:] + product(reset, weight[size:]))
    return [h + f * (n - h)]


def lower(builder: Builder, node: Node, x: tuple[str, ...], ranges: Ranges) -> tuple[str, ...]:
    """Append one step of the cell; returns the tensor of h'.

    f = sigmoid(W_f x + U_f h + b_f);  n = tanh(W_n x + U_n (f h) + b_n);  h' = h + f (n - h)
    """
    (value,), (carried,), a = node.outputs, node.carried, node.arrays
    hidden = len(carried.initial)
    h = builder.state(carried.name, hidden, UNIT, carried.initial)
    moments_x, moments_h = ranges.moments(node.inputs[0]), ranges.moments(value)
    zeros = np.zeros(hidden, np.float32)

    gx = builder.linear(f"{value}_gx", x[0], a["weight_ih"], a["bias_ih"], moments_x, GATE)
    gx_f, gx_n = builder.split(gx, {f"{value}_gx_f": hidden, f"{value}_gx_n": hidden})
    forget, new = np.split(a["weight_hh"], 2)
    gh_f = builder.linear(f"{value}_gh_f", h, forget, zeros, moments_h, GATE)
    f = builder.logistic(f"{value}_f", builder.add(f"{value}_a_f", gx_f, gh_f, GATE))

    reset = builder.mul(f"{value}_fh", f, h, UNIT)
    gh_n = builder.linear(f"{value}_gh_n", reset, new, zeros, ranges.moments(f"{value}.fh"), GATE)
    n = builder.tanh(f"{value}_n", builder.add(f"{value}_a_n", gx_n, gh_n, GATE))

    distance = builder.sub(f"{value}_n_h", n, h, HALF)
    written = builder.mul(f"{value}_fn_h", f, distance, HALF)
    builder.add(value, h, written, UNIT)
    return (builder.carry(carried.name, value),)


CELL = Cell(
    kind="mgu",
    shapes={
        "weight_ih": ("2*hidden", "input"),
        "weight_hh": ("2*hidden", "hidden"),
        "bias_ih": ("2*hidden",),
    },
    outputs=("h",),
    states=("h",),
    step=step,
    lower=lower,
    prepare=input_product,
    products=("fh",),
)
