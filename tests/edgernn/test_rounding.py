"""Rounding strategies: what each must never do worse than the one before it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from edgernn.rounding import STRATEGIES, Moments, Nearest, Rounding

Float64Array = NDArray[np.float64]


def correlated(seed: int, columns: int, samples: int = 2000) -> Float64Array:
    """Samples (N, K) whose columns move together, with means and scales of their own."""
    rng = np.random.default_rng(seed)
    rank = max(1, columns // 4)
    mixed = rng.standard_normal((samples, rank)) @ rng.standard_normal((rank, columns))
    noisy = mixed + 0.1 * rng.standard_normal((samples, columns))
    scaled: Float64Array = noisy * rng.uniform(0.2, 2.0, columns) + 0.2 * rng.standard_normal(
        columns
    )
    return scaled


def moments_of(x: Float64Array) -> Moments:
    return Moments(x.mean(axis=0), np.cov(x.T, bias=True).reshape(x.shape[1], x.shape[1]))


def output_error(rounding: Rounding, weight: Float64Array, x: Float64Array) -> Float64Array:
    """Mean squared error of each row's product, (rows,), the mean error left to the bias."""
    moments = moments_of(x)
    scales = rounding.scales(weight, moments)
    integers = rounding.integers(weight, scales, moments)
    error: Float64Array = (x @ (weight - scales[:, None] * integers).T).var(axis=0)
    return error


CASES = [(seed, columns) for seed in range(5) for columns in (3, 16, 60)]


@pytest.mark.parametrize(("seed", "columns"), CASES)
def test_search_never_makes_a_row_worse_than_nearest(seed: int, columns: int) -> None:
    x = correlated(seed, columns)
    weight = np.random.default_rng(seed).standard_t(3, (24, columns))
    search = output_error(STRATEGIES["search"], weight, x)
    nearest = output_error(STRATEGIES["nearest"], weight, x)
    assert (search <= nearest * (1 + 1e-9)).all()
    assert columns == 3 or search.sum() < nearest.sum()


@pytest.mark.parametrize(("seed", "columns"), CASES)
def test_compensation_beats_both_where_columns_move_together(seed: int, columns: int) -> None:
    x = correlated(seed, columns)
    weight = np.random.default_rng(seed).standard_normal((64, columns))
    errors = {name: output_error(s, weight, x).sum() for name, s in STRATEGIES.items()}
    if columns > 3:
        assert errors["compensated"] < 0.5 * errors["nearest"]
        assert errors["compensated"] < errors["search"]
    # Mean and damping count a little as well, so not always to the last digit.
    assert errors["compensated"] <= 1.02 * errors["nearest"]


def test_on_data_it_has_not_seen_compensation_is_still_better() -> None:
    x = correlated(7, 40, 4000)
    weight = np.random.default_rng(7).standard_normal((64, 40))
    moments, unseen = moments_of(x[:2000]), x[2000:] - x[2000:].mean(axis=0)
    errors = {}
    for name, strategy in STRATEGIES.items():
        scales = strategy.scales(weight, moments)
        delta = weight - scales[:, None] * strategy.integers(weight, scales, moments)
        errors[name] = float(((unseen @ delta.T) ** 2).mean())
    assert errors["compensated"] < 0.7 * errors["nearest"]


@pytest.mark.parametrize("name", STRATEGIES)
def test_integers_are_int8_without_the_lowest(name: str) -> None:
    x, strategy = correlated(1, 12), STRATEGIES[name]
    weight = np.random.default_rng(1).standard_cauchy((50, 12))
    moments = moments_of(x)
    for shrink in (1.0, 0.3):
        # What is granted may be finer than what was wanted.
        scales = strategy.scales(weight, moments) * shrink
        integers = strategy.integers(weight, scales, moments)
        assert integers.dtype == np.int8
        assert integers.shape == weight.shape
        assert integers.min() >= -127


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize(
    "moments",
    [
        Moments(np.zeros(6), np.zeros((6, 6))),
        Moments(np.ones(6), np.zeros((6, 6))),
        Moments(np.zeros(6), np.ones((6, 6))),
        Moments(np.zeros(6), np.diag([1.0, 0, 0, 1e-30, 1e9, 0])),
    ],
    ids=["silent", "constant", "one source", "dead columns"],
)
def test_inputs_that_hardly_vary_are_no_obstacle(name: str, moments: Moments) -> None:
    strategy = STRATEGIES[name]
    weight = np.random.default_rng(2).standard_normal((8, 6))
    scales = strategy.scales(weight, moments)
    assert (scales > 0).all()
    assert np.isfinite(scales).all()
    delta = weight - scales[:, None] * strategy.integers(weight, scales, moments)
    assert np.isfinite(delta).all()
    # A column that never moved may move in use.
    assert np.abs(delta).max() <= 1.01 * np.abs(weight).max()


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_row_of_zeros_stays_zero(name: str) -> None:
    strategy, moments = STRATEGIES[name], moments_of(correlated(3, 5))
    weight = np.zeros((3, 5))
    weight[1] = 1.0
    scales = strategy.scales(weight, moments)
    assert (scales > 0).all()
    integers = strategy.integers(weight, scales, moments)
    assert not integers[[0, 2]].any()
    assert integers[1].any()


def test_nearest_is_within_half_a_unit_everywhere() -> None:
    weight = np.random.default_rng(4).standard_normal((30, 9))
    moments = Moments(np.zeros(9), np.eye(9))
    scales = Nearest().scales(weight, moments)
    integers = Nearest().integers(weight, scales, moments)
    assert np.abs(weight / scales[:, None] - integers).max() <= 0.5 + 1e-12
    assert (np.abs(integers).max(axis=1) == 127).all()


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_same_data_gives_the_same_integers(name: str) -> None:
    strategy, moments = STRATEGIES[name], moments_of(correlated(5, 20))
    weight = np.random.default_rng(5).standard_normal((10, 20))
    kept = weight.copy()
    first = strategy.integers(weight, strategy.scales(weight, moments), moments)
    second = strategy.integers(weight, strategy.scales(weight, moments), moments)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(weight, kept)
