"""Causal convolution over time, torch.nn.Conv1d with its padding in front: y_t of x_t and earlier.

y[o] = b[o] + sum over taps k and the channels c of o's group of W[o, c, k] x[t - (K - 1 - k) d, c]
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgernn.cells import taps
from edgernn.cells.base import Cell, Note, product
from edgernn.graph import FloatArray, Node
from edgernn.lowering.builder import Builder, covering_scale
from edgernn.ranges import Ranges
from edgernn.runtime.program import UNIT, Scale

HEADROOM = 2.0
"""What is met in use reaches further than calibration data."""
BLOCKS = 8
"""Products a grouped convolution is split into at most; what they cover beyond it is zeros."""


def is_depthwise(node: Node) -> bool:
    """Does every channel have one filter of its own?"""
    rows, columns, _ = node.arrays["weight"].shape
    return bool(columns == 1 and rows == int(node.numbers["groups"]))


def blocks(node: Node) -> list[FloatArray]:
    """The weight as products of equal size over consecutive channels: (O / n, K * C / n) each."""
    weight, groups = node.arrays["weight"], int(node.numbers["groups"])
    count = max(n for n in range(1, min(BLOCKS, groups) + 1) if groups % n == 0)
    each, (rows, columns, length) = groups // count, weight.shape
    per = rows // groups
    result = np.zeros((count, rows // count, length, columns * each), np.float32)
    for group in range(groups):
        block, place = divmod(group, each)
        own = weight[group * per : (group + 1) * per].transpose(0, 2, 1)
        inside = slice(place * columns, (place + 1) * columns)
        result[block, place * per : (place + 1) * per, :, inside] = own
    return list(result.reshape(count, rows // count, -1))


def step(
    node: Node, x: Sequence[FloatArray], states: Sequence[FloatArray], note: Note
) -> Sequence[FloatArray]:
    """One float step over frames (N, C)."""
    (now,), bias = x, node.arrays["bias"]
    parts, buffer = taps.frames(node, now, states[0])
    if is_depthwise(node):
        weight = node.arrays["weight"][:, 0]
        y = parts[0] * weight[:, 0]
        note("sum0", y)
        for k in range(1, len(parts)):
            y = y + parts[k] * weight[:, k]
            note(f"sum{k}", y)
        return [y + bias, buffer]
    matrices = blocks(node)
    size = now.shape[-1] // len(matrices)
    results = []
    for i, matrix in enumerate(matrices):
        own = [part[:, i * size : (i + 1) * size] for part in parts]
        read = np.concatenate(own, axis=-1)
        note(f"taps{i}", read)
        results.append(product(read, matrix))
    y = results[0] if len(results) == 1 else np.concatenate(results, axis=-1)
    return [y + bias, buffer]


def lower(builder: Builder, node: Node, x: tuple[str, ...], ranges: Ranges) -> tuple[str, ...]:
    """Append one step; returns the tensors of y and of the next buffer."""
    size, whole = builder.size(x[0]), taps.window(builder, node, x[0])
    make = _depthwise if is_depthwise(node) else _products
    y = make(builder, node, whole, size, ranges)
    return y, taps.shift(builder, node, whole, size)


def _products(b: Builder, node: Node, whole: str, size: int, ranges: Ranges) -> str:
    """A matrix product, or one for each block of groups, over the taps side by side."""
    value, bias, matrices = node.outputs[0], node.arrays["bias"], blocks(node)
    moments = [ranges.moments(f"{value}.taps{i}") for i in range(len(matrices))]
    rows, width = len(matrices[0]), size // len(matrices)
    reads = [whole]
    if len(matrices) > 1 or node.numbers["dilation"] > 1:
        columns = [
            b.split(tap, {f"{tap}_{i}": width for i in range(len(matrices))})
            if len(matrices) > 1
            else (tap,)
            for tap in taps.taps(b, node, whole, size)
        ]
        reads = [
            b.concat(f"{value}_taps{i}", own) for i, own in enumerate(zip(*columns, strict=True))
        ]
    scale = covering_scale(HEADROOM * ranges.amplitude(value))
    for read, matrix, second in zip(reads, matrices, moments, strict=True):
        scale = b.reachable(scale, read, matrix, second)
    if len(matrices) == 1:
        return b.linear(value, reads[0], matrices[0], bias, moments[0], scale)
    parts = [
        b.linear(f"{value}_y{i}", reads[i], matrix, bias[i * rows :][:rows], moments[i], scale)
        for i, matrix in enumerate(matrices)
    ]
    return b.concat(value, tuple(parts))


def _depthwise(b: Builder, node: Node, whole: str, size: int, ranges: Ranges) -> str:
    """Each tap times a constant vector, added up at one scale."""
    value, bias = node.outputs[0], node.arrays["bias"]
    weight = node.arrays["weight"][:, 0]
    names = taps.taps(b, node, whole, size)
    noted = [ranges.amplitude(f"{value}.sum{k}") for k in range(len(names))]
    reach = max(*noted, ranges.amplitude(value), float(np.abs(bias).max()))
    scale_x = b.scale(whole)
    # The mantissa of x, so that the constants' scale is a power of two.
    scale = covering_scale(HEADROOM * reach, scale_x.mantissa)
    while float(np.abs(weight).max()) * float(scale_x) > float(scale) * (1.0 - 2.0**-15):
        scale = Scale(scale.mantissa, scale.exponent + 1)
    factor = Scale.of(scale.fraction * UNIT.fraction / scale_x.fraction)
    total = ""
    for k, tap in enumerate(names):
        constant = b.constant(f"{value}_w{k}", weight[:, k], factor)
        term = b.mul(f"{value}_m{k}", tap, constant, scale)
        total = b.add(f"{value}_s{k}", total, term, scale) if total else term
    if not bias.any():
        return total
    return b.add(value, total, b.constant(f"{value}_b", bias, scale), scale)


CELL = Cell(
    kind="conv1d",
    shapes={
        "weight": ("filters*groups", "columns", "taps"),
        "bias": ("filters*groups",),
    },
    outputs=("y", "buffer"),
    states=("buffer",),
    step=step,
    lower=lower,
    products=tuple(f"taps{i}" for i in range(BLOCKS)),
    numbers=("dilation", "groups"),
    sizes=("filters*groups", "span*columns*groups"),
    reads=("columns*groups",),
)
