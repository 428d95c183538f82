"""The operators in float64, each of its roundings on or off for each of several runs at once.

Values are arrays (runs, streams, size) in units of their tensor's scale. With everything on, and
integers going in, an operator gives the integers of `edgernn.runtime.operators`: its roundings are
written here as floors of float64, which holds these numbers exactly. With everything off it is the
real function that it stands for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn.attribution.meaning import Function, Meaning
from edgernn.runtime import activation
from edgernn.runtime.fixedpoint import INT16_MAX, INT16_MIN, quantize_multiplier
from edgernn.runtime.functions import MAX_GAIN, rsqrt_gain
from edgernn.runtime.program import Operator, Tensor

Float64Array = NDArray[np.float64]
Bools = NDArray[np.bool_]
Step = Callable[..., Float64Array]
_SIGMOID: Final = activation.SIGMOID_TABLE.astype(np.float64)


class Choice:
    """One of two functions for each run: what most runs take is computed for all of them, and
    then the rest once more."""

    def __init__(self, on: Bools) -> None:
        self.most = bool(2 * np.count_nonzero(on) >= len(on))
        self.rest = np.flatnonzero(on != self.most)

    def __call__(self, on: Step, off: Step, *x: Float64Array) -> Float64Array:
        """on(*x) in the runs where it is on, off(*x) in the others; both return new arrays."""
        first, second = (on, off) if self.most else (off, on)
        y = first(*x)
        if len(self.rest):
            y[self.rest] = second(*(v[self.rest] for v in x))
        return y


def saturated(x: Float64Array) -> Float64Array:
    """Clamped to int16, in place."""
    np.clip(x, INT16_MIN, INT16_MAX, out=x)
    return x


def half_up(x: Float64Array) -> Float64Array:
    """To the nearest integer, halves up, saturated."""
    y = x + 0.5
    return saturated(np.floor(y, out=y))


def _half_down_below(x: Float64Array, v: Float64Array) -> Float64Array:
    """The rounding of a table's value: its own symmetry is about the input 0."""
    return saturated(np.where(x >= 0, np.floor(v + 0.5), np.ceil(v - 0.5)))


def _copy(x: Float64Array) -> Float64Array:
    y: Float64Array = x.copy()
    return y


def _divided(x: Float64Array, exponent: int) -> Float64Array:
    """`fixedpoint.rounding_divide_by_pot` of integers."""
    if exponent == 0:
        return x
    y = (x - (x < 0)) + 2.0 ** (exponent - 1)
    y *= 2.0**-exponent
    return np.floor(y, out=y)


def _multiplied(x: Float64Array, q: int, shift: int) -> Float64Array:
    """`fixedpoint.multiply_by_quantized_multiplier`."""
    y = x * (q * 2.0 ** (max(shift, 0) - 31)) + 0.5
    return _divided(np.floor(y, out=y), max(-shift, 0))


def linear(
    op: Operator, i: Tensor, o: Tensor, meaning: Meaning, weights: Bools, bias: Bools
) -> Step:
    """x W + b before rounding; the accumulator's unit is the integers', whatever is on."""
    m = op.matrix
    assert m is not None
    factor = m.multiplier * 2.0 ** -m.shift.astype(np.float64)
    integers, offset = m.weight.astype(np.float64), m.bias.astype(np.float64)
    row = factor * float(o.scale) / float(i.scale)
    unit = row * float(i.scale)
    real, real_offset = meaning.products.get(op.name, (integers * row[:, None], offset * unit))
    exact, wanted = np.ascontiguousarray((real / row[:, None]).T), real_offset / unit
    nearest = np.rint(wanted)
    # What a rounding strategy shifted the bias by belongs to the weights that it makes good.
    offsets = np.where(bias[:, None], nearest, wanted)
    offsets = (offsets + np.where(weights[:, None], offset - nearest, 0.0))[:, None, :]
    rounded, choice = np.ascontiguousarray(integers.T), Choice(weights)

    def times(w: Float64Array) -> Step:
        return lambda x: (x.reshape(-1, x.shape[-1]) @ w).reshape(*x.shape[:-1], w.shape[1])

    def step(x: Float64Array) -> Float64Array:
        y = choice(times(rounded), times(exact), x) + offsets
        y *= factor
        return y

    return step


def add(ins: tuple[Tensor, Tensor], o: Tensor, sign: int, on: Bools) -> Step:
    """a + sign * b with three scales."""
    choice, (a, b), out = Choice(on), (float(t.scale) for t in ins), float(o.scale)
    twice_max = 2.0 * max(a, b)
    shifts = [quantize_multiplier(s / twice_max) for s in (a, b)]
    result = quantize_multiplier(twice_max / (32768.0 * out))
    factors = [(q << 15) * 2.0 ** (shift - 31) for q, shift in shifts]
    whole = all(f == np.floor(f) for f in factors)

    def rounded(x: Float64Array, y: Float64Array) -> Float64Array:
        if whole:
            total = x * factors[0] + y * (sign * factors[1])
        else:
            first, second = (
                _multiplied(v * 32768.0, *s) for v, s in zip((x, y), shifts, strict=True)
            )
            total = first + sign * second
        return saturated(_multiplied(total, *result))

    def real(x: Float64Array, y: Float64Array) -> Float64Array:
        return x * (a / out) + y * (sign * b / out)

    return lambda x, y: choice(rounded, real, x, y)


