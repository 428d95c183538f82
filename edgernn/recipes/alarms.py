"""From errors of a forecast to alarms: smoothing, threshold, and what alarms are worth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
DAY: Final = 86400.0
ROWS: Final = 1000.0
_STEPS: Final = 200
"""Thresholds that are tried, between quantiles of the normal error."""


def smoothed(errors: Array, steps: int) -> NDArray[np.float64]:
    """The mean of the last `steps` values of (T,), of fewer at the start."""
    total = np.cumsum(np.concatenate([[0.0], errors.astype(np.float64)]))
    ends = np.arange(1, len(errors) + 1)
    begins = np.maximum(ends - steps, 0)
    result: NDArray[np.float64] = (total[ends] - total[begins]) / (ends - begins)
    return result


def episodes(alarm: Array, steps: int) -> NDArray[np.int64]:
    """Where an alarm begins, in (T,) bool; one that is interrupted for less than `steps` steps goes
    on."""
    places = np.flatnonzero(alarm)
    if not len(places):
        return places
    begins: NDArray[np.int64] = places[np.concatenate([[True], np.diff(places) > steps])]
    return begins


def threshold(
    errors: Sequence[Array], normal: Sequence[Array], days: float, wanted: float, steps: int
) -> float:
    """The smallest threshold of smoothed errors that gives no more than `wanted` alarms a day over
    normal rows, of which there are so many days."""
    everything = np.concatenate([e[n] for e, n in zip(errors, normal, strict=True)])
    allowed = int(wanted * days)
    highest = float(everything.max())
    if not allowed:
        return highest
    shares = 1 - np.geomspace(0.5, 1 / len(everything), _STEPS)
    for level in np.quantile(everything, shares):
        count = sum(
            len(episodes((e > level) & n, steps)) for e, n in zip(errors, normal, strict=True)
        )
        if count <= allowed:
            return float(level)
    return highest


def events(labels: Array) -> list[tuple[int, int]]:
    """(first row, row behind the last) of each run of true in (T,)."""
    edges = np.diff(np.concatenate([[0], labels.astype(np.int8), [0]]))
    starts, stops = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return [(int(a), int(b)) for a, b in zip(starts, stops, strict=True)]


def alarm_scores(
    errors: Sequence[Array],
    labels: Sequence[Array],
    scored: Sequence[Array],
    times: Sequence[Array],
    level: float,
    steps: int,
    timed: bool = True,
) -> dict[str, float]:
    """Of smoothed errors (T,) of several streams: events, the share `found`, the median `delay` of
    those in the unit of the times, and alarms that begin outside of events, `false_alarms_a_day`;
    of rows without a time `false_alarms_per_1000`.
    """
    found, delays, false, total, normal = 0, [], 0, 0, 0.0
    for error, label, counts, time in zip(errors, labels, scored, times, strict=True):
        alarm = (error > level) & counts
        marked = label.astype(bool) & counts
        for first, behind in events(marked):
            total += 1
            hits = np.flatnonzero(alarm[first:behind])
            if len(hits):
                found += 1
                delays.append(float(time[first + hits[0]] - time[first]))
        false += sum(1 for row in episodes(alarm, steps) if not marked[row])
        step = float(np.median(np.diff(time))) if len(time) > 1 else 1.0
        normal += float((counts & ~marked).sum()) * step
    scores = {"events": float(total)}
    if total:
        scores["found"] = found / total
    if delays:
        scores["delay"] = float(np.median(delays))
    name, unit = ("false_alarms_a_day", DAY) if timed else ("false_alarms_per_1000", ROWS)
    scores[name] = false / (normal / unit) if normal else 0.0
    return scores
