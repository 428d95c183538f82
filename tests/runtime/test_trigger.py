"""Events from class scores."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray

from edgernn.runtime.errors import InputError
from edgernn.runtime.program import Scale
from edgernn.runtime.trigger import Event, Trigger, TriggerSettings

UNIT = Scale(1, -10)
SETTINGS = TriggerSettings(("", "yes", "no"), smoothing=4, threshold=1.0, refractory=10)


def step_by_step(logits: NDArray[np.int16], s: TriggerSettings, scale: Scale) -> list[Event]:
    """The rules once more, one frame and one word at a time."""
    unit = float(scale)
    limit = min(max(round(s.limit / unit), 1), 32767)
    words = range(1, len(s.classes))
    history = {w: [-limit] * s.smoothing for w in words}
    held, last, found = 0, None, []
    for frame, row in enumerate(logits.astype(int).tolist()):
        for w in words:
            margin = row[w] - max(q for i, q in enumerate(row) if i != w)
            history[w] = [*history[w][1:], max(-limit, min(limit, margin))]
        total = {w: sum(history[w]) for w in words}
        reached = {w for w in words if total[w] * unit >= s.threshold * s.smoothing - 1e-9}
        if held not in reached:
            held = 0
        word = max(words, key=lambda w: total[w])
        rested = last is None or frame - last > s.refractory
        if word in reached and word != held and rested:
            held, last = word, frame
            found.append(Event(word, s.classes[word], frame, total[word] * unit / s.smoothing))
    return found


def noisy(seed: int, frames: int, classes: int) -> NDArray[np.int16]:
    """Logits in which classes come and go."""
    rng = np.random.default_rng(seed)
    q = rng.normal(0, rng.choice([100, 1500, 9000]), (frames, classes))
    lengths = rng.integers(1, 30, frames)
    spoken = np.repeat(rng.integers(0, classes, frames), lengths)[:frames]
    q[np.arange(frames), spoken] += rng.choice([500, 3000, 20000])
    return np.clip(np.rint(q), -32768, 32767).astype(np.int16)


@given(st.data())
@settings(deadline=None, max_examples=80)
def test_events_are_those_of_the_rules_however_the_stream_is_cut(data: st.DataObject) -> None:
    classes = data.draw(st.integers(2, 5))
    s = TriggerSettings(
        tuple("abcde"[:classes]),
        smoothing=data.draw(st.integers(1, 12)),
        threshold=data.draw(st.sampled_from([0.0, 0.25, 1.0, 3.5, 4.0])),
        refractory=data.draw(st.integers(0, 25)),
    )
    logits = noisy(data.draw(st.integers(0, 10**6)), data.draw(st.integers(0, 250)), classes)
    trigger, found, at = Trigger(s, UNIT), [], 0
    while at < len(logits):
        count = data.draw(st.integers(1, 90))
        found += trigger.push(logits[at : at + count])
        at += count
    assert found == step_by_step(logits, s, UNIT)


def test_there_is_one_event_for_a_word_however_long_it_lasts() -> None:
    logits = np.zeros((200, 3), np.int16)
    logits[:, 0] = 3000
    logits[20:120, 1] = 9000
    logits[150:170, 2] = 9000
    found = Trigger(SETTINGS, UNIT).push(logits)
    assert [(e.name, 20 <= e.frame < 26) for e in found[:1]] == [("yes", True)]
    assert [e.name for e in found] == ["yes", "no"]


def test_a_reset_forgets() -> None:
    trigger = Trigger(SETTINGS, UNIT)
    logits = noisy(3, 300, 3)
    first = trigger.push(logits)
    trigger.reset()
    assert trigger.push(logits) == first != []


def test_json_brings_back_the_same_settings() -> None:
    assert TriggerSettings.from_json(SETTINGS.as_json()) == SETTINGS


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"classes": ("one",)}, "a background and a word"),
        ({"smoothing": 0}, "1 to 1000 frames, not 0"),
        ({"smoothing": 5000}, "1 to 1000 frames"),
        ({"smoothing": 2.5}, "1 to 1000 frames, not 2.5"),
        ({"refractory": -1}, "0 to 1000 frames"),
        ({"threshold": 5.0}, "from 0 to its limit 4"),
        ({"limit": 0.0}, "positive number"),
    ],
)
def test_settings_that_are_none_are_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        replace(SETTINGS, **change)


@pytest.mark.parametrize("value", [None, {}, SETTINGS.as_json() | {"more": 1}, {"kind": "x"}])
def test_json_that_is_none_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match="a trigger is an object"):
        TriggerSettings.from_json(value)


def test_logits_of_other_kinds_are_refused() -> None:
    with pytest.raises(InputError, match=r"int16 \(frames, 3\), not float64"):
        Trigger(SETTINGS, UNIT).push(np.zeros((4, 3)))  # type: ignore[arg-type]
