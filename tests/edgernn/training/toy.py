"""A tiny task, learnt in a second: which of three slopes a noisy line has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from edgernn.recipes.scores import class_scores
from edgernn.training.base import (
    Config,
    Dataset,
    Layers,
    Outputs,
    Recipe,
    Scores,
    Settings,
    Split,
)
from edgernn.training.losses import cross_entropy
from edgernn.training.network import SequenceNetwork

FEATURES = 2


def lines(count: int, seed: int, shortest: int = 5, longest: int = 12) -> Split:
    """Sequences of different lengths; y, and y_steps at every step."""
    generator = np.random.default_rng(seed)
    xs, ys = [], []
    for _ in range(count):
        steps, y = int(generator.integers(shortest, longest + 1)), int(generator.integers(3))
        line = (y - 1) * np.arange(steps)[:, None] * 0.3 + generator.normal(0, 0.3, (steps, 1))
        xs.append(np.concatenate([line, generator.normal(size=(steps, 1))], 1).astype(np.float32))
        ys.append(np.int64(y))
    return Split({"x": xs, "y": ys})


class Slopes(Recipe):
    """The recipe of the tiny task."""

    name: ClassVar[str] = "slopes"
    headline: ClassVar[str] = "accuracy"

    def read(self, source: str | None, options: Mapping[str, Any], seed: int) -> Dataset:
        splits = {name: lines(n, i) for i, (name, n) in enumerate(
            (("train", 48), ("val", 24), ("test", 24)))}  # fmt: skip
        return Dataset(splits, {"features": [FEATURES], "classes": ["a", "b", "c"]}, "lines", "-")

    def network(self, facts: Mapping[str, Any], layers: Layers) -> nn.Module:
        return SequenceNetwork(FEATURES, 3, layers, "once")

    def loss(self, outputs: tuple[Tensor, ...], batch: Mapping[str, Tensor]) -> Tensor:
        return cross_entropy(outputs[0], batch["y"])

    def score(self, outputs: Outputs, split: Split, facts: Mapping[str, Any]) -> Scores:
        logits = np.stack([output[0][-1] for output in outputs])
        return class_scores(logits, np.array(split.arrays["y"]))


def toy(cell: str = "gru", epochs: int = 3, **layers: Any) -> tuple[Slopes, Config, Dataset]:
    """The recipe, a configuration and the data."""
    recipe = Slopes()
    config = Config(
        "slopes", Settings(epochs=epochs, batch_size=8, seed=3), Layers(cell, hidden=8, **layers)
    )
    return recipe, config, recipe.read(None, {}, 0)
