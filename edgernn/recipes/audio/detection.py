"""How well words are found in a stream, and the trigger that finds them best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn.runtime.program import Scale
from edgernn.runtime.trigger import (
    Event,
    Scan,
    Trigger,
    TriggerSettings,
    integer_limits,
    margins_of,
    smoothed,
)
from edgernn.training.base import Scores

LOGITS: Final = Scale(1, -10)
"""Of float logits that a trigger is to read."""
LATE: Final = 0.5
"""Seconds after its end up to which a word counts as found."""
SMOOTHING: Final = (0.05, 0.1, 0.2, 0.3, 0.4)
THRESHOLDS: Final = tuple(np.linspace(0.02, 0.98, 33).tolist())
REFRACTORY: Final = 0.3
LIMIT: Final = 4.0


@dataclass(frozen=True)
class Truth:
    """The words of a stream: first frame, frame after the last one, and class of each, (K,)."""

    first: NDArray[np.int64]
    end: NDArray[np.int64]
    word: NDArray[np.int64]
    frames: int

    @classmethod
    def of(cls, inside: NDArray[np.int64], classes: NDArray[np.int64]) -> Truth:
        """From what `spans` gave, and the class of each word, from 1."""
        numbers = np.arange(1, len(classes) + 1)
        first = np.array([int((inside == n).argmax()) for n in numbers], np.int64)
        sizes = np.array([int((inside == n).sum()) for n in numbers], np.int64)
        return cls(first, first + sizes, classes, len(inside))


@dataclass(frozen=True)
class Found:
    """Words found, words missed, events for no word, and how many frames after its end each was."""

    hits: int
    misses: int
    false_alarms: int
    delays: tuple[int, ...]


def integers(logits: NDArray[np.float32]) -> NDArray[np.int16]:
    """Float logits as a trigger reads them, in integers of LOGITS."""
    scaled = np.rint(logits / float(LOGITS))
    return np.asarray(np.clip(scaled, -32768, 32767), np.int16)


def matched(events: Sequence[tuple[int, int]], truth: Truth, late: int) -> Found:
    """Events (class, frame) against the words: an event is a hit if it is of the class of a word
    that began, that ended no more than `late` frames ago, and that was not found before."""
    open_words = [True] * len(truth.word)
    delays, false_alarms = [], 0
    for word, frame in events:
        near = (truth.first <= frame) & (frame < truth.end + late) & (truth.word == word)
        which = [i for i in np.flatnonzero(near).tolist() if open_words[i]]
        if not which:
            false_alarms += 1
            continue
        open_words[which[0]] = False
        delays.append(frame - int(truth.end[which[0]]) + 1)
    hits = len(delays)
    return Found(hits, len(truth.word) - hits, false_alarms, tuple(delays))


def tuned(
    logits: Sequence[NDArray[np.int16]],
    truths: Sequence[Truth],
    classes: Sequence[str],
    rate: float,
    allowed: float,
) -> TriggerSettings:
    """The trigger that finds most words of streams with at most `allowed` false alarms an hour;
    the one with fewest if all have more. rate: frames a second."""
    hours = sum(t.frames for t in truths) / rate / 3600
    refractory, late = round(REFRACTORY * rate), round(LATE * rate)
    best: tuple[tuple[int, int, int, int], TriggerSettings] | None = None
    for length in sorted({max(1, round(s * rate)) for s in SMOOTHING}):
        rows: list[tuple[tuple[int, int], TriggerSettings]] = []
        settings = TriggerSettings(tuple(classes), length, 0.0, refractory, LIMIT)
        limit, _ = integer_limits(settings, LOGITS)
        sums = []
        for q in logits:
            before = np.full((length, len(classes) - 1), -limit, np.int64)
            sums.append(smoothed(np.concatenate([before, margins_of(q, limit)]), length)[1:])
        for share in THRESHOLDS:
            settings = TriggerSettings(
                tuple(classes), length, round(share * LIMIT, 3), refractory, LIMIT
            )
            _, level = integer_limits(settings, LOGITS)
            found = [
                matched([(w + 1, f) for w, f, _ in Scan(level, refractory).push(s)], t, late)
                for s, t in zip(sums, truths, strict=True)
            ]
            alarms, misses = (
                sum(v) for v in zip(*((f.false_alarms, f.misses) for f in found), strict=True)
            )
            rows.append(((max(0, alarms - int(allowed * hours)), misses), settings))
        least = min(row[0] for row in rows)
        # The middle of those that are equally good: the other streams are not the same.
        equal = [settings for cost, settings in rows if cost == least]
        key = (*least, -len(equal), length)
        if best is None or key < best[0]:
            best = key, equal[len(equal) // 2]
    assert best is not None
    return best[1]


def stream_scores(
    logits: Sequence[NDArray[np.int16]],
    truths: Sequence[Truth],
    settings: TriggerSettings,
    rate: float,
) -> Scores:
    """Hits, misses and false alarms of a trigger on streams. delay_ms: the median time from a
    word's end to its event."""
    late = round(LATE * rate)
    found = []
    for q, truth in zip(logits, truths, strict=True):
        events: list[Event] = Trigger(settings, LOGITS).push(q)
        found.append(matched([(e.word, e.frame) for e in events], truth, late))
    words = sum(f.hits + f.misses for f in found)
    hits = sum(f.hits for f in found)
    alarms = sum(f.false_alarms for f in found)
    hours = sum(t.frames for t in truths) / rate / 3600
    delays = [d for f in found for d in f.delays]
    return {
        "accuracy": hits / words if words else 0.0,
        "words": float(words),
        "hits": float(hits),
        "misses": float(words - hits),
        "false_alarms": float(alarms),
        "false_alarms_per_hour": alarms / hours,
        "delay_ms": 1000 * float(np.median(delays)) / rate if delays else 0.0,
        "seconds": hours * 3600,
        "threshold": settings.threshold,
        "smoothing": float(settings.smoothing),
        "refractory": float(settings.refractory),
        "limit": settings.limit,
    }


def trigger_of(classes: Sequence[str], scores: Scores) -> TriggerSettings:
    """The trigger that the scores of a stream were made with."""
    return TriggerSettings(
        tuple(classes),
        int(scores["smoothing"]),
        scores["threshold"],
        int(scores["refractory"]),
        scores["limit"],
    )
