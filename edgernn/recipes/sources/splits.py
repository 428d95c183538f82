"""Splits for data that come without: sequences by chance within each class, streams by time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgernn.runtime.errors import InputError

Rows = tuple[int, int]
NAMES = ("train", "val", "test")


def stratified(
    labels: NDArray[Any], parts: tuple[float, float, float], seed: int, where: str
) -> dict[str, list[int]]:
    """Places of the sequences of each split, every class in the same shares, at least one each.

    InputError for a class of less than three sequences.
    """
    generator = np.random.default_rng(seed)
    found: dict[str, list[int]] = {name: [] for name in NAMES}
    for value in np.unique(labels).tolist():
        places = np.flatnonzero(labels == value)
        if len(places) < len(NAMES):
            raise InputError(
                f"class {value!r} in {where} has {len(places)} sequence{'s' * (len(places) > 1)}; "
                f"train, val and test need one each"
            )
        generator.shuffle(places)
        val = max(1, round(parts[1] * len(places)))
        test = max(1, round(parts[2] * len(places)))
        while val + test >= len(places):
            val, test = (val - 1, test) if val >= test else (val, test - 1)
        for name, chosen in zip(NAMES, np.split(places, [-val - test, -test]), strict=True):
            found[name].extend(int(i) for i in chosen)
    return {name: sorted(places) for name, places in found.items()}


def by_time(rows: int, parts: tuple[float, float, float], where: str) -> dict[str, Rows]:
    """Split -> (first row, row behind the last) of a stream, train before val before test."""
    train = round(rows * parts[0])
    val = round(rows * (parts[0] + parts[1]))
    return at_rows(rows, train, val, where)


def at_rows(rows: int, train_end: int, val_end: int, where: str) -> dict[str, Rows]:
    """The same for given ends."""
    if not 0 < train_end < val_end < rows:
        raise InputError(
            f"{where}: train would end at row {train_end} and val at row {val_end} of {rows}; "
            f"each split needs rows"
        )
    return {"train": (0, train_end), "val": (train_end, val_end), "test": (val_end, rows)}


def checked(names: Sequence[str], where: str) -> list[str]:
    """The splits in the order of NAMES, further ones behind; InputError if one is missing."""
    for name in NAMES:
        if name not in names:
            raise InputError(
                f"{where} has the splits {', '.join(sorted(set(names)))}, but no {name}; "
                f"give all three, or none to have them made"
            )
    return [*NAMES, *sorted(set(names) - set(NAMES))]
