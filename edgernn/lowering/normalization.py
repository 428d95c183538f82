"""Layer normalisation in integers: mean and mean square by products, 1 / sqrt by its operator.

A product of two int16 keeps no more bits than its smaller operand, so one pass serves deviations
of about a factor RANGE. Where calibration saw more, there are several passes, each RANGE finer
than the one before, and the mean square selects among them. Deviations beyond the finest pass
give results that are too small, never wrong in sign.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgernn.lowering.builder import Builder, covering_scale
from edgernn.normalization import folded
from edgernn.ranges import Ranges
from edgernn.rounding import Moments
from edgernn.runtime.errors import UnsupportedError
from edgernn.runtime.functions import MAX_GAIN
from edgernn.runtime.operators import MAX_COLUMNS, SHIFTS
from edgernn.runtime.program import Matrix, Operator, Scale

RANGE: Final = 4
MAX_PASSES: Final = 4
HEADROOM: Final = 2.0
_SLACK: Final = 1.25
_WORTH: Final = 4
"""Deviations below so many units of the input are its rounding noise."""
_ANY: Final = Moments(np.zeros(1), np.eye(1))
"""Of a single element: its one column leaves the rounding nothing to choose."""


@dataclass(frozen=True)
class Spread:
    """What calibration saw: of d, of its mean square with eps, of 1 / sqrt, and of d / sqrt."""

    centered: float
    energy: float
    rstd: float
    unit: float

    @classmethod
    def of(cls, ranges: Ranges, prefix: str) -> Spread:
        """From the values noted under `<prefix>centered` and so on."""
        names = ("centered", "energy", "rstd", "unit")
        return cls(*(ranges.amplitude(prefix + name) for name in names))

    @property
    def high(self) -> float:
        """The largest deviation, eps included."""
        return math.sqrt(self.energy)

    def passes(self, unit: float) -> tuple[int, float]:
        """How many are needed, and the least deviation they resolve; unit: one of the input."""
        low = 1.0 / self.rstd if self.rstd else self.high
        low = min(max(low, _WORTH * unit), self.high)
        # Next to nothing beyond the last pass is not worth another.
        count = max(math.ceil(math.log(self.high / low, RANGE) - 0.1), 1)
        count = min(count, MAX_PASSES)
        return count, low if count == 1 else self.high * float(RANGE) ** -count

    def scale(self, passes: int) -> Scale:
        """The scale of d in the first pass."""
        reach = max(HEADROOM * self.centered, self.high)
        # A step of small deviation may have a peak where one of large deviation had none.
        return covering_scale(max(reach, _SLACK * self.unit * self.high) if passes > 1 else reach)


def centered(
    b: Builder, name: str, x: str, mean: float, scale: Scale, count: int
) -> tuple[str, ...]:
    """x less its mean, for each pass; mean: how far it reaches."""
    size, own = b.size(x), b.scale(x)
    if size > MAX_COLUMNS:
        raise UnsupportedError(
            f"{name} normalises {size} features, and {MAX_COLUMNS} is the most; make it narrower"
        )
    # Up to two bits more than the input has: a mean falls between its units.
    wanted = covering_scale(HEADROOM * mean, own.mantissa)
    finest = Scale(own.mantissa, own.exponent - 2)
    of_mean = Scale(own.mantissa, min(max(wanted.exponent, finest.exponent), own.exponent))
    average = uniform(b, f"{name}_mean", x, Fraction(1, size), 0.0, of_mean)
    level = broadcast(b, f"{name}_level", average, size)
    limit = power_above(own.fraction / 4)
    results: list[str] = []
    for k in range(count):
        fine = _finer(scale, k)
        if fine.fraction >= limit or not results:
            given = fine if fine.fraction >= limit else Scale.of(limit)
            results.append(b.sub(f"{name}_d{k}", x, level, given))
        else:
            results.append(results[-1])
    return finer(b, name, tuple(results), scale)


def finer(b: Builder, name: str, deviations: tuple[str, ...], scale: Scale) -> tuple[str, ...]:
    """Each pass's d at the scale of its pass, saturated."""
    return tuple(
        b.rescale(f"{name}_fine{k}", d, _finer(scale, k)) for k, d in enumerate(deviations)
    )


