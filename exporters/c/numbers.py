"""The constants of a matrix product as C text, in the blocks that the engine's macros take."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from edgernn.runtime.program import Matrix

ROWS: Final = 4
COLUMNS: Final = 8
NARROW: Final = 4


def fits_32_bits(matrix: Matrix) -> bool:
    """Can no sum leave int32, whatever the input, and is every shift at least 17?"""
    reach = np.abs(matrix.bias) + 32768 * np.abs(matrix.weight.astype(np.int64)).sum(axis=1)
    return bool((reach < 1 << 31).all() and (matrix.shift >= 17).all())


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
    rows = len(matrix.bias)
    constants = [
        (int(b), int(m), int(k))
        for b, m, k in zip(matrix.bias, matrix.multiplier, matrix.shift, strict=True)
    ]
    constants += [(0, 16384, 17)] * (-rows % ROWS)
    for row in range(0, rows, ROWS):
        group = (str(v) for triple in constants[row : row + ROWS] for v in triple)
        yield f"EDGERNN_ROWS({', '.join(group)})"


def wide_row_constants(matrix: Matrix) -> Iterator[str]:
    """{bias, multiplier, shift} for every row, the bias of 64 bits."""
    for b, m, k in zip(matrix.bias, matrix.multiplier, matrix.shift, strict=True):
        yield f"{{{int(b)}LL, {int(m)}, {int(k)}}}"
