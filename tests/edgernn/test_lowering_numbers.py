"""The numbers of the lowering: factors every runtime takes, scales, weights and biases."""

from __future__ import annotations

import numpy as np
import pytest

from edgernn.lowering.builder import admissible_factors, covering_scale, quantize_matrix
from edgernn.rounding import Moments, Nearest
from edgernn.runtime.errors import UnsupportedError
from edgernn.runtime.program import GATE, UNIT, Scale


def reach(step: int) -> float:
    """Odd multiples of step are 2 step apart; from one octave to the next a little more."""
    return 2.0**-13 if step == 1 else (step + 1) * 2.0**-13


@pytest.mark.parametrize("step", [1, 3, 5])
def test_admissible_factors_are_the_next_that_every_runtime_takes(step: int) -> None:
    rng = np.random.default_rng(step)
    wanted = 2.0 ** rng.uniform(-16.9, 6.5, 2000)
    multiplier, shift = admissible_factors(wanted, step, "w")
    factor = multiplier * 2.0 ** -shift.astype(np.float64)
    assert (factor >= wanted).all()
    assert (factor <= wanted * (1 + reach(step))).all()
    assert (multiplier % 2 == 1).all()
    assert (multiplier % step == 0).all()
    assert ((multiplier > 16384) & (multiplier < 32768)).all()
    assert ((shift >= 8) & (shift <= 32)).all()
    # None in between: the next smaller multiplier would be too small.
    smaller = (multiplier - 2 * step) * 2.0 ** -shift.astype(np.float64)
    below = multiplier - 2 * step > 16384
    assert (smaller[below] < wanted[below]).all()


def test_exact_powers_of_two_and_their_neighbours_stay_in_range() -> None:
    wanted = np.array([2.0**e * f for e in range(-16, 6) for f in (1 - 2**-40, 1.0, 1 + 2**-40)])
    for step in (1, 3):
        multiplier, shift = admissible_factors(wanted, step, "w")
        assert ((multiplier > 16384) & (multiplier < 32768)).all()
        factor = multiplier * 2.0 ** -shift.astype(np.float64)
        assert ((factor >= wanted) & (factor <= wanted * (1 + reach(step)))).all()


def test_rows_too_small_to_matter_get_the_finest_factor() -> None:
    multiplier, shift = admissible_factors(np.array([1e-12, 1e-300]), 1, "w")
    assert multiplier.tolist() == [16385, 16385]
    assert shift.tolist() == [32, 32]


def test_a_factor_beyond_the_runtimes_is_refused_by_name() -> None:
    admissible_factors(np.array([127.9]), 1, "w")
    with pytest.raises(UnsupportedError, match="gx turns one unit"):
        admissible_factors(np.array([0.1, 128.1]), 1, "gx")


@pytest.mark.parametrize("scale_in", [UNIT, Scale(1, -12), Scale(3, -12), Scale(5, -14)], ids=str)
@pytest.mark.parametrize("scale_out", [GATE, UNIT, Scale(1, -10)], ids=str)
def test_quantized_weights_and_biases_are_the_nearest_at_dyadic_row_scales(
    scale_in: Scale, scale_out: Scale
) -> None:
    rng = np.random.default_rng(13)
    weight, bias = rng.normal(size=(20, 7)), rng.normal(size=20)
    moments = Moments(np.zeros(7), np.eye(7))
    matrix = quantize_matrix(weight, bias, moments, scale_in, scale_out, Nearest())
    scales = np.array([float(s) for s in matrix.row_scales(scale_in, scale_out)])
    assert (np.abs(matrix.weight * scales[:, None] - weight) <= scales[:, None] / 2 + 1e-12).all()
    assert (scales <= np.abs(weight).max(axis=1) / 127 * (1 + 5 * 2.0**-13)).all()
    error = np.abs(matrix.bias * scales * float(scale_in) - bias)
    assert (error <= scales * float(scale_in) / 2 + 1e-12).all()


def test_the_bias_takes_back_the_mean_of_the_rounding_error() -> None:
    rng = np.random.default_rng(14)
    weight, mean = rng.normal(size=(20, 7)), rng.normal(size=7)
    matrix = quantize_matrix(weight, np.zeros(20), Moments(mean, np.eye(7)), UNIT, GATE, Nearest())
    scales = np.array([float(s) for s in matrix.row_scales(UNIT, GATE)])
    at_mean = scales * (matrix.weight @ mean + matrix.bias * float(UNIT))
    np.testing.assert_allclose(at_mean, weight @ mean, atol=1e-5)


@pytest.mark.parametrize("mantissa", [1, 3])
def test_a_covering_scale_holds_the_amplitude_and_no_finer_one_does(mantissa: int) -> None:
    for amplitude in [1e-6, 0.1, 1.0, 32767 * 2.0**-15, 32768 * 2.0**-15, np.pi, 12.0, 3e8]:
        scale = covering_scale(amplitude, mantissa)
        assert scale.mantissa == mantissa
        assert 32767 * float(scale) >= amplitude
        assert 32767 * float(scale) / 2 < amplitude
    assert float(covering_scale(0.0)) > 0
