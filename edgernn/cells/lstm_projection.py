"""LSTM with recurrent projection (Sak et al. 2014, arXiv 1402.1128), torch.nn.LSTM's proj_size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgernn.cells.base import Cell, Note, input_product, product
from edgernn.cells.lstm import HEADROOM, gated, lower_gated
from edgernn.graph import FloatArray, Node
from edgernn.lowering.builder import Builder, covering_scale
from edgernn.ranges import Ranges


def step(
    node: Node, x: Sequence[FloatArray], states: Sequence[FloatArray], note: Note
) -> Sequence[FloatArray]:
    """One float step; x is W x + b."""
    (gx,), (h, c) = x, states
    whole, c = gated(gx + (product(h, node.arrays["weight_hh"]) + node.arrays["bias_hh"]), c)
    note("m", whole)
    return [product(whole, node.arrays["weight_hr"]), c]


def lower(builder: Builder, node: Node, x: tuple[str, ...], ranges: Ranges) -> tuple[str, ...]:
    """Append one step of the cell; returns the tensors of h' (P,) and c' (H,).

    i, f, o = sigmoid(...);  g = tanh(...);  c' = f c + i g;  h' = W_hr (o tanh(c'))
    """
    (value_h, value_c), (carried_h, carried_c) = node.outputs, node.carried
    projected = len(carried_h.initial)
    weight = node.arrays["weight_hr"]
    # Whatever the data, o tanh(c) lies within +-1; a state that hardly moved in calibration must
    # still be one that the product's multipliers reach.
    bound, least = float(np.abs(weight).sum(axis=1).max()), float(np.abs(weight).max()) / 4096
    reach = max(min(HEADROOM * ranges.amplitude(value_h), bound), least)
    scale = covering_scale(max(reach, float(np.abs(carried_h.initial).max())))
    h = builder.state(carried_h.name, projected, scale, carried_h.initial)
    whole = f"{value_h}_m"
    lower_gated(builder, node, x[0], h, whole, ranges)
    zeros = np.zeros(projected, np.float32)
    builder.linear(value_h, whole, weight, zeros, ranges.moments(f"{value_h}.m"), scale)
    return (builder.carry(carried_h.name, value_h), builder.carry(carried_c.name, value_c))


CELL = Cell(
    kind="lstm_projection",
    shapes={
        "weight_ih": ("4*hidden", "input"),
        "weight_hh": ("4*hidden", "projection"),
        "bias_ih": ("4*hidden",),
        "bias_hh": ("4*hidden",),
        "weight_hr": ("projection", "hidden"),
    },
    outputs=("h", "c"),
    states=("h", "c"),
    step=step,
    lower=lower,
    prepare=input_product,
    products=("m",),
    sizes=("projection", "hidden"),
)