def about_zero(moments: Moments) -> Moments:
    """The moments of a value about zero, for the product of a state that is then normalised.

    With them no bias takes the mean rounding error back: where the state is zero, as at the first
    step, nothing must remain that normalisation would make large.
    """
    mean = moments.mean
    return Moments(np.zeros_like(mean), moments.covariance + np.outer(mean, mean))


def normalized_product(
    b: Builder,
    name: str,
    x: str,
    weight: NDArray[np.float32],
    moments: Moments,
    gain: NDArray[Any],
    eps: float,
    spread: Spread,
) -> str:
    """gain LN(W x), at a power of two; the mean is taken off in the weights."""
    count, low = spread.passes(float(spread.scale(MAX_PASSES)))
    weight = folded(weight)
    scale = b.reachable(spread.scale(count), x, weight, moments)
    d = b.linear(f"{name}_d", x, weight, np.zeros(len(weight)), moments, scale)
    deviations = finer(b, name, (d,) * count, scale)
    return normalized(b, name, deviations, gain, eps, spread, low)


def normalized(
    b: Builder,
    name: str,
    deviations: tuple[str, ...],
    gain: NDArray[Any],
    eps: float,
    spread: Spread,
    low: float,
) -> str:
    """gain d / sqrt(mean(d^2) + eps), at a power of two.

    deviations: d for each pass, each RANGE finer than the one before. low: the least deviation
    that the last pass resolves.
    """
    first = b.scale(deviations[0])
    size, last = b.size(deviations[0]), len(deviations) - 1
    most = max(float(np.abs(gain).max()), 1e-3)
    of_energy = even_above(HEADROOM**2 * spread.energy / 32767)
    # Of the last pass; RANGE finer for each one before it, where 1 / sqrt is smaller.
    finest_root = _root_scale(_finer(of_energy, 2 * last), _SLACK / low)
    finest_gain = covering_scale(_SLACK * most / low)
    # d of every pass can be held in the result, whatever the mean square says.
    of_result = _finer(first, last).fraction * finest_gain.fraction * (1 << 15)
    energies, results = [], []
    for k, d in enumerate(deviations):
        squared = b.scale(d).fraction ** 2 * (1 << 15)
        squares = b.mul(f"{name}_squares{k}", d, d, Scale.of(squared))
        energy = uniform(
            b, f"{name}_energy{k}", squares, Fraction(1, size), eps, _finer(of_energy, 2 * k)
        )
        root = b.rsqrt(f"{name}_rstd{k}", energy, _finer(finest_root, last - k))
        spread_out = b.linear(
            f"{name}_gain{k}", root, gain.reshape(-1, 1), np.zeros(size), _ANY,
            _finer(finest_gain, last - k),
        )  # fmt: skip
        energies.append(energy)
        results.append(b.mul(f"{name}_unit{k}", d, spread_out, Scale.of(of_result)))
    result = results[-1]
    for k in reversed(range(last)):
        own = _finer(of_energy, 2 * k)
        limit = spread.energy / float(RANGE) ** (2 * (k + 1))
        edge = b.constant(f"{name}_edge{k}", np.array([max(limit, float(own))]), own)
        below = b.relu(f"{name}_below{k}", b.sub(f"{name}_under{k}", edge, energies[k], own))
        result = b.select(f"{name}_chosen{k}", below, result, results[k])
    return result


