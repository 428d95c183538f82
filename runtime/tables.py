"""Lookup tables of the NumPy engine: a function of a bounded integer as one `take`.

Float64 and read-only, built once per process and shared. A "wrapped" table has 2^bits entries,
entry i (modulo its length) for integer i, so a negative index needs no offset. The tables of the
rules stay for good; those made from a program's own live as long as a plan that uses them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Final
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from edgernn.runtime import fixedpoint, functions
from edgernn.runtime.activation import full_table
from edgernn.runtime.fixedpoint import Int64Array

Table = NDArray[np.float64]
Values = NDArray[np.int64] | NDArray[np.floating[Any]]

TAU: Final = 2.0**-16
"""Added to `half_away` for a product's sake: see `edgernn.runtime.arithmetic`."""
_lookups: Final[WeakValueDictionary[bytes, Table]] = WeakValueDictionary()
"""Content of a lookup's table -> all its values: half a megabyte, so not kept without a user."""


@cache
def identity() -> Table:
    """Entry i is i - 32768: with clipped indices, saturation to int16."""
    return _frozen(np.arange(-32768, 32768, dtype=np.int64))


@cache
def clamp() -> Table:
    """Saturation of |i| <= 131072, wrapped."""
    return _wrapped(fixedpoint.saturate, 18)


@cache
def half_away(tau: bool) -> Table:
    """i / 2, ties away from zero, saturated, |i| <= 65536, wrapped; plus TAU if asked."""
    table = _wrapped(lambda i: fixedpoint.saturate(np.sign(i) * ((np.abs(i) + 1) >> 1)), 17)
    return _frozen(table + TAU) if tau else table


@cache
def raised_nudge() -> Table:
    """32768.5, and 2^-15 with the sign of i - 32768: what MUL adds before it floors."""
    signs = np.where(np.arange(65536) < 32768, -1.0, 1.0)
    return _frozen(32768.5 + signs * 2.0**-15)


@cache
def activation(kind: str, scale: float, unit: float) -> Table:
    """LOGISTIC or TANH times unit; entry i for input i - 32768, meant for clipped indices."""
    return _frozen(full_table(kind, scale) * unit)


@cache
def wide_activation(kind: str, scale: float, unit: float) -> Table:
    """LOGISTIC or TANH times unit of the saturated input, |i| <= 65536, wrapped."""
    values = full_table(kind, scale) * unit
    return _wrapped(lambda i: values[fixedpoint.saturate(i) + 32768], 17)


@cache
def rescaled(scale_in: float, scale_out: float) -> Table:
    """The int16 to int16 QUANTIZE, wrapped."""
    return _wrapped(lambda i: fixedpoint.rescale(i, scale_in, scale_out), 16)


@cache
def shifted(factor: float) -> Table:
    """An operand of ADD or SUB brought to the sum's scale, wrapped."""
    q, shift = fixedpoint.quantize_multiplier(factor)
    return _wrapped(lambda i: fixedpoint.multiply_by_quantized_multiplier(i << 15, q, shift), 16)


@cache
def rsqrt(gain: int) -> Table:
    """1 / sqrt(x) of a gain, wrapped."""
    values = functions.rsqrt_table(gain)
    return _wrapped(lambda i: values[np.maximum(i, 0)], 16)


def interpolated(points: NDArray[np.int16]) -> Table:
    """All values of a lookup with this table (513,), wrapped; one array for equal tables."""
    content = points.tobytes()
    table = _lookups.get(content)
    if table is None:
        table = _lookups[content] = _wrapped(lambda i: functions.interpolated(points, i), 16)
    return table


def _wrapped(function: Callable[[Int64Array], Values], bits: int) -> Table:
    index = np.arange(1 << bits, dtype=np.int64)
    index[1 << (bits - 1) :] -= 1 << bits
    return _frozen(function(index))


def _frozen(values: Values) -> Table:
    table = values.astype(np.float64)
    table.setflags(write=False)
    return table