def mul(on: Bools) -> Step:
    """a * b * 2^-15 with the two roundings of the int16 kernel."""
    choice = Choice(on)

    def rounded(x: Float64Array, y: Float64Array) -> Float64Array:
        t = x * y * 0.5 + 0.5
        return saturated(_divided(np.floor(t, out=t), 14))

    return lambda x, y: choice(rounded, lambda x, y: x * y * 2.0**-15, x, y)


def rescale(i: Tensor, o: Tensor, on: Bools) -> Step:
    """The same value in other units."""
    choice, ratio = Choice(on), float(i.scale) / float(o.scale)
    q, shift = quantize_multiplier(ratio)
    return lambda x: choice(lambda v: saturated(_multiplied(v, q, shift)), lambda v: v * ratio, x)


def activated(kind: str, i: Tensor, table: Bools, on: Bools) -> Step:
    """sigmoid or tanh."""
    multiplier, shift = activation.input_multiplier(float(i.scale))
    scale, factor = float(i.scale), multiplier * 2.0**-shift
    bits, beyond = (9, 65534.0) if kind == "logistic" else (8, 65535.0)
    by_table, by_rounding = Choice(table), Choice(on)

    def tabulated(x: Float64Array) -> Float64Array:
        at = np.floor(np.clip(x, INT16_MIN, INT16_MAX) * factor + 0.5)
        place = np.abs(at) * 2.0**-bits
        index = np.minimum(place.astype(np.int64), activation.LAST - 1)
        low = _SIGMOID[index]
        v = np.where(
            place >= activation.LAST, beyond, low + (place - index) * (_SIGMOID[index + 1] - low)
        )
        if kind == "logistic":
            return np.where(at >= 0, 0.5 * v, 32768.0 - 0.5 * v)
        return np.where(at >= 0, v - 32768.0, 32768.0 - v)

    def real(x: Float64Array) -> Float64Array:
        if kind == "logistic":
            return 16384.0 * (np.tanh(x * (0.5 * scale)) + 1.0)
        return 32768.0 * np.tanh(x * scale)

    return lambda x: by_rounding(
        _half_down_below, lambda x, v: v.copy(), x, by_table(tabulated, real, x)
    )


def looked_up(
    op: Operator, i: Tensor, o: Tensor, function: Function | None, table: Bools, on: Bools
) -> Step:
    """A function by its 513 points, or itself."""
    assert op.table is not None
    points, by_table, by_rounding = op.table.astype(np.float64), Choice(table), Choice(on)
    scale, unit = float(i.scale), float(o.scale)

    def tabulated(x: Float64Array) -> Float64Array:
        place = (np.clip(x, INT16_MIN, INT16_MAX) + 32768.0) * 2.0**-7
        index = place.astype(np.int64)
        low = points[index]
        y: Float64Array = low + (points[index + 1] - low) * (place - index)
        return y

    def real(x: Float64Array) -> Float64Array:
        return tabulated(x) if function is None else function(x * scale) / unit

    return lambda x: by_rounding(half_up, _copy, by_table(tabulated, real, x))


def rsqrt(i: Tensor, o: Tensor, on: Bools) -> Step:
    """1 / sqrt(x); x <= 0 counts as one unit."""
    choice, gain = Choice(on), rsqrt_gain(i.scale, o.scale)
    assert 0 <= gain <= MAX_GAIN
    numerator = 2.0 ** (15 + gain)

    def real(x: Float64Array) -> Float64Array:
        return numerator / np.sqrt(np.where(x > 0, x, 1.0))

    return lambda x: choice(lambda v: half_up(real(v)), real, x)


def embedding(op: Operator, o: Tensor, meaning: Meaning, weights: Bools) -> Step:
    """The row that an id says; ids are whole numbers in every run."""
    assert op.table is not None
    choice, rounded = Choice(weights), op.table.astype(np.float64)
    exact = meaning.embeddings.get(op.name, rounded * float(o.scale)) / float(o.scale)

    def rows(table: Float64Array) -> Step:
        def step(ids: Float64Array) -> Float64Array:
            index = np.clip(np.rint(ids[..., 0]), 0, len(table) - 1).astype(np.int64)
            chosen: Float64Array = table[index]
            return chosen

        return step

    return lambda ids: choice(rows(rounded), rows(exact), ids)
