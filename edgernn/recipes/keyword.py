"""`edgernn train keyword`: spoken words in a stream of audio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from edgernn.recipes.audio.composing import (
    BACKGROUND,
    JUDGING,
    LEARNING,
    TUNING,
    Habits,
    compose,
    features,
    labels,
    masked,
    spans,
)
from edgernn.recipes.audio.detection import (
    Truth,
    integers,
    stream_scores,
    trigger_of,
    tuned,
)
from edgernn.recipes.audio.dividing import divided
from edgernn.recipes.audio.generated import generated_words
from edgernn.recipes.audio.recordings import (
    Recording,
    Recordings,
    Stream,
    joined,
    read_recordings,
)
from edgernn.recipes.scores import class_scores
from edgernn.runtime.errors import InputError
from edgernn.runtime.logmel import FloatLogMel
from edgernn.runtime.logmel_settings import LogMelSettings
from edgernn.runtime.program import Program
from edgernn.runtime.spotter import Spotter
from edgernn.runtime.window import Window
from edgernn.training.base import SPLITS, Dataset, Layers, Outputs, Recipe, Scores, Settings, Split
from edgernn.training.cells import parse
from edgernn.training.losses import cross_entropy
from edgernn.training.network import SequenceNetwork

WORDS_PER_STREAM: Final = 2
"""At most."""
STREAM: Final = "stream"
MAX_HEARD: Final = 7600.0
ANSWER: Final = 8
"""Frames over which the answer for a single recording is averaged, at most."""


@dataclass(frozen=True)
class Spoken(Split):
    """Streams, and what others are composed of in each epoch."""

    source: Recordings | None = None
    front: LogMelSettings | None = None


class Keyword(Recipe):
    """A class for every frame of a stream: the background, or the word that was just said. Scored
    by the accuracy over words said alone, and by hits and false alarms in streams."""

    name: ClassVar[str] = "keyword"
    headline: ClassVar[str] = "accuracy"
    settings: ClassVar[Settings] = Settings(epochs=40, batch_size=8, learning_rate=8e-3)
    layers: ClassVar[Layers] = Layers(hidden=48)

    def read(self, source: str | None, options: Mapping[str, Any], seed: int) -> Dataset:
        """Recordings of words; the demonstration's are generated."""
        allowed = float(_given(options, "false_alarms", 20.0))
        if not 0 <= allowed < float("inf"):
            raise InputError(f"--false-alarms is 0 or more an hour, not {allowed:g}")
        found = generated_words(0) if source is None else read_recordings(Path(source))
        if options.get("test"):
            found = joined(found, _read_test(str(options["test"])), "test")
        parts, how = divided(found, seed)
        front = front_end(found, options)
        train = replace(found, recordings=tuple(parts["train"]))
        streams = compose_all(train, np.random.default_rng((seed, 3)))
        means = [FloatLogMel(front).features(s.audio) for s in streams]
        whole = np.concatenate(means)
        front = front.standardized(whole.mean(axis=0), np.maximum(whole.std(axis=0), 1e-3))
        splits: dict[str, Split] = {"train": learning_split(streams, train, front)}
        for name in (*SPLITS[1:], *(n for n in parts if n not in SPLITS)):
            splits[name] = single_split(parts[name], found, front, seed)
        tests = list(found.streams)
        rng = np.random.default_rng((seed, 4))
        if not tests:
            tests = [_composed(parts["test"], found, JUDGING, rng, "test")]
        tunes = [_composed(parts["val"], found, TUNING, rng, "val") for _ in range(2)]
        splits[STREAM] = stream_split(tunes, tests, front)
        classes = [BACKGROUND, *found.words]
        facts = {
            "features": [front.bands],
            "tokens": 0,
            "classes": classes,
            "front_end": front.as_json(),
            "false_alarms": allowed,
            "stream": ", ".join(s.name + (" (composed)" if s.composed else "") for s in tests),
            **found.facts,
        }
        return Dataset(splits, facts, found.name, how)

    def network(self, facts: Mapping[str, Any], layers: Layers) -> nn.Module:
        """A SequenceNetwork that answers at every step."""
        if parse(layers.cell).both:
            raise InputError(
                f"a spotter hears a stream whose end never comes, and {layers.cell} reads from "
                "there; take a cell of one direction"
            )
        return SequenceNetwork(facts["features"][0], len(facts["classes"]), layers, "steps")

    def loss(self, outputs: tuple[Tensor, ...], batch: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy over the frames that have a label."""
        return cross_entropy(outputs[0], batch["y"])

    def augment(self, split: Split, generator: np.random.Generator) -> Split:
        """Other streams of the same words."""
        if not isinstance(split, Spoken) or split.source is None or split.front is None:
            return split
        streams = compose_all(split.source, generator)
        learnt = learning_split(streams, split.source, split.front)
        x = [masked(v, generator) for v in learnt.arrays["x"]]
        return replace(learnt, arrays={**learnt.arrays, "x": x})

    def score(self, outputs: Outputs, split: Split, facts: Mapping[str, Any]) -> Scores:
        """Of words said alone, or of a stream: its trigger is tuned on the streams that say so."""
        classes = facts["classes"]
        if "tunes" not in split.arrays:
            answers = np.stack([answer(output[0]) for output in outputs])
            wanted = np.array(split.arrays["word"]) - 1
            return class_scores(answers, wanted, classes[1:])
        front = LogMelSettings.from_json(facts["front_end"])
        logits = [integers(output[0]) for output in outputs]
        truths = [
            Truth.of(inside, words[words > 0])
            for inside, words in zip(split.arrays["inside"], split.arrays["words"], strict=True)
        ]
        tunes = np.array(split.arrays["tunes"], bool)
        mine, rest = np.flatnonzero(tunes).tolist(), np.flatnonzero(~tunes).tolist()
        trigger = tuned(
            [logits[i] for i in mine],
            [truths[i] for i in mine],
            classes,
            front.rate,
            facts["false_alarms"],
        )
        return stream_scores(
            [logits[i] for i in rest], [truths[i] for i in rest], trigger, front.rate
        )

    def card(self, facts: Mapping[str, Any]) -> list[str]:
        """The front end, and what the stream is."""
        s = LogMelSettings.from_json(facts["front_end"])
        return [
            f"Front end: {s.bands} mel bands from {s.low:g} to {s.high:g} Hz, frames of {s.frame} "
            f"samples every {s.hop}, {s.sample_rate:,} samples a second; integers, as on the "
            "device.",
            f"Stream: {facts['stream']}. The trigger was tuned on streams composed of validation "
            f"words, for at most {facts['false_alarms']:g} false alarms an hour there.",
        ]

    def application(self, facts: Mapping[str, Any], scores: Mapping[str, Scores]) -> dict[str, Any]:
        """The front end, and the trigger as it was tuned for the integer program."""
        trigger = trigger_of(facts["classes"], scores[STREAM])
        return {"front_end": facts["front_end"], "trigger": trigger.as_json()}

    def device_files(
        self,
        facts: Mapping[str, Any],
        scores: Mapping[str, Scores],
        program: Program | Window,
        name: str,
    ) -> dict[str, bytes]:
        """Front end and trigger in C, in the scales of the program."""
        from edgernn.exporters.c.logmel import to_c_logmel
        from edgernn.exporters.c.trigger import to_c_trigger

        assert isinstance(program, Program)
        front = LogMelSettings.from_json(facts["front_end"])
        spotter = Spotter(program, front, trigger_of(facts["classes"], scores[STREAM]))
        return to_c_logmel(front, name, spotter.front.scale) | to_c_trigger(
            spotter.trigger.settings, name, spotter.trigger.scale
        )


def front_end(found: Recordings, options: Mapping[str, Any]) -> LogMelSettings:
    """32 ms every 16 ms, or as the options say."""
    rate = found.rate
    frame, hop = (
        round(float(_given(options, name, default)) / 1000 * rate)
        for name, default in (("frame", 32.0), ("hop", 16.0))
    )
    high = min(0.4875 * rate, MAX_HEARD)
    return LogMelSettings(rate, frame, hop, int(_given(options, "bands", 24)), 80.0, high)


def compose_all(source: Recordings, generator: np.random.Generator) -> list[Stream]:
    """Every recording once, a few in each stream."""
    order = generator.permutation(len(source.recordings)).tolist()
    groups = []
    while order:
        count = int(generator.integers(1, WORDS_PER_STREAM + 1))
        groups.append(order[:count])
        del order[:count]
    return [
        compose([source.recordings[i] for i in group], source, LEARNING, generator, source.name)
        for group in groups
    ]


def learning_split(streams: Sequence[Stream], source: Recordings, front: LogMelSettings) -> Spoken:
    """Streams with a label for each frame."""
    x = [features(s, front) for s in streams]
    y = [labels(s, front) for s in streams]
    return Spoken({"x": x, "y": y}, ("x",), ("x", "y"), source, front)


def single_split(
    recordings: Sequence[Recording], source: Recordings, front: LogMelSettings, seed: int
) -> Split:
    """Words said alone, with a little background before and after."""
    habits = Habits((0.25, 0.25), (2.0, 16.0), False, 0.0)
    streams = [
        compose([r], source, habits, np.random.default_rng((seed, 6, i)), r.name)
        for i, r in enumerate(recordings)
    ]
    x = [features(s, front) for s in streams]
    y = [labels(s, front) for s in streams]
    words = [np.int64(r.word + 1) for r in recordings]
    return Split({"x": x, "y": y, "word": words}, ("x",), ("x", "y"))


def stream_split(tunes: Sequence[Stream], tests: Sequence[Stream], front: LogMelSettings) -> Split:
    """Long streams. inside: which word each frame is within, from 1; words: the classes of these
    words, 0 behind the last; tunes: whether the trigger is tuned on it, or judged."""
    streams = [*tunes, *tests]
    most = max(len(s.words) for s in streams)
    words = [np.pad(s.words + 1, (0, most - len(s.words))) for s in streams]
    arrays: dict[str, list[NDArray[Any]]] = {
        "x": [features(s, front) for s in streams],
        "y": [labels(s, front) for s in streams],
        "inside": [spans(s, front) for s in streams],
        "words": words,
        "tunes": [np.int64(i < len(tunes)) for i in range(len(streams))],
    }
    return Split(arrays, ("x",), ("x", "y", "inside"))


def answer(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """The words' scores for a single recording, (words,): the largest average margin over ANSWER
    successive frames."""
    margins = logits[:, 1:] - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    length = min(ANSWER, len(margins))
    total = np.concatenate([np.zeros((1, margins.shape[1])), np.exp(margins).cumsum(axis=0)])
    means = (total[length:] - total[:-length]) / length
    return np.asarray(np.log(np.maximum(means.max(axis=0), 1e-9)), np.float32)


def _given(options: Mapping[str, Any], name: str, default: float) -> float:
    value = options.get(name)
    return default if value is None else value


def _read_test(path: str) -> Recordings:
    if not Path(path).exists():
        raise InputError(f"there is no {path}; name an .npz or a folder with recordings")
    return read_recordings(Path(path))


def _composed(
    recordings: Sequence[Recording],
    source: Recordings,
    habits: Habits,
    rng: np.random.Generator,
    name: str,
) -> Stream:
    order = rng.permutation(len(recordings)).tolist()
    return compose([recordings[i] for i in order], source, habits, rng, f"{name} words")
