"""Attention over time, so far: softmax-weighted mean of the steps, one step after the other.

The weights are those of additive attention (Bahdanau et al. 2014, arXiv 1409.0473) with a vector
of its own in place of a query; the online form keeps the log of the sum of exponentials, as
Milakov and Gimelshein 2018 (arXiv 1805.02867) do for softmax.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgernn.cells.base import Cell, Note, product, sigmoid
from edgernn.cells.pooling import start_lowest
from edgernn.graph import FloatArray, Node
from edgernn.lowering.builder import Builder, covering_scale
from edgernn.lowering.normalization import broadcast
from edgernn.ranges import Ranges
from edgernn.runtime.program import Scale

HEADROOM = 2.0
MARGIN = 12.0
"""Below the least score, so that the first step counts alone; above the largest, so that windows
of e^12 steps fit."""


def prepare(node: Node, x: Sequence[FloatArray]) -> Sequence[FloatArray]:
    """The values, and W h + b of each."""
    return [x[0], product(x[0], node.arrays["weight"], node.arrays["bias"])]


def step(
    node: Node, x: Sequence[FloatArray], states: Sequence[FloatArray], note: Note
) -> Sequence[FloatArray]:
    """One float step; x is h and W h + b."""
    (h, before), (p, total) = x, states
    note("hidden", before)
    hidden = np.tanh(before)
    note("tanh", hidden)
    score = product(hidden, node.arrays["vector"][None])
    note("score", score)
    alpha = sigmoid(score - total)
    more = np.log1p(np.exp(-np.abs(score - total)))
    return [p + alpha * (h - p), np.maximum(total, score) + more]


def softplus_of_minus(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """log(1 + exp(-|x|)): what the smaller of two exponents adds to the larger."""
    result: NDArray[np.float64] = np.log1p(np.exp(-np.abs(x)))
    return result


def lower(builder: Builder, node: Node, x: tuple[str, ...], ranges: Ranges) -> tuple[str, ...]:
    """Append one step of the cell; returns the tensors of p' and L'.

    s = v tanh(W h + b);  p' = p + sigmoid(s - L) (h - p);  L' = max(L, s) + log(1 + e^-|s - L|)

    Weights are resolved to 2^-15: within 0.1 % of the range for windows of 1000 steps.
    """
    (value, log_sum), (pooled, total), a, b = node.outputs, node.carried, node.arrays, builder
    size, scale = b.size(x[0]), b.scale(x[0])
    p = b.state(pooled.name, size, scale, pooled.initial)
    moments = ranges.moments(node.inputs[0])
    reach = HEADROOM * ranges.amplitude(f"{value}.hidden")
    of_hidden = b.reachable(covering_scale(reach, 3), x[0], a["weight"], moments)
    hidden = b.tanh(
        f"{value}_tanh",
        b.linear(f"{value}_hidden", x[0], a["weight"], a["bias"], moments, of_hidden),
    )

    vector, moments = a["vector"][None], ranges.moments(f"{value}.tanh")
    reach = HEADROOM * ranges.amplitude(f"{value}.score") + MARGIN
    of_score = b.reachable(covering_scale(reach, 3), hidden, vector, moments)
    score = b.linear(f"{value}_score", hidden, vector, np.zeros(1), moments, of_score)
    old = b.state(total.name, 1, of_score, np.zeros_like(total.initial))
    start_lowest(b, total.name)
    above = b.sub(f"{value}_above", score, old, of_score)
    alpha = broadcast(b, f"{value}_alphas", b.logistic(f"{value}_alpha", above), size)

    wide = Scale(scale.mantissa, scale.exponent + 1)
    distance = b.sub(f"{value}_distance", x[0], p, wide)
    b.add(value, p, b.mul(f"{value}_move", distance, alpha, wide), scale)
    more = b.lookup(f"{value}_more", above, softplus_of_minus, of_score)
    b.add(log_sum, b.maximum(f"{value}_larger", old, score), more, of_score)
    return (b.carry(pooled.name, value), b.carry(total.name, log_sum))


CELL = Cell(
    kind="attention_pooling",
    shapes={
        "weight": ("attention", "input"),
        "bias": ("attention",),
        "vector": ("attention",),
    },
    outputs=("p", "L"),
    states=("p", "L"),
    step=step,
    lower=lower,
    prepare=prepare,
    products=("tanh",),
    sizes=("input", "1"),
)
