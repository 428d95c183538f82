"""Drawing the next token from integer logits, in integers alone.

Engines that give the same logits give the same text: no step here depends on how a machine rounds
exp. Weights are powers of two by a table,

    k_i = ((q_max - q_i) * m) >> 16          m = round(scale / temperature * log2(e) * 2**32)
    w_i = (t[j] - (((t[j] - t[j + 1]) * (k_i & 255)) >> 8)) >> (k_i >> 16),   j = (k_i >> 8) & 255
    t[j] = floor(2**(30 - j / 256)),   j = 0 .. 256

so k_i is how far a logit is below the largest, in 1/65536 of a factor of two. With the next number
r < 2**64 of SplitMix64 (Steele, Lea and Flood 2014, Fast splittable pseudorandom number
generators), the token is the first one with w_0 + ... + w_i > (r * sum(w)) >> 64.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from math import isqrt
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgernn.runtime.errors import InputError

LOG2_E: Final = Fraction(1663314137230540311, 1 << 60)
"""log2(e), rounded to 60 bits."""
SMALLEST: Final = 0.01
_MASK: Final = (1 << 64) - 1
_BITS: Final = 30


class Sampler:
    """Draws tokens. scale: of the logits. temperature: what they are divided by; 0 takes the
    largest logit, of equal ones the first. seed: any whole number, its lowest 64 bits count.
    first: the smallest id that may be drawn; those below are marks.

    InputError for a temperature that is neither 0 nor from 0.01 to 100.
    """

    def __init__(
        self, scale: Fraction | float, temperature: float = 1.0, seed: int = 0, first: int = 0
    ) -> None:
        if temperature and not SMALLEST <= temperature <= 1 / SMALLEST:
            raise InputError(
                f"the temperature is 0, or from {SMALLEST} to {1 / SMALLEST:.0f}, not {temperature}"
            )
        self._state, self._first = seed & _MASK, first
        self._factor = 0
        if temperature:
            # As it is written: 0.7 is seven tenths.
            exact = Fraction(scale) / Fraction(repr(temperature)) * LOG2_E
            # Beyond that bound only the largest logit has a weight anyway, and k would overflow.
            self._factor = min(round(exact * (1 << 32)), 1 << 45)

    def weights(self, logits: NDArray[Any]) -> NDArray[np.int64]:
        """What each token's probability is proportional to, (V,) int64; logits: (V,) int16."""
        below = int(logits[self._first :].max()) - logits.astype(np.int64)
        below[: self._first] = 0
        if self._factor:
            k = (below * self._factor) >> 16
            table, j = _table(), (k >> 8) & 255
            weights = table[j] - (((table[j] - table[j + 1]) * (k & 255)) >> 8)
            weights >>= np.minimum(k >> 16, _BITS + 1)
        else:
            weights = np.zeros_like(below)
            weights[self._first + int(below[self._first :].argmin())] = 1
        weights[: self._first] = 0
        result: NDArray[np.int64] = weights
        return result

    def draw(self, logits: NDArray[Any]) -> int:
        """The next token's id; logits: (V,) int16."""
        sums = np.cumsum(self.weights(logits))
        at = (self._random() * int(sums[-1])) >> 64
        return int(np.searchsorted(sums, at, side="right"))

    def _random(self) -> int:
        self._state = (self._state + 0x9E3779B97F4A7C15) & _MASK
        z = self._state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
        return z ^ (z >> 31)


@cache
def _table() -> NDArray[np.int64]:
    """t; the 256th root as eight square roots, whose floors are the floor of the whole."""
    roots = []
    for j in range(257):
        value = 1 << (_BITS * 256 - j)
        for _ in range(8):
            value = isqrt(value)
        roots.append(value)
    return np.array(roots, np.int64)
