"""Exact integer matrix products with BLAS, for the NumPy engine.

The multiplier * 2^-shift of each row is folded into its weights and its bias, and so is the
rounding half: the integer result is the floor. Every term is a multiple of 2^-shift and every sum
stays below 2^53 of them, so float64 is exact whatever the order of summation.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from operator import setitem
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgernn.runtime.program import Matrix

Float64Array = NDArray[np.float64]
Call = Callable[[], object]

SPLIT_ELEMENTS: Final = 120_000
"""From here on memory bandwidth decides, and two halves in float32 beat one in float64."""
SPLIT_COLUMNS: Final = 1032
"""127 * 128 * columns must stay below 2^24, where float32 stops being exact."""
_TO_256: Final = np.float32(1.5 * 2.0**31)
"""Adding and subtracting it rounds a float32 to a multiple of 256."""


ROWS: Final = 8
"""Rows are padded to a multiple of this, so that every column of a float64 matrix is aligned."""


def aligned(shape: tuple[int, ...], dtype: Any = np.float64) -> NDArray[Any]:
    """Zeros in C order that start on a 64-byte line: BLAS is a third faster there."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.zeros(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    array: NDArray[Any] = raw[start : start + size].view(dtype).reshape(shape)
    return array


def padded(rows: int) -> int:
    """Rows of the output of a product, padding included."""
    return -(-rows // ROWS) * ROWS


def folded(matrix: Matrix, offset: float) -> tuple[Float64Array, Float64Array]:
    """(weight (rows, K), bias (rows,)): floor(weight @ x + bias) is the int16 result + offset,
    before saturation."""
    factor = matrix.multiplier * 2.0 ** -matrix.shift.astype(np.float64)
    return matrix.weight * factor[:, None], matrix.bias * factor + (0.5 + offset)


def with_bias(matrix: Matrix, offset: float, bias_first: bool) -> Float64Array:
    """The folded weight with its bias as first or last column, for an input that holds a 1."""
    weight, bias = folded(matrix, offset)
    return np.hstack([bias[:, None], weight] if bias_first else [weight, bias[:, None]])


def stacked(left: Matrix, right: Matrix, offset: float) -> Float64Array:
    """Both products as one, for the input [x | 1 | h]; they share the column of the biases.

    The rows of the right one begin at padded(rows of the left one).
    """
    (rows, columns), begin = left.weight.shape, padded(len(left.weight))
    result = np.zeros((begin + len(right.weight), columns + 1 + right.weight.shape[1]))
    result[:rows, : columns + 1] = with_bias(left, offset, bias_first=False)
    result[begin:, columns:] = with_bias(right, offset, bias_first=True)
    return result


def product(matrix: Float64Array, vector: Float64Array, out: Float64Array) -> list[Call]:
    """out = matrix @ vector; vector (K,) or (K, batch), out with padded rows."""
    rows, columns = matrix.shape
    # Column-major lets BLAS add up columns instead of reducing every row.
    column_major = aligned((columns, padded(rows))).T
    column_major[:rows] = matrix
    # The method: np.dot would first look for overrides in its arguments.
    return [partial(column_major.dot, vector, out)]


def split_product(
    matrix: Matrix, offset: float, vector: Float64Array, out: Float64Array
) -> list[Call]:
    """The same for one large matrix and one vector: the input's high and low bytes as two rows of
    float32, half the memory traffic."""
    rows, columns = matrix.weight.shape
    factor, bias = (aligned((padded(rows),)) for _ in range(2))
    factor[:rows] = matrix.multiplier * 2.0 ** -matrix.shift.astype(np.float64)
    _, bias[:rows] = folded(matrix, offset)
    weight = aligned((columns, padded(rows)), np.float32)
    weight[:, :rows] = matrix.weight.T
    whole = aligned((columns,), np.float32)
    halves = aligned((2, columns), np.float32)
    magic = np.full(columns, _TO_256)
    sums = aligned((2, padded(rows)), np.float32)
    wide = aligned((2, padded(rows)))
    return [
        partial(setitem, whole, ..., vector),
        partial(np.add, whole, magic, halves[0]),
        partial(np.subtract, halves[0], magic, halves[0]),
        partial(np.subtract, whole, halves[0], halves[1]),
        partial(halves.dot, weight, sums),
        partial(setitem, wide, ..., sums),
        partial(np.add, wide[0], wide[1], out),
        partial(np.multiply, out, factor, out),
        partial(np.add, out, bias, out),
    ]
