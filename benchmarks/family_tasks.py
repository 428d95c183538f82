"""What the networks of the family are trained on: scikit-learn's digits, or real data sets.

Sequences of a real set have different lengths. A network that takes lengths gets them padded; any
other is trained on batches of nearly equal length, cut at their start to the shortest of a batch,
and tested on every sequence as it is, so that what it reads last is the true last step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from benchmarks import datasets
from benchmarks.demo import load
from benchmarks.models import Row, Sizes

Inputs = tuple[Tensor, ...]
DIGITS: Final = Sizes(features=8, classes=10, tokens=17)
"""Of scikit-learn's digits, however they are read."""
CALIBRATION: Final = 500
"""Sequences to calibrate with, at most."""

SETS: Final[dict[str, tuple[str, ...]]] = {
    "features": ("speech_digits",),
    "lengths": ("speech_digits", "wand_gestures"),
    "tokens": ("intents", "movie_sentences"),
    "missing": ("icu_irregular",),
}
"""Row.reads -> the data sets that a network is judged on."""
_BOTH: Final = ("speech_digits", "japanese_vowels")
OTHER_SETS: Final[dict[str, tuple[str, ...]]] = {
    "LSTM": _BOTH,
    "LayerNorm LSTM": _BOTH,
    "LayerNorm GRU": _BOTH,
    "LayerNorm, BatchNorm": _BOTH,
    "bidirectional GRU": _BOTH,
    "attention pooling": ("movie_sentences", "speech_digits"),
    "attention over both directions": ("movie_sentences",),
    "mean pooling": ("movie_sentences",),
    "max pooling": ("movie_sentences",),
}
"""Name of a row -> its own ones."""
EPOCHS: Final[dict[str, int]] = {
    "speech_digits": 24,
    "japanese_vowels": 30,
    "wand_gestures": 15,
    "intents": 8,
    "movie_sentences": 3,
    "icu_irregular": 4,
}
"""10 to 60 seconds on one core."""


@dataclass(frozen=True, eq=False)
class Task:
    """What a network reads: arrays (N, T, F), ids (N, T), and for lengths (N,); labels (N,).

    steps, test_steps: (N,) true lengths where arrays are padded and the network is not told;
    None: every sequence has T steps.
    """

    train: Inputs
    test: Inputs
    labels: Tensor
    test_labels: Tensor
    sizes: Sizes = DIGITS
    steps: Tensor | None = None
    test_steps: Tensor | None = None


def sets_of(row: Row) -> tuple[str, ...]:
    """The real data sets that a row is judged on."""
    return OTHER_SETS.get(row.name, SETS[row.reads])


def task_of(reads: str, seed: int = 0) -> Task:
    """The digits as a network reads them; reads: a key of Row.reads."""
    x, y, x_test, y_test = load()
    generator = np.random.default_rng(seed)

    def inputs(images: NDArray[np.float32]) -> Inputs:
        rows = torch.from_numpy(images)
        if reads == "tokens":
            return (torch.round((rows + 1.0) * 8.0).long().flatten(1)[:, ::2],)
        if reads == "lengths":
            return rows, torch.from_numpy(generator.integers(5, 9, len(images)))
        if reads == "missing":
            seen = torch.from_numpy((generator.random(images.shape) < 0.7).astype(np.float32))
            return rows * seen, seen, _since(seen)
        return (rows,)

    return Task(inputs(x), inputs(x_test), torch.from_numpy(y), torch.from_numpy(y_test))


def _since(seen: Tensor) -> Tensor:
    """Steps since a value was last observed, (N, T, F)."""
    result = torch.zeros_like(seen)
    for t in range(1, seen.shape[1]):
        result[:, t] = 1.0 + (1.0 - seen[:, t - 1]) * result[:, t - 1]
    return result / seen.shape[1]


def real_task(data: datasets.Task, reads: str) -> Task:
    """A real data set as a network reads it."""

    def part(split: datasets.Split) -> tuple[Inputs, Tensor, Tensor | None]:
        padded = pad_sequence([torch.from_numpy(v) for v in split.x], batch_first=True)
        labels = torch.from_numpy(np.stack(split.y))
        steps = torch.tensor([len(v) for v in split.x])
        if reads == "lengths":
            return (padded, steps), labels, None
        return tuple(padded.chunk(3, -1)) if data.irregular else (padded,), labels, steps

    train, labels, steps = part(data.train)
    test, test_labels, test_steps = part(data.test)
    features = 0 if data.tokens else train[0].shape[2]
    sizes = Sizes(features or 24, data.classes, hidden=32, tokens=data.tokens, embedding=24)
    return Task(train, test, labels, test_labels, sizes, steps, test_steps)


def batches(task: Task, size: int) -> Iterator[tuple[Inputs, Tensor]]:
    """The training data in random batches: inputs, labels."""
    count = len(task.labels)
    order = torch.randperm(count)
    if task.steps is None:
        for begin in range(0, count, size):
            chosen = order[begin : begin + size]
            yield tuple(v[chosen] for v in task.train), task.labels[chosen]
        return
    near = order[torch.argsort(task.steps[order] + torch.rand(count), stable=True)]
    for i in torch.randperm(-(-count // size)).tolist():
        chosen = near[i * size : (i + 1) * size]
        shortest = int(task.steps[chosen].min())
        begins = (task.steps[chosen] - shortest)[:, None] + torch.arange(shortest)
        rows = chosen[:, None]
        yield tuple(v[rows, begins] for v in task.train), task.labels[chosen]


def predict(
    run: Callable[[Inputs], NDArray[Any]], inputs: Inputs, steps: Tensor | None
) -> NDArray[np.float32]:
    """What `run` makes of the sequences, (N, C), given those of one length at a time."""
    if steps is None:
        return np.asarray(run(inputs), np.float32)
    result: NDArray[np.float32] | None = None
    for length in torch.unique(steps).tolist():
        chosen = torch.nonzero(steps == length)[:, 0]
        found = run(tuple(v[chosen, :length] for v in inputs))
        if result is None:
            result = np.zeros((len(steps), found.shape[1]), np.float32)
        result[chosen.numpy()] = found
    assert result is not None
    return result


def calibration_of(task: Task, seed: int = 0) -> Any:
    """Some of the training data, each sequence to its own end; of lengths, none."""
    kept = [v for v in task.train if v.dim() > 1]
    lengths = [v for v in task.train if v.dim() == 1]
    steps = lengths[0] if lengths else task.steps
    arrays: list[Any]
    if steps is None:
        arrays = [v.numpy()[:CALIBRATION] for v in kept]
    else:
        chosen = np.random.default_rng(seed).permutation(len(steps))[:CALIBRATION]
        arrays = [[v[i, : steps[i]].numpy() for i in chosen.tolist()] for v in kept]
    return tuple(arrays) if len(arrays) > 1 else arrays[0]
