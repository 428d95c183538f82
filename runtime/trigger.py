"""From the class scores of a keyword spotter to events, in integers with the bits of the C.

Per frame, with logits q of all classes: a word's margin is q of the word less the largest other q,
within +-limit; it is positive for one class at most. The last `smoothing` margins of each word are
added up, those before the first frame being -limit. The word with the largest sum gives an event if
the sum reaches the level, no event was within `refractory` frames before, and the word's sum has
been below the level since its last event, if that was the last event.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgernn.runtime.errors import InputError
from edgernn.runtime.fixedpoint import Int64Array
from edgernn.runtime.program import Scale

KIND: Final = "trigger"
LONGEST: Final = 1000


@dataclass(frozen=True)
class TriggerSettings:
    """When class scores are an event.

    classes: names, in the order of the logits; the first one is the background, which gives no
    events. smoothing: frames over which margins are averaged. threshold: of the average, in units
    of the logits, from 0 to limit. refractory: frames without an event after one. limit: of the
    margin of a frame, so that one frame cannot outweigh many.

    Raises InputError for settings that are none.
    """

    classes: tuple[str, ...]
    smoothing: int
    threshold: float
    refractory: int
    limit: float = 4.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(map(str, self.classes)))
        if len(self.classes) < 2:
            raise InputError("a trigger has a background and a word at least")
        for name, least in (("smoothing", 1), ("refractory", 0)):
            value = getattr(self, name)
            if type(value) is not int or not least <= value <= LONGEST:
                raise InputError(
                    f"{name} of a trigger is {least} to {LONGEST} frames, not {value!r}"
                )
        if not (math.isfinite(self.limit) and self.limit > 0):
            raise InputError(f"limit of a trigger is a positive number, not {self.limit!r}")
        if not 0 <= self.threshold <= self.limit:
            raise InputError(
                f"threshold of a trigger is from 0 to its limit {self.limit:g}, "
                f"not {self.threshold!r}"
            )

    def as_json(self) -> dict[str, Any]:
        """For a JSON file; `from_json` reads it."""
        return {"kind": KIND} | asdict(self) | {"classes": list(self.classes)}

    @classmethod
    def from_json(cls, value: object) -> TriggerSettings:
        """What `as_json` gave. InputError for anything else, in one sentence."""
        known = {f.name for f in fields(cls)}
        if not isinstance(value, Mapping) or set(value) != known | {"kind"}:
            raise InputError(f"a trigger is an object with kind, {', '.join(sorted(known))}")
        found = {k: v for k, v in value.items() if k != "kind"}
        if value["kind"] != KIND or not isinstance(found["classes"], (list, tuple)):
            raise InputError(f'a trigger has "kind": "{KIND}" and a list of classes')
        for name in ("threshold", "limit"):
            if isinstance(found[name], bool) or not isinstance(found[name], (int, float)):
                raise InputError(f"{name} of a trigger is a number, not {found[name]!r}")
        return cls(**found)


@dataclass(frozen=True)
class Event:
    """A word that was heard. word: its index among the classes. frame: after which it was, from the
    first one. score: the average margin, in units of the logits."""

    word: int
    name: str
    frame: int
    score: float


class Trigger:
    """Follows a stream of logits, int16 of `scale`."""

    def __init__(self, settings: TriggerSettings, scale: Scale) -> None:
        self.settings = settings
        self.scale = scale
        self.limit, self.level = integer_limits(settings, scale)
        self.reset()

    def reset(self) -> None:
        """Before the first frame."""
        shape = (self.settings.smoothing, len(self.settings.classes) - 1)
        self._margins = np.full(shape, -self.limit, np.int64)
        self._scan = Scan(self.level, self.settings.refractory)

    def push(self, logits: NDArray[np.int16]) -> list[Event]:
        """The next frames' logits (k, classes) int16 -> the events in them."""
        s = self.settings
        if logits.dtype != np.int16 or logits.ndim != 2 or logits.shape[1] != len(s.classes):
            raise InputError(
                f"a trigger takes int16 (frames, {len(s.classes)}), not "
                f"{logits.dtype}{logits.shape}"
            )
        margins = np.concatenate([self._margins, margins_of(logits, self.limit)])
        self._margins = margins[len(margins) - s.smoothing :]
        unit = float(self.scale)
        return [
            Event(word + 1, s.classes[word + 1], frame, total * unit / s.smoothing)
            for word, frame, total in self._scan.push(smoothed(margins, s.smoothing)[1:])
        ]


def integer_limits(settings: TriggerSettings, scale: Scale) -> tuple[int, int]:
    """The limit of a margin, and the level that a sum must reach, in integers of `scale`."""
    unit = float(scale)
    limit = min(max(round(settings.limit / unit), 1), 32767)
    level = math.ceil(settings.threshold / unit * settings.smoothing)
    return limit, min(level, limit * settings.smoothing)


def margins_of(logits: NDArray[np.int16], limit: int) -> Int64Array:
    """Logits (k, classes) -> the margins of all classes but the first, (k, classes - 1)."""
    q = logits.astype(np.int64)
    best = q.argmax(axis=1)
    rows = np.arange(len(q))
    first = q[rows, best]
    others = q.copy()
    others[rows, best] = -(1 << 20)
    margins = q - first[:, None]
    margins[rows, best] = first - others.max(axis=1)
    return np.asarray(np.clip(margins[:, 1:], -limit, limit))


def smoothed(margins: Int64Array, length: int) -> Int64Array:
    """Margins (k, words) -> the sums of `length` successive ones, (k - length + 1, words)."""
    total = np.concatenate([np.zeros((1, margins.shape[1]), np.int64), margins.cumsum(axis=0)])
    sums: Int64Array = total[length:] - total[:-length]
    return sums


class Scan:
    """Which of a stream's sums are events."""

    def __init__(self, level: int, refractory: int) -> None:
        self._level, self._refractory = level, refractory
        self._frame = 0
        # The word of the last event as long as it has stayed above the level, and its frame.
        self._held, self._seen, self._event = -1, -1, -1 - refractory

    def push(self, sums: Int64Array) -> list[tuple[int, int, int]]:
        """Sums (k, words) -> (word, frame, sum) of each event."""
        found = []
        # Frames in which no word reaches the level only end what was held.
        for at in np.flatnonzero(sums.max(axis=1, initial=-(1 << 40)) >= self._level).tolist():
            frame, row = self._frame + at, sums[at]
            if frame != self._seen + 1 or row[self._held] < self._level:
                self._held = -1
            self._seen = frame
            word = int(row.argmax())
            if word != self._held and frame - self._event > self._refractory:
                self._held, self._event = word, frame
                found.append((word, frame, int(row[word])))
        self._frame += len(sums)
        return found
