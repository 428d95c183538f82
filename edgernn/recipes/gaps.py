"""Artificial gaps: what is hidden from a network that learns to fill in missing values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgernn.recipes.sources.missing import held

Array = NDArray[Any]
FILLS: Final = ("linear", "hold", "zero")
SINGLES: Final = 0.1
BLOCKS: Final = 0.1
"""Shares of the values that are hidden one by one, and in blocks of one column."""


def random_gaps(
    shape: tuple[int, int], block: int, generator: np.random.Generator, varied: bool = False
) -> NDArray[np.bool_]:
    """What to hide of (T, F) values: single ones, and blocks of `block` steps of one column.

    varied: blocks of 1 to 2 * block steps, so that a network meets all of them.
    """
    steps, columns = shape
    hidden = generator.random(shape) < SINGLES
    for column in range(columns):
        left = generator.binomial(steps, BLOCKS)
        while left > 0:
            length = int(generator.integers(1, 2 * block + 1)) if varied else block
            length = min(length, steps, max(left, 1))
            start = int(generator.integers(steps - length + 1))
            hidden[start : start + length, column] = True
            left -= length
    return hidden


def with_gaps(
    values: Array, hidden: Array, fill: str, time: Array | None = None
) -> NDArray[np.float32]:
    """What the network reads, (T, 2 F): values (T, F) with gaps filled in; then 1 where they are
    there, 0 where they are missing or hidden.

    fill: `zero`, the mean; `hold`, the last value; `linear`, between the values around.
    """
    seen = ~np.isnan(values) & ~hidden
    visible = np.where(seen, values, np.float32(np.nan))
    if fill == "zero":
        filled = np.nan_to_num(visible, nan=0.0)
    else:
        filled = held(visible) if fill == "hold" else interpolated(visible, time)
    return np.concatenate([filled, seen], axis=1).astype(np.float32)


def interpolated(values: Array, time: Array | None) -> NDArray[np.float32]:
    """values (T, F) with NaN filled in linearly between neighbours in time; 0, the mean, in a
    column without any."""
    axis = np.arange(len(values)) if time is None else time
    found = np.zeros(values.shape, np.float32)
    for column, filled in zip(values.T, found.T, strict=True):
        seen = ~np.isnan(column)
        if seen.any():
            filled[:] = np.interp(axis, axis[seen], column[seen])
    return found


def windows(length: int, span: int, margin: int) -> list[tuple[int, int, int, int]]:
    """(begin, end, first, last) of windows of `span` steps over `length`: of each the steps from
    first to before last are scored, every step once, with `margin` steps around where there are."""
    if length <= span:
        return [(0, length, 0, length)]
    hop = span - 2 * margin
    found = []
    done = 0
    begin = 0
    while done < length:
        begin = min(begin, length - span)
        last = length if begin + span >= length else begin + span - margin
        found.append((begin, begin + span, done, last))
        done, begin = last, begin + hop
    return found


def crops(
    lengths: Sequence[int], span: int, count: int, generator: np.random.Generator
) -> list[tuple[int, int, int]]:
    """(series, begin, end) of random windows, each step of each series as likely as any other."""
    share = np.asarray(lengths, np.float64) / sum(lengths)
    found = []
    for i in generator.choice(len(lengths), count, p=share).tolist():
        begin = int(generator.integers(max(lengths[i] - span, 0) + 1))
        found.append((i, begin, min(begin + span, lengths[i])))
    return found
