"""Operators that read a table or a root: any smooth function, 1 / sqrt(x), rows of an embedding.

Rules as in `edgernn.runtime.operators`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn.runtime.fixedpoint import INT16_MAX, INT16_MIN, Int64Array
from edgernn.runtime.program import Operator, Scale, Tensor

TABLES: Final[Mapping[str, str]] = {"lookup": "I16", "embedding": "I8"}
"""Operators with a table: kind -> code of its dtype."""
ENTRIES: Final = 513
MAX_GAIN: Final = 8


class Lookup:
    """A function by table: 513 entries, 128 inputs apart, interpolated; any scale in and out.

    i = (x + 32768) >> 7;  y = t[i] + (((t[i + 1] - t[i]) * (x & 127) + 64) >> 7)
    """

    inputs, outputs = 1, 1

    def check(self, op: Operator, ins: Sequence[Tensor], outs: Sequence[Tensor]) -> None:
        _need(ins[0].size == outs[0].size, "input and output sizes differ")
        assert op.table is not None
        fits = op.table.shape == (ENTRIES,) and op.table.dtype == np.int16
        _need(fits, f"its table is not {ENTRIES} int16")

    def compute(
        self, op: Operator, ins: Sequence[Tensor], outs: Sequence[Tensor], x: Sequence[Int64Array]
    ) -> list[Int64Array]:
        assert op.table is not None
        return [interpolated(op.table, x[0])]


class Rsqrt:
    """1 / sqrt(x), saturated; x <= 0 counts as one unit. In integers, with the gain g = 0 .. 8 from
    scale_out^2 * scale_in = 4^-(15 + g):

    y = min(32767, (isqrt(floor((4^(16 + g) - 1) / max(x, 1))) + 1) >> 1)
    """

    inputs, outputs = 1, 1

    def check(self, op: Operator, ins: Sequence[Tensor], outs: Sequence[Tensor]) -> None:
        _need(ins[0].size == outs[0].size, "input and output sizes differ")
        rsqrt_gain(ins[0].scale, outs[0].scale)

    def compute(
        self, op: Operator, ins: Sequence[Tensor], outs: Sequence[Tensor], x: Sequence[Int64Array]
    ) -> list[Int64Array]:
        return [rsqrt_table(rsqrt_gain(ins[0].scale, outs[0].scale))[np.maximum(x[0], 0)]]


class Embedding:
    """Row of an int8 table by token id; an id beyond the table counts as the nearest one.

    The input is one integer at scale 1, the output a row at any scale.
    """

    inputs, outputs = 1, 1

    def check(self, op: Operator, ins: Sequence[Tensor], outs: Sequence[Tensor]) -> None:
        assert op.table is not None
        _need(op.table.dtype == np.int8, "its table is not int8")
        _need(op.table.ndim == 2 and op.table.shape[1] == outs[0].size, "its table has other rows")
        _need(1 <= len(op.table) <= INT16_MAX + 1, "its table has more than 32768 rows")
        _need(ins[0].size == 1 and ins[0].scale == Scale(1, 0), "its input is no token id")

    def compute(
        self, op: Operator, ins: Sequence[Tensor], outs: Sequence[Tensor], x: Sequence[Int64Array]
    ) -> list[Int64Array]:
        assert op.table is not None
        ids = np.clip(x[0][..., 0], 0, len(op.table) - 1)
        return [op.table[ids].astype(np.int64)]


def interpolated(table: NDArray[np.int16], x: Int64Array) -> Int64Array:
    """The rule of Lookup; x int64 within int16, any shape."""
    wide = table.astype(np.int64)
    i = (x + 32768) >> 7
    y: Int64Array = wide[i] + (((wide[i + 1] - wide[i]) * (x & 127) + 64) >> 7)
    return y


def tabulated(
    function: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    scale_in: Scale,
    scale_out: Scale,
) -> NDArray[np.int16]:
    """The table of a real function, (513,) int16, for a Lookup of these scales; saturated."""
    x = (np.arange(ENTRIES, dtype=np.float64) * 128.0 - 32768.0) * np.float64(float(scale_in))
    values = np.rint(function(x) / float(scale_out))
    return np.clip(values, INT16_MIN, INT16_MAX).astype(np.int16)


def rsqrt_gain(scale_in: Scale, scale_out: Scale) -> int:
    """g of Rsqrt's rule; ValueError if the scales give none."""
    power = 1 / (scale_out.fraction**2 * scale_in.fraction)
    for gain in range(MAX_GAIN + 1):
        if power == Fraction(4) ** (15 + gain):
            return gain
    raise ValueError("its scales do not make scale_out^2 * scale_in a power 4^-15 to 4^-23")


@cache
def rsqrt_table(gain: int) -> Int64Array:
    """The rule of Rsqrt for x = 0 .. 32767, (32768,) int64, read-only, shared."""
    x = np.maximum(np.arange(32768, dtype=np.int64), 1)
    quotient = (4 ** (16 + gain) - 1) // x
    # Exact: the square root of an integer below 2^52 is never rounded up to the next integer.
    root = np.sqrt(quotient.astype(np.float64)).astype(np.int64)
    table: Int64Array = np.minimum((root + 1) >> 1, INT16_MAX)
    table.setflags(write=False)
    return table


def _need(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)
