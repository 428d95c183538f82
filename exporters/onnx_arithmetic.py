"""Fixed-point arithmetic as ONNX nodes: matrix products, requantization, roundings, limits."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn.exporters.onnx_graph import OnnxGraph
from edgernn.runtime.fixedpoint import INT16_MAX, INT16_MIN
from edgernn.runtime.program import Matrix

MAX_BLOCK: Final = 516
"""Columns whose int16 x int8 products fit an int32 sum: 516 * 127 * 32768 < 2^31."""
HALF_UNIT: Final = 1 << 30
_LIFT: Final = 62
# Above every requantized value, and a multiple of 2^32: a Cast to int32 drops it.
_SAFE: Final = 50


def product(g: OnnxGraph, x: str, weight: NDArray[np.int8]) -> tuple[str, bool]:
    """W x, in int32 if its columns are few enough, else in int64; and whether in int64."""
    columns = weight.shape[1]
    begins = range(0, columns, MAX_BLOCK)
    parts = [x]
    if len(begins) > 1:
        parts = [g.name() for _ in begins]
        split(g, x, parts, [min(MAX_BLOCK, columns - begin) for begin in begins])
    products = []
    for begin, part in zip(begins, parts, strict=True):
        stored = g.constant(weight.T[begin : begin + MAX_BLOCK])
        products.append(g.node("MatMul", [part, g.root.cast(stored, np.int32)]))
    if len(products) == 1:
        return products[0], False
    total = g.cast(products[0], np.int64)
    for part in products[1:]:
        total = g.node("Add", [total, g.cast(part, np.int64)])
    return total, True


def requantized(g: OnnxGraph, accumulator: str, matrices: list[Matrix]) -> str:
    """sat((acc * m + 2^(k-1)) >> k) per row; int64 in, int32 out.

    BitShift is logical. Shifting all rows by the largest k leaves the right low 32 bits as
    long as k <= 32 and the values are not extreme; otherwise every row is shifted by its own
    k, and 2^62 keeps the numbers positive.
    """
    bias, multiplier, shift = (
        np.concatenate([getattr(m, part) for m in matrices]).astype(np.int64)
        for part in ("bias", "multiplier", "shift")
    )
    addend = bias * multiplier + (np.int64(1) << (shift - 1))
    most, largest = int(shift.max()), np.concatenate([_reach(m) for m in matrices]) * multiplier
    up = most - shift
    fits = most <= 32 and bool((largest >> shift).max() < (1 << 31) - 1)
    if fits and np.ldexp(largest.astype(np.float64), up).max() < 2.0**62:
        value = g.node("Mul", [accumulator, g.constant(multiplier << up)])
        value = g.cast(g.node("Add", [value, g.constant(addend << up)]), np.uint64)
        value = g.node("BitShift", [value, g.scalar(most, np.uint64)], direction="RIGHT")
        return clamp(g, g.cast(value, np.int32))
    multipliers = g.root.cast(g.constant(multiplier.astype(np.int16)), np.int64)
    shifts = g.root.cast(g.constant(shift.astype(np.uint8)), np.uint64)
    value = g.node("Mul", [accumulator, multipliers])
    value = g.node("Add", [value, g.constant(addend + (1 << _LIFT))])
    value = g.node("BitShift", [g.cast(value, np.uint64), shifts], direction="RIGHT")
    lift = g.scalar(1 << _LIFT, np.uint64)
    lifts = g.root.cast(g.root.node("BitShift", [lift, shifts], direction="RIGHT"), np.int64)
    # ONNX Runtime's Clip is wrong for some int64 beyond int32, but not for uint64.
    lifts = g.root.node("Sub", [lifts, g.scalar(1 << _SAFE, np.int64)])
    value = g.cast(g.node("Sub", [g.cast(value, np.int64), lifts]), np.uint64)
    limits = [g.scalar((1 << _SAFE) + n, np.uint64) for n in (INT16_MIN, INT16_MAX)]
    return g.cast(g.node("Clip", [value, *limits]), np.int32)


def multiplied(g: OnnxGraph, value: str, q: int, shift: int) -> str:
    """value * q * 2^(shift - 31) in two roundings, clamped: the general case, in int64."""
    assert shift <= 0, "the sum is never enlarged"

    def divide(x: str, bits: int, below: int, above: int) -> str:
        nudges = [g.scalar(below, np.int64), g.scalar(above, np.int64)]
        x = g.node("Add", [x, g.node("Where", [negative, *nudges])])
        return g.node("Div", [x, g.scalar(1 << bits, np.int64)])

    negative = g.node("Less", [value, g.scalar(0)])
    wide = g.node("Mul", [g.cast(value, np.int64), g.scalar(q, np.int64)])
    wide = divide(wide, 31, 1 - HALF_UNIT, HALF_UNIT)
    if shift:
        half = 1 << (-shift - 1)
        wide = divide(wide, -shift, -half, half)
    # It fits int32 by now: a sum below 2^30 in size was multiplied by less than one.
    return clamp(g, g.cast(wide, np.int32))


def rounded(g: OnnxGraph, value: str, bits: int, below: int, above: int) -> str:
    """value / 2^bits toward zero, after adding `below` to negative values, else `above`."""
    negative = g.node("Less", [value, g.scalar(0)])
    nudge = g.node("Where", [negative, g.scalar(below), g.scalar(above)])
    return g.node("Div", [g.node("Add", [value, nudge]), g.scalar(1 << bits)])


def clamp(g: OnnxGraph, value: str, low: int = INT16_MIN, high: int = INT16_MAX) -> str:
    """An int32 value within limits, those of int16 unless others are given."""
    return g.node("Clip", [value, g.scalar(low), g.scalar(high)])


def split(g: OnnxGraph, value: str, outputs: list[str], sizes: list[int]) -> None:
    """Cut the last axis into named parts of these sizes."""
    # Without lengths the parts are equal. ONNX Runtime takes two such nodes of one input for the
    # same node, however many parts they have, so only halves go without.
    halves = len(sizes) == 2 and sizes[0] == sizes[1]
    lengths = [] if halves else [g.constant(np.array(sizes, np.int64))]
    g.nodes("Split", [value, *lengths], outputs, axis=-1)


def _reach(matrix: Matrix) -> NDArray[np.int64]:
    """The largest |accumulator| of each row over all int16 inputs."""
    weight: NDArray[np.int64] = np.abs(matrix.weight.astype(np.int64)).sum(axis=1)
    reach: NDArray[np.int64] = weight * -INT16_MIN + np.abs(matrix.bias)
    return reach