def shifted(b: Builder, name: str, y: str, bias: NDArray[Any], scale: Scale) -> str:
    """y + bias at a scale, or the next wider one that a sum can give."""
    own = b.scale(y).fraction
    while scale.fraction < own / 4:
        scale = Scale(scale.mantissa, scale.exponent + 1)
    if not bias.any():
        return b.rescale(name, y, scale)
    held = covering_scale(float(np.abs(bias).max()))
    held = max(held, Scale.of(own / 1024), key=float)
    offset = b.constant(f"{name}_bias", bias, held)
    while scale.fraction < held.fraction / 4:
        scale = Scale(scale.mantissa, scale.exponent + 1)
    return b.add(name, y, offset, scale)


def summed(b: Builder, name: str, x: str, y: str, scale: Scale) -> str:
    """x + y at a scale, or the next wider one that a sum can give."""
    while not b.can_add(x, y, scale) and scale.exponent < 0:
        scale = Scale(scale.mantissa, scale.exponent + 1)
    return b.add(name, x, y, scale)


def broadcast(b: Builder, name: str, x: str, size: int, scale: Scale | None = None) -> str:
    """One element, `size` times, exactly if the scale stays."""
    return equal_rows(b, name, x, Fraction(1), 0.0, size, b.scale(x) if scale is None else scale)


def uniform(b: Builder, name: str, x: str, weight: Fraction, bias: float, scale: Scale) -> str:
    """weight * sum(x) + bias, one element, with one weight for all."""
    return equal_rows(b, name, x, weight, bias, 1, scale)


def equal_rows(
    b: Builder, name: str, x: str, weight: Fraction, bias: float, rows: int, scale: Scale
) -> str:
    """Equal rows of equal weights, as exact as integers can say it: to about 2^-20."""
    own, columns = b.scale(x), b.size(x)
    integer, multiplier, shift = _factor(name, weight * own.fraction / scale.fraction, own, scale)
    granted = scale.fraction * multiplier / (1 << shift)
    matrix = Matrix(
        np.full((rows, columns), integer, np.int8),
        np.full(rows, round(bias / float(granted)), np.int64),
        np.full(rows, multiplier, np.int32),
        np.full(rows, shift, np.int32),
    )
    b.tensor(name, rows, scale)
    b.meant(name, np.full((rows, columns), float(weight)), np.full(rows, bias))
    b.operators.append(Operator("linear", (x,), (name,), matrix))
    return name


def _factor(name: str, ratio: Fraction, own: Scale, scale: Scale) -> tuple[int, int, int]:
    """The integers w, m, k with w m / 2^k nearest to a ratio."""
    step = own.mantissa // math.gcd(own.mantissa, scale.mantissa)
    best: tuple[Fraction, int, int, int] | None = None
    for weight in range(64, 128):
        wanted = ratio / weight
        shift = 14 - math.floor(math.log2(float(wanted)))
        multiplier = round(wanted * (1 << shift) / step) * step if shift >= 0 else 0
        if 16384 <= multiplier <= 32767 and SHIFTS[0] <= shift <= SHIFTS[1]:
            error = abs(Fraction(weight * multiplier, 1 << shift) - ratio)
            if best is None or error < best[0]:
                best = (error, weight, multiplier, shift)
    if best is None:
        raise UnsupportedError(
            f"{name} rescales its input by {float(ratio):.3g}, which no integer product can do; "
            "normalise the model's input"
        )
    return best[1:]


def _finer(scale: Scale, passes: int) -> Scale:
    return Scale(scale.mantissa, scale.exponent - passes * (RANGE.bit_length() - 1))


def power_above(value: Fraction) -> Fraction:
    """The smallest power of two that is not less."""
    power = Fraction(2) ** math.floor(math.log2(float(value)))
    return power if power >= value else 2 * power


def even_above(value: float) -> Scale:
    """The smallest even power of two that is not less."""
    return Scale(1, 2 * math.ceil(math.log2(value) / 2))


def _root_scale(energy: Scale, reach: float) -> Scale:
    """The finest scale for 1 / sqrt of this scale that holds `reach` and has a gain."""
    exact = -15 - energy.exponent // 2
    gain = exact - covering_scale(reach).exponent
    return Scale(1, exact - min(max(gain, 0), MAX_GAIN))
