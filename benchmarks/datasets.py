"""Real data for the comparisons: one .npz file per data set becomes a `Task`.

Recordings and sentences are padded in the files; here a sequence ends at its last valid step.
Inputs have zero mean and unit variance over the valid steps of the training split.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgernn.arrays import load_arrays
from edgernn.runtime.errors import InputError

FloatArray = NDArray[np.float32]
Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Split:
    """Sequences x, each (T, F) float32, or (T,) int64 token ids, and what to predict.

    y: a class per sequence, int64 scalars; or per step, (T,) int64 classes or (T, O) float32.
    """

    x: list[NDArray[Any]]
    y: list[NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Task:
    """A data set ready to train on.

    classes: number of classes, 0 for a regression. stream: every step is predicted, not the last
    only. unit: (O,) float64, the target's unit per unit of the model's output, for a regression.
    tokens: number of token ids, 0 where x holds features. irregular: the features of a step are
    three parts of equal size, values, a mask of what was observed, and the time since it was.
    """

    name: str
    train: Split
    val: Split
    test: Split
    classes: int = 0
    stream: bool = False
    unit: NDArray[np.float64] | None = None
    tokens: int = 0
    irregular: bool = False

    @property
    def outputs(self) -> int:
        """Width of the model's output."""
        return self.classes or int(self.train.y[0].shape[1])


def speech_digits(a: Arrays) -> Task:
    """Spoken digits; the test speaker is never heard in training."""
    return _recordings("speech_digits", a, 1 / float(a["feature_scale"]))


def japanese_vowels(a: Arrays) -> Task:
    """Nine speakers told apart by two vowels, 7 to 29 steps."""
    return _recordings("japanese_vowels", a)


def wand_gestures(a: Arrays) -> Task:
    """Ten digits drawn in the air."""
    return _recordings("wand_gestures", a, 1 / float(a["scale"]))


def room_occupancy(a: Arrays) -> Task:
    """Is someone in the room: every minute, one uninterrupted stream per split."""

    def split(part: str) -> Split:
        return Split([a[f"x_{part}"].astype(np.float32)], [a[f"y_{part}"].astype(np.int64)])

    task = Task("room_occupancy", split("train"), split("val"), split("test"), 2, stream=True)
    return _normalised(task)


def turbofan_fd001(a: Arrays) -> Task:
    """Cycles left of a jet engine, at most `rul_cap`, at every cycle of its life."""
    cap = float(a["rul_cap"])
    rul = np.minimum(a["rul"], cap).astype(np.float32)[:, None]
    parts = list(zip(a["offsets"][:-1], a["offsets"][1:], strict=True))

    def split(name: str) -> Split:
        chosen = [slice(b, e) for (b, e), s in zip(parts, a["split"], strict=True) if s == name]
        return Split([a["x"][s] for s in chosen], [rul[s] for s in chosen])

    task = Task("turbofan_fd001", split("train"), split("val"), split("test"), stream=True)
    return _normalised(_unit_targets(task))


def air_beijing(a: Arrays) -> Task:
    """Next hour's change of log(1 + PM2.5), dew point, temperature and air pressure.

    A missing PM2.5 is filled with the last one known, and not asked for.
    """
    x = a["x"].astype(np.float32)
    pm = x[:, 0]
    known = ~np.isnan(pm)
    last = np.maximum.accumulate(np.where(known, np.arange(len(pm)), 0))
    x[:, 0] = np.log1p(np.where(known, pm, np.nan_to_num(pm[last], nan=float(np.nanmedian(pm)))))
    # Wind, snow and rain accumulate over hours: a few values are very large.
    x[:, 4:] = np.log1p(x[:, 4:])
    change = np.diff(x[:, :4], axis=0)
    change[~(known[1:] & known[:-1]), 0] = np.nan

    def split(begin: int, end: int) -> Split:
        return Split([x[begin:end]], [change[begin:end]])

    train_end, val_end = int(a["train_end"]), int(a["val_end"])
    train, val = split(0, train_end), split(train_end, val_end)
    task = Task("air_beijing", train, val, split(val_end, len(change)), stream=True)
    return _normalised(_unit_targets(task))


def intents(a: Arrays) -> Task:
    """Questions to an assistant: which of ten domains, or none of them; words as ids."""
    return _sentences("intents", a, "y1", len(a["level1_names"]))


