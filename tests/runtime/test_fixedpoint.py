"""The fixed-point rules against their definitions, in exact rational arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from edgernn.runtime import fixedpoint

CORNERS = [-32768, -32767, -16385, -16384, -2, -1, 0, 1, 2, 16383, 16384, 32766, 32767]


def integers(low: int, high: int, count: int = 400, seed: int = 0) -> NDArray[np.int64]:
    values = np.random.default_rng(seed).integers(low, high, count)
    return np.concatenate([values, np.clip(CORNERS, low, high)]).astype(np.int64)


def away(x: Fraction) -> int:
    """Nearest, ties away from zero."""
    return (1 if x >= 0 else -1) * math.floor(abs(x) + Fraction(1, 2))


def half_up(x: Fraction) -> int:
    return math.floor(x + Fraction(1, 2))


@pytest.mark.parametrize("q", [1 << 30, (1 << 30) + 1, 1431655765, (1 << 31) - 1])
def test_doubling_high_mul_nudges_by_sign_and_truncates(q: int) -> None:
    a = integers(-(1 << 31) + 1, 1 << 31)
    a = np.concatenate([a, [1 << 30, -(1 << 30), 3, -3]])
    wanted = []
    for value in a.tolist():
        nudge = 1 << 30 if value * q >= 0 else 1 - (1 << 30)
        wanted.append(math.trunc(Fraction(value * q + nudge, 1 << 31)))
    np.testing.assert_array_equal(fixedpoint.saturating_rounding_doubling_high_mul(a, q), wanted)


@pytest.mark.parametrize("exponent", [0, 1, 2, 5, 15, 30])
def test_divide_by_power_of_two_takes_ties_away_from_zero(exponent: int) -> None:
    half = (1 << exponent) // 2
    x = np.concatenate([integers(-(1 << 31), 1 << 31), [half, -half, 3 * half, -3 * half]])
    wanted = [away(Fraction(v, 1 << exponent)) for v in x.tolist()]
    np.testing.assert_array_equal(fixedpoint.rounding_divide_by_pot(x, exponent), wanted)


@pytest.mark.parametrize("factor", [1.0, 0.5, 2.0, 0.75, 1 / 3, 3.0, 1e-6, 12345.678])
def test_a_multiplier_has_31_bits_and_the_value_of_its_factor(factor: float) -> None:
    q, shift = fixedpoint.quantize_multiplier(factor)
    assert 1 << 30 <= q < 1 << 31
    assert math.ldexp(q, shift - 31) == pytest.approx(factor, rel=2.0**-31)


def test_a_multiplier_that_rounds_up_to_the_next_power_of_two_moves_its_shift() -> None:
    assert fixedpoint.quantize_multiplier(1.0 - 2.0**-40) == (1 << 30, 1)


@pytest.mark.parametrize("factor", [0.0, -1.0, math.inf, math.nan])
def test_a_factor_that_is_none_is_refused(factor: float) -> None:
    with pytest.raises(ValueError, match="multiplier"):
        fixedpoint.quantize_multiplier(factor)


def test_requantizing_rounds_half_up_and_saturates() -> None:
    shift = np.array([8, 15, 22, 35], np.int64)
    multiplier = np.array([16384, 16385, 32767, 20001], np.int64)
    acc = integers(-(1 << 34), 1 << 34)[:, None] >> np.array([18, 12, 4, 0])
    acc = np.concatenate([acc, [[1] * 4, [-1] * 4, [1 << 20] * 4, [-(1 << 20)] * 4]])
    wanted = [
        [
            min(max(half_up(Fraction(a * m, 1 << k)), -32768), 32767)
            for a, m, k in zip(row, multiplier.tolist(), shift.tolist(), strict=True)
        ]
        for row in acc.tolist()
    ]
    np.testing.assert_array_equal(fixedpoint.requantize_rows(acc, multiplier, shift), wanted)


def test_a_tie_of_a_matrix_product_goes_up_on_both_sides_of_zero() -> None:
    acc, one = np.array([[3], [1], [-1], [-3]], np.int64), np.array([1 << 14], np.int64)
    result = fixedpoint.requantize_rows(acc, one, np.array([15], np.int64))
    assert result.ravel().tolist() == [2, 1, 0, -1]


def test_mul_has_the_two_roundings_of_the_kernel() -> None:
    a, b = integers(-32768, 32768, 200_000, 1), integers(-32768, 32768, 200_000, 2)
    corners = np.array(CORNERS, np.int64)
    a = np.concatenate([a, np.repeat(corners, len(corners))])
    b = np.concatenate([b, np.tile(corners, len(corners))])
    # The other way to write it: round half up at bit 1, then at bit 14 with ties away from zero.
    p = a * b + 1
    wanted = np.clip((p + 16384 + 2 * (p >> 31)) >> 15, -32768, 32767)
    np.testing.assert_array_equal(fixedpoint.multiply_q15(a, b), wanted)


def test_mul_is_not_the_nearest_integer_everywhere() -> None:
    # (p + 1) >> 1 comes first: 2^14 - 1 is already rounded up.
    result = fixedpoint.multiply_q15(np.array([16383, -16385]), np.array([1, 1]))
    assert result.tolist() == [1, -1]


def test_sums_of_equal_scales_only_saturate() -> None:
    a, b = integers(-32768, 32768, seed=3), integers(-32768, 32768, seed=4)
    for sign in (1, -1):
        result = fixedpoint.add_rescaled(a, b, 0.375, 0.375, 0.375, sign)
        np.testing.assert_array_equal(result, np.clip(a + sign * b, -32768, 32767))


def test_sums_into_twice_the_scale_take_ties_away_from_zero() -> None:
    a, b = integers(-32768, 32768, seed=5), integers(-32768, 32768, seed=6)
    wanted = [away(Fraction(x - y, 2)) for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    result = fixedpoint.add_rescaled(a, b, 0.5, 0.5, 1.0, -1)
    np.testing.assert_array_equal(result, np.clip(wanted, -32768, 32767))


@pytest.mark.parametrize("scales", [(3.0, 1.0, 4.0), (1.0, 3.0, 2.0), (0.75, 1.0, 1.25)])
def test_sums_of_mixed_scales_are_within_one_unit_of_the_exact_value(
    scales: tuple[float, float, float],
) -> None:
    a, b = integers(-32768, 32768, seed=7), integers(-32768, 32768, seed=8)
    exact = (a * scales[0] + b * scales[1]) / scales[2]
    result = fixedpoint.add_rescaled(a, b, *scales)
    assert np.abs(result - np.clip(exact, -32768, 32767)).max() <= 0.51


@pytest.mark.parametrize("ratio", [0.5, 2.0, 1.0, 3.0, 0.75, 2.0**-15, 2.0**15])
def test_rescaling_is_close_to_the_nearest_value_and_saturates(ratio: float) -> None:
    x = np.arange(-32768, 32768, dtype=np.int64)
    exact = np.clip(x * ratio, -32768, 32767)
    assert np.abs(fixedpoint.rescale(x, ratio, 1.0) - exact).max() <= 0.50004
