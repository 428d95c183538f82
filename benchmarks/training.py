"""Small float networks, trained in seconds on one core, for the accuracy comparison."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.datasets import FloatArray, Split, Task

LEARNING_RATE: Final = 5e-3
WEIGHT_DECAY: Final = 1e-2


@dataclass(frozen=True)
class Recipe:
    """What to train, and how. window: steps that a stream is cut into, 0 for whole sequences."""

    cell: Literal["gru", "lstm"]
    hidden: int
    layers: int
    epochs: int
    batch: int
    window: int = 0

    def __str__(self) -> str:
        stacked = f"{self.layers} x " if self.layers > 1 else ""
        return f"{stacked}{self.cell.upper()}({self.hidden}) + Linear"


RECIPES: Final[dict[str, Recipe]] = {
    "speech_digits": Recipe("gru", 48, 1, 20, 32),
    "japanese_vowels": Recipe("lstm", 32, 1, 40, 16),
    "room_occupancy": Recipe("gru", 16, 1, 12, 16, window=64),
    "wand_gestures": Recipe("gru", 40, 2, 25, 32),
    "turbofan_fd001": Recipe("gru", 32, 1, 60, 10),
    "air_beijing": Recipe("gru", 32, 1, 8, 16, window=128),
}


class Recurrent(nn.Module):
    """A recurrent layer or a stack of them, and a linear layer at every step."""

    def __init__(self, features: int, outputs: int, recipe: Recipe) -> None:
        super().__init__()
        layer = nn.GRU if recipe.cell == "gru" else nn.LSTM
        self.rnn = layer(features, recipe.hidden, recipe.layers, batch_first=True)
        self.head = nn.Linear(recipe.hidden, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, T, F) -> (N, T, O)."""
        y, _ = self.rnn(x)
        result: torch.Tensor = self.head(y)
        return result


def train(task: Task, recipe: Recipe, seed: int) -> Recurrent:
    """The trained float model; the same bits for the same seed, machine and PyTorch."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    model = Recurrent(task.train.x[0].shape[1], task.outputs, recipe)
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    generator = np.random.default_rng(seed)
    steps = recipe.epochs * len(list(_batches(task, recipe, generator)))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(recipe.epochs):
        for x, y in _batches(task, recipe, generator):
            loss = _loss(task, model(torch.from_numpy(x)), y)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    return model.eval()


def predict(model: Recurrent, split: Split) -> list[NDArray[np.float32]]:
    """The outputs of the float model, (T, O) per sequence, each from the initial state."""
    with torch.no_grad():
        return [model(torch.from_numpy(x)[None])[0].numpy() for x in split.x]


def _batches(
    task: Task, recipe: Recipe, generator: np.random.Generator
) -> Iterator[tuple[FloatArray, list[NDArray[np.generic]]]]:
    """Padded inputs (N, T, F) and the targets of their valid steps, in a new random order."""
    split = _windows(task.train, recipe.window, generator) if recipe.window else task.train
    order = generator.permutation(len(split.x))
    for begin in range(0, len(order), recipe.batch):
        chosen = order[begin : begin + recipe.batch]
        longest = max(len(split.x[i]) for i in chosen)
        x = np.zeros((len(chosen), longest, split.x[0].shape[1]), np.float32)
        for row, i in zip(x, chosen, strict=True):
            row[: len(split.x[i])] = split.x[i]
        if task.stream:
            yield x, [split.y[i] for i in chosen]
        else:
            # The class stands at the last valid step.
            yield x, [np.array([len(split.x[i]) - 1, split.y[i]]) for i in chosen]


def _windows(split: Split, window: int, generator: np.random.Generator) -> Split:
    """A stream cut at every half window, from a random start."""
    xs, ys = [], []
    for x, y in zip(split.x, split.y, strict=True):
        for begin in range(int(generator.integers(window)), len(x) - window + 1, window // 2):
            xs.append(x[begin : begin + window])
            ys.append(y[begin : begin + window])
    return Split(xs, ys)


def _loss(task: Task, output: torch.Tensor, y: list[NDArray[np.generic]]) -> torch.Tensor:
    if not task.stream:
        last, labels = torch.from_numpy(np.stack(y)).T
        return nn.functional.cross_entropy(output[torch.arange(len(y)), last], labels)
    flat = torch.cat([row[: len(v)] for row, v in zip(output, y, strict=True)])
    targets = torch.from_numpy(np.concatenate(y))
    if task.classes:
        return nn.functional.cross_entropy(flat, targets)
    wanted = ~torch.isnan(targets)
    return nn.functional.mse_loss(flat[wanted], targets[wanted])
