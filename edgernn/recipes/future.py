"""What a forecast is held against: the values that follow each step, or a label of the step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgernn.recipes.baselines import season
from edgernn.recipes.sources import Streams
from edgernn.recipes.sources.missing import held
from edgernn.training.base import Split

Array = NDArray[Any]
CONTEXT = 256
"""Rows before a validation or test part that are read unscored, as a device that has been running
would have."""


def inputs(streams: Streams) -> tuple[list[NDArray[np.float32]], int]:
    """What the network reads of each stream, (T, F), and F: values, a missing one as the last
    observed before it; and if train misses some, whether each was observed (1 or 0)."""
    scaled = streams.scaled()
    found = [held(x) for x in scaled]
    if streams.facts["missing"]:
        seen = [(~np.isnan(x)).astype(np.float32) for x in scaled]
        found = [np.concatenate(both, axis=1) for both in zip(found, seen, strict=True)]
    return found, found[0].shape[1]


def following(values: Array, horizon: int) -> NDArray[np.float32]:
    """(T, horizon * K): the values (T, K) of the next steps, NaN where there is none."""
    parts = []
    for ahead in range(1, horizon + 1):
        part = np.full(values.shape, np.nan, np.float32)
        part[:-ahead] = values[ahead:]
        parts.append(part)
    return np.concatenate(parts, axis=1)


def values_splits(
    streams: Streams, targets: int, horizon: int, periods: Sequence[int], lookback: int
) -> dict[str, Split]:
    """Splits with `x`, `target` (T, horizon * K), `counts`, `seasonal` and `unit` (horizon * K,).

    counts: which targets are observed and lie in the split. seasonal: the seasonal naive forecast,
    persistence where there is no season. unit: of a stream, to get from standardized values to
    those of the data.
    """
    x, _ = inputs(streams)
    known = [s[:, :targets] for s in streams.scaled()]
    arrays: dict[str, list[Array]] = {
        "x": x,
        "target": [following(s, horizon) for s in known],
        "seasonal": [season(held(s), p, horizon) for s, p in zip(known, periods, strict=True)],
    }
    splits = streams.cut(arrays, max(CONTEXT, lookback))
    for name, split in splits.items():
        counts, units, wanted = [], [], []
        for i, first, target in zip(
            split.arrays["stream"], split.arrays["first"], split.arrays["target"], strict=True
        ):
            stream = streams.streams[int(i)]
            start, stop = stream.parts[name]
            row = int(first) + np.arange(len(target))[:, None] + 1
            row = row + np.repeat(np.arange(horizon), targets)
            counts.append(~np.isnan(target) & (row >= start) & (row < stop))
            wanted.append(np.nan_to_num(target, nan=0.0))
            units.append(np.tile(streams.deviations(stream)[:targets], horizon).astype(np.float32))
        splits[name] = _made(split, wanted, counts, units)
    return splits


def label_splits(
    streams: Streams, labels: Sequence[Array], mean: float, std: float, lookback: int
) -> dict[str, Split]:
    """The same for one label of each step itself, (T,), standardized by mean and std."""
    x, _ = inputs(streams)
    wanted = [((label - mean) / std).astype(np.float32)[:, None] for label in labels]
    splits = streams.cut({"x": x, "target": wanted}, max(CONTEXT, lookback))
    for name, split in splits.items():
        counts = [s[:, None] for s in split.arrays["scored"]]
        units = [np.array([std], np.float32) for _ in counts]
        splits[name] = _made(split, list(split.arrays["target"]), counts, units)
    return splits


def _made(split: Split, target: list[Array], counts: list[Array], units: list[Array]) -> Split:
    arrays = {**split.arrays, "target": target, "counts": counts, "unit": units}
    return replace(split, arrays=arrays, steps=(*split.steps, "counts"))


def windows_of(split: Split, lookback: int) -> Split:
    """Windows of `lookback` steps, shorter where a stream begins, one for each step whose target
    counts; their targets are those of their last step."""
    found: dict[str, list[Array]] = {k: [] for k in split.arrays}
    for i, counts in enumerate(split.arrays["counts"]):
        for row in np.flatnonzero(counts.any(axis=1)).tolist():
            for key, values in split.arrays.items():
                if key in split.inputs:
                    found[key].append(values[i][max(row - lookback + 1, 0) : row + 1])
                else:
                    found[key].append(values[i][row] if key in split.steps else values[i])
    return Split(found, split.inputs, split.inputs)
