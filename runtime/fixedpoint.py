"""Fixed-point arithmetic as TensorFlow Lite's int16 kernels do it, on NumPy int64 arrays.

The names are gemmlowp's (fixedpoint/fixedpoint.h), which also states the rounding:
SRDHM = saturating_rounding_doubling_high_mul, RDBPOT = rounding_divide_by_pot.
`>>` is the arithmetic shift. Every function takes and returns int64 arrays of any shape.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

Int64Array = NDArray[np.int64]

INT16_MIN: Final = -32768
INT16_MAX: Final = 32767


def saturate(x: Int64Array) -> Int64Array:
    """Clamp to the int16 range."""
    clamped: Int64Array = np.clip(x, INT16_MIN, INT16_MAX)
    return clamped


def saturating_rounding_doubling_high_mul(a: Int64Array, multiplier: int) -> Int64Array:
    """a * multiplier / 2^31, half up.

    gemmlowp adds a nudge that depends on the sign and truncates; it comes to the same.
    """
    product: Int64Array = a * np.int64(multiplier)
    return (product + (1 << 30)) >> 31


def rounding_divide_by_pot(x: Int64Array, exponent: int) -> Int64Array:
    """x / 2^exponent, ties away from zero."""
    if exponent == 0:
        return x
    return (x + (1 << (exponent - 1)) - (x < 0)) >> exponent


def quantize_multiplier(factor: float) -> tuple[int, int]:
    """Split a positive factor into a 31-bit integer q and a shift: factor = q * 2^(shift - 31).

    Source: TensorFlow Lite, kernels/internal/quantization_util.cc, QuantizeMultiplier.
    """
    if factor <= 0.0 or not math.isfinite(factor):
        raise ValueError(f"a multiplier must be positive and finite, not {factor!r}")
    mantissa, shift = math.frexp(factor)
    q = math.floor(mantissa * (1 << 31) + 0.5)
    if q == 1 << 31:
        q, shift = q // 2, shift + 1
    return q, shift


def multiply_by_quantized_multiplier(x: Int64Array, q: int, shift: int) -> Int64Array:
    """x * q * 2^(shift - 31), rounded in two steps (gemmlowp's double rounding)."""
    left, right = max(shift, 0), max(-shift, 0)
    return rounding_divide_by_pot(
        saturating_rounding_doubling_high_mul(x << np.int64(left), q), right
    )


def requantize_rows(acc: Int64Array, multiplier: Int64Array, shift: Int64Array) -> Int64Array:
    """Accumulator (..., rows) to int16: sat((acc * multiplier + 2^(shift-1)) >> shift), per row."""
    rounding = np.int64(1) << (shift - np.int64(1))
    return saturate((acc * multiplier + rounding) >> shift)


def multiply_q15(a: Int64Array, b: Int64Array) -> Int64Array:
    """sat(a * b * 2^-15) with the two roundings of the int16 MUL kernel."""
    t = (a * b + 1) >> 1
    return saturate((t + (1 << 13) - (t < 0)) >> 14)


def add_rescaled(
    a: Int64Array, b: Int64Array, scale_a: float, scale_b: float, scale_out: float, sign: int = 1
) -> Int64Array:
    """a + sign * b with three scales: the int16 ADD and SUB kernels, pot_scale_int16 = false."""
    twice_max = 2.0 * max(scale_a, scale_b)
    sum_ = _shifted(a, scale_a / twice_max) + sign * _shifted(b, scale_b / twice_max)
    q, shift = quantize_multiplier(twice_max / (32768.0 * scale_out))
    return saturate(multiply_by_quantized_multiplier(sum_, q, shift))


def _shifted(x: Int64Array, factor: float) -> Int64Array:
    q, shift = quantize_multiplier(factor)
    return multiply_by_quantized_multiplier(x << np.int64(15), q, shift)


def rescale(x: Int64Array, scale_in: float, scale_out: float) -> Int64Array:
    """x * scale_in / scale_out: the int16 to int16 QUANTIZE kernel."""
    q, shift = quantize_multiplier(scale_in / scale_out)
    return saturate(multiply_by_quantized_multiplier(x, q, shift))