def movie_sentences(a: Arrays) -> Task:
    """Sentences of film reviews, for or against the film; words as ids."""
    return _sentences("movie_sentences", a, "y", len(a["class_names"]))


def icu_irregular(a: Arrays) -> Task:
    """Did the patient die in hospital: measurements of two days at irregular minutes, most missing.

    The gap is that of GRU-D, in hours: since the step before, and on while nothing is observed.
    """
    raw = a["x_train"].astype(np.float64)
    mean, spread = np.nanmean(raw, axis=(0, 1)), np.nanstd(raw, axis=(0, 1))

    def sequence(x: NDArray[Any], minutes: NDArray[Any]) -> FloatArray:
        observed = ~np.isnan(x)
        gap = np.zeros(x.shape)
        for t in range(1, len(x)):
            gap[t] = (minutes[t] - minutes[t - 1]) / 60 + np.where(observed[t - 1], 0, gap[t - 1])
        values = np.where(observed, (x.astype(np.float64) - mean) / spread, 0)
        return np.concatenate([values, observed, gap], axis=1).astype(np.float32)

    def split(part: str) -> Split:
        rows = zip(a[f"x_{part}"], a[f"minute_{part}"], a[f"len_{part}"], strict=True)
        x = [sequence(x[:n], minutes[:n].astype(float)) for x, minutes, n in rows]
        return Split(x, list(a[f"y_{part}"].astype(np.int64)))

    return Task("icu_irregular", split("train"), split("val"), split("test"), 2, irregular=True)


LOADERS: Final[dict[str, Callable[[Arrays], Task]]] = {
    f.__name__: f
    for f in (
        speech_digits,
        japanese_vowels,
        room_occupancy,
        wand_gestures,
        turbofan_fd001,
        air_beijing,
        intents,
        movie_sentences,
        icu_irregular,
    )
}


def load(name: str, folder: Path) -> Task:
    """The data set in folder/NAME.npz. InputError if the file is not there or not sound."""
    path = folder / f"{name}.npz"
    arrays = load_arrays(str(path))
    try:
        return LOADERS[name](arrays)
    except KeyError as error:
        raise InputError(f"{path} has no array {error}; it is not the {name} data set") from None


def _recordings(name: str, a: Arrays, factor: float = 1.0) -> Task:
    """Padded sequences with one class each."""

    def split(part: str) -> Split:
        lengths = a[f"len_{part}"]
        x = [
            v[:n].astype(np.float32) * np.float32(factor)
            for v, n in zip(a[f"x_{part}"], lengths, strict=True)
        ]
        return Split(x, list(a[f"y_{part}"].astype(np.int64)))

    classes = len(a["class_names"])
    return _normalised(Task(name, split("train"), split("val"), split("test"), classes))


def _sentences(name: str, a: Arrays, labels: str, classes: int) -> Task:
    """Padded token ids with one class each."""

    def split(part: str) -> Split:
        x = [v[:n].astype(np.int64) for v, n in zip(a[f"x_{part}"], a[f"len_{part}"], strict=True)]
        return Split(x, list(a[f"{labels}_{part}"].astype(np.int64)))

    tokens = len(a["vocab"])
    return Task(name, split("train"), split("val"), split("test"), classes, tokens=tokens)


def _normalised(task: Task) -> Task:
    values = np.concatenate(task.train.x).astype(np.float64)
    mean, spread = values.mean(axis=0), values.std(axis=0)
    # A sensor that never moves in training carries nothing but the rounding of its constant.
    still = spread <= 1e-5 * np.maximum(np.abs(mean), 1.0)
    factor = np.where(still, 0.0, 1.0 / np.where(still, 1.0, spread))

    def scaled(split: Split) -> Split:
        return Split([((v - mean) * factor).astype(np.float32) for v in split.x], split.y)

    return replace(task, train=scaled(task.train), val=scaled(task.val), test=scaled(task.test))


def _unit_targets(task: Task) -> Task:
    """Regression targets with zero mean and unit variance over the training split."""
    values = np.concatenate(task.train.y).astype(np.float64)
    mean, spread = np.nanmean(values, axis=0), np.nanstd(values, axis=0)

    def scaled(split: Split) -> Split:
        return Split(split.x, [((v - mean) / spread).astype(np.float32) for v in split.y])

    return replace(
        task, train=scaled(task.train), val=scaled(task.val), test=scaled(task.test), unit=spread
    )
