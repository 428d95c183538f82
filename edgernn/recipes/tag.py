"""`edgernn train tag`: a label at every step of a stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import numpy as np
from torch import Tensor, nn

from edgernn.recipes.rooms import generated_room
from edgernn.recipes.scores import LOWEST, class_scores
from edgernn.recipes.sources import read_series
from edgernn.training.base import Dataset, Layers, Outputs, Recipe, Scores, Settings, Split
from edgernn.training.losses import cross_entropy
from edgernn.training.network import SequenceNetwork

LABELS: Final = ("y", "label")
CONTEXT: Final = 256
"""Rows before a validation or test part that the network reads unscored, as a device that has
been running would have."""


class Tag(Recipe):
    """Many to many: a class for each step; scored by accuracy, and F1 of each class."""

    name: ClassVar[str] = "tag"
    headline: ClassVar[str] = "accuracy"
    settings: ClassVar[Settings] = Settings(epochs=20, batch_size=16, window=64)
    layers: ClassVar[Layers] = Layers(hidden=16)

    def read(self, source: str | None, options: Mapping[str, Any], seed: int) -> Dataset:
        """Streams with labels; the demonstration generates a room with people in it."""
        if source is None:
            streams = generated_room(0)
            label = "occupied"
        else:
            streams = read_series(source, options, LABELS)
            label = streams.label(LABELS, options.get("label"))
        classes, names = streams.classes(label)
        x = streams.scaled()
        arrays: dict[str, list[Any]] = {"x": [np.nan_to_num(a, nan=0.0) for a in x], "y": classes}
        facts = dict(streams.facts) | {"classes": names, "label": label}
        if facts["missing"]:
            observed = [(~np.isnan(a)).astype(np.float32) for a in x]
            arrays["x"] = [
                np.concatenate(p, axis=1) for p in zip(arrays["x"], observed, strict=True)
            ]
            facts["features"] = [2 * facts["features"][0]]
        splits = streams.cut(arrays, CONTEXT)
        for split in splits.values():
            rows = zip(split.arrays["y"], split.arrays["scored"], strict=True)
            split.arrays["y"][:] = [np.where(s, y, -1) for y, s in rows]  # type: ignore[index]
        return Dataset(splits, facts, streams.name, streams.split)

    def network(self, facts: Mapping[str, Any], layers: Layers) -> nn.Module:
        """A SequenceNetwork that answers at every step."""
        return SequenceNetwork(facts["features"][0], len(facts["classes"]), layers, "steps")

    def loss(self, outputs: tuple[Tensor, ...], batch: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy of every step that is no padding."""
        return cross_entropy(outputs[0], batch["y"])

    def score(self, outputs: Outputs, split: Split, facts: Mapping[str, Any]) -> Scores:
        """Over all scored steps of all streams."""
        logits = np.concatenate([output[0] for output in outputs])
        wanted = np.concatenate([np.asarray(y) for y in split.arrays["y"]])
        return class_scores(logits, wanted, facts["classes"])

    def baselines(self, dataset: Dataset) -> dict[str, Scores]:
        """Logistic regression on the values of a step alone."""
        from sklearn.linear_model import LogisticRegression

        train, test = dataset.splits["train"], dataset.splits["test"]
        x, y = (np.concatenate([np.asarray(a) for a in train.arrays[n]]) for n in ("x", "y"))
        model = LogisticRegression(max_iter=3000).fit(x[y >= 0], y[y >= 0])
        x, y = (np.concatenate([np.asarray(a) for a in test.arrays[n]]) for n in ("x", "y"))
        logits = np.full((len(x), len(dataset.facts["classes"])), LOWEST)
        logits[:, model.classes_] = np.maximum(model.predict_log_proba(x), LOWEST)
        found = class_scores(logits, y, dataset.facts["classes"])
        return {"logistic regression on one step": found}

    def card(self, facts: Mapping[str, Any]) -> list[str]:
        """The classes, and what is read where values are missing."""
        from edgernn.training.card import class_line

        lines = [class_line(facts)]
        if facts["missing"]:
            lines.append(
                "missing values: the mean; behind all columns 1 or 0 for each, whether it was "
                "observed"
            )
        return lines
