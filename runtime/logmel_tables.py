"""The integer constants of a log-mel front end, for NumPy and for C alike."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Final

import numpy as np

from edgernn.runtime.errors import InputError
from edgernn.runtime.fixedpoint import Int64Array
from edgernn.runtime.logmel_settings import LogMelSettings
from edgernn.runtime.program import Scale

LOG2_BITS: Final = 16
"""Logarithms have so many bits behind the point."""
SEGMENTS: Final = 128
"""Pieces of the logarithm's table."""
ROOM: Final = 7
"""A logarithm is shifted left by so much before its multiplication, which drops 16 bits."""


@dataclass(frozen=True, eq=False)
class LogMelTables:
    """Integers, all of them int64 arrays here; C keeps them as small as their ranges allow.

    window: (frame // 2 + 1,), Q15, 0 .. 32768; sample n > frame / 2 has the weight of frame - n.
    cosines: (fft / 4 + 1,), Q15, of 2 pi i / fft; the first is 1.0, 32768, the others fit
        int16.
    first, count: (bands,), the bins of a band. weights: (sum of count,), Q16, 0 .. 65535.
    logarithms: (129,), log2(1 + i / 128) with LOG2_BITS.
    floor: the smallest logarithm of a band's power.
    multiplier 2^14 .. 2^15 - 1, offset, shift 1 .. 20: (bands,), a logarithm to a feature.
    """

    window: Int64Array
    cosines: Int64Array
    first: Int64Array
    count: Int64Array
    weights: Int64Array
    logarithms: Int64Array
    floor: int
    multiplier: Int64Array
    offset: Int64Array
    shift: Int64Array

    def __post_init__(self) -> None:
        # Shared by all front ends alike.
        for f in fields(self):
            if isinstance(getattr(self, f.name), np.ndarray):
                getattr(self, f.name).setflags(write=False)


@lru_cache(maxsize=16)
def logmel_tables(settings: LogMelSettings, scale: Scale) -> LogMelTables:
    """The constants for features that are integers of `scale`.

    InputError for features that int16 arithmetic cannot give at that scale.
    """
    half = np.arange(settings.frame // 2 + 1) / settings.frame
    window = _rounded(0.5 - 0.5 * np.cos(2 * np.pi * half), 15)
    turns = np.arange(settings.fft // 4 + 1) / settings.fft
    cosines = _rounded(np.cos(2 * np.pi * turns), 15)
    # Those next to 1.0 must fit int16; 1.0 itself is a shift.
    cosines[1:] = np.minimum(cosines[1:], 32767)
    weights = np.minimum(_rounded(settings.filterbank.astype(np.float64), 16), 65535)
    first, count = [], []
    for row in weights:
        heard = np.flatnonzero(row)
        first.append(int(heard[0]))
        count.append(int(heard[-1]) + 1 - int(heard[0]))
    kept = [row[f : f + n] for row, f, n in zip(weights, first, count, strict=True)]
    multiplier, offset, shift = _features(settings, scale)
    return LogMelTables(
        window=window,
        cosines=cosines,
        first=np.array(first, np.int64),
        count=np.array(count, np.int64),
        weights=np.concatenate(kept),
        logarithms=_rounded(np.log2(1 + np.arange(SEGMENTS + 1) / SEGMENTS), LOG2_BITS),
        floor=round(math.log2(settings.floor) * (1 << LOG2_BITS)),
        multiplier=multiplier,
        offset=offset,
        shift=shift,
    )


def _features(settings: LogMelSettings, scale: Scale) -> tuple[Int64Array, Int64Array, Int64Array]:
    """feature = (ln 2 * log2 - mean) / std / scale as (log2 * multiplier + offset) >> shift."""
    unit = float(scale)
    rows = []
    for band in range(settings.bands):
        mean = settings.mean[band] if settings.mean else 0.0
        std = settings.std[band] if settings.std else 1.0
        factor, constant = math.log(2.0) / (std * unit), -mean / (std * unit)
        # factor * 2^(shift - ROOM) is the multiplier, of 15 bits.
        shift = 15 + ROOM - math.frexp(factor)[1]
        multiplier = min(round(factor * 2.0 ** (shift - ROOM)), 32767)
        offset = round(constant * 2.0**shift) + (1 << max(0, shift - 1))
        if not 1 <= shift <= 20 or abs(offset) >= 1 << 30:
            raise InputError(
                f"features of scale {scale} do not suit band {band}, with mean {mean:g} and "
                f"std {std:g}; they should come to within about 16, in integers of 2^-11"
            )
        rows.append((multiplier, offset, shift))
    multiplier, offset, shift = np.array(rows, np.int64).T
    return multiplier, offset, shift


def _rounded(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]], bits: int) -> Int64Array:
    return np.rint(values * (1 << bits)).astype(np.int64)
