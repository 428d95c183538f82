"""The constants of a matrix product as C text, in the blocks that the engine's macros take."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from edgernn.runtime.fixedpoint import Int64Array, requantize_rows
from edgernn.runtime.program import Matrix

ROWS: Final = 4
COLUMNS: Final = 8
NARROW: Final = 4
SHIFTS: Final = (17, 32)
"""With these, multiplier and shift are one 32-bit factor, multiplier * 2^(32 - shift)."""


def fits_32_bits(matrix: Matrix) -> bool:
    """Can no sum leave int32, whatever the input, and is every shift within SHIFTS?"""
    bias, _, shift = _constants(matrix)
    reach = np.abs(bias) + 32768 * np.abs(matrix.weight.astype(np.int64)).sum(axis=1)
    low, high = SHIFTS
    return bool((reach < 1 << 31).all() and (low <= shift).all() and (shift <= high).all())


def weight_bytes(matrix: Matrix) -> int:
    """Bytes of the stored weights, padding to whole blocks included."""
    rows, columns = int(matrix.weight.shape[0]), int(matrix.weight.shape[1])
    rest = columns % COLUMNS
    padded = columns - rest + (0 if rest == 0 else NARROW if rest <= NARROW else COLUMNS)
    return -(-rows // ROWS) * ROWS * padded


def blocks(matrix: Matrix) -> Iterator[str]:
    """EDGERNN_BLOCK8(...) and EDGERNN_BLOCK4(...), group of rows by group of rows."""
    rows, columns = matrix.weight.shape
    padded = np.zeros((-(-rows // ROWS) * ROWS, -(-columns // COLUMNS) * COLUMNS), np.int8)
    padded[:rows, :columns] = matrix.weight
    for row in range(0, rows, ROWS):
        for column in range(0, columns, COLUMNS):
            width = NARROW if columns - column <= NARROW else COLUMNS
            block = padded[row : row + ROWS, column : column + width]
            yield f"EDGERNN_BLOCK{width}({','.join(map(str, block.ravel().tolist()))})"


def row_constants(matrix: Matrix) -> Iterator[str]:
    """EDGERNN_ROWS(bias, multiplier, shift, ...) for every group of 4 rows."""
    constants = np.stack(_constants(matrix), axis=1).tolist()
    constants += [[0, 16384, 17]] * (-len(constants) % ROWS)
    for row in range(0, len(constants), ROWS):
        group = (str(v) for triple in constants[row : row + ROWS] for v in triple)
        yield f"EDGERNN_ROWS({', '.join(group)})"


def wide_row_constants(matrix: Matrix) -> Iterator[str]:
    """{bias, multiplier, shift} for every row, the bias of 64 bits."""
    for b, m, k in zip(*_constants(matrix), strict=True):
        yield f"{{{int(b)}LL, {int(m)}, {int(k)}}}"


def _constants(matrix: Matrix) -> tuple[Int64Array, Int64Array, Int64Array]:
    """Bias, multiplier and shift of the rows.

    A row without weights is a constant: its bias, which may be huge, need not be kept.
    """
    bias, multiplier, shift = (
        v.astype(np.int64) for v in (matrix.bias, matrix.multiplier, matrix.shift)
    )
    empty = ~matrix.weight.any(axis=1)
    value = requantize_rows(bias, multiplier, shift)
    return (
        np.where(empty, 8 * value, bias),
        np.where(empty, 16384, multiplier),
        np.where(empty, 17, shift),
    )
