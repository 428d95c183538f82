"""`edgernn train classify`: one class for a whole sequence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from edgernn.recipes.scores import class_scores, statistics_baseline
from edgernn.recipes.sources import read_sequences, standardize
from edgernn.runtime.errors import InputError
from edgernn.training.base import Dataset, Layers, Outputs, Recipe, Scores, Settings, Split
from edgernn.training.cells import MISSING, parse
from edgernn.training.losses import cross_entropy
from edgernn.training.network import SequenceNetwork

READS: Final = {
    "forward": "the last one; behind all columns 1 or 0 for each, whether it was observed, and "
    "then for each log(1 + steps, or time, since it was)",
    "zero": "the mean; behind all columns 1 or 0 for each, whether it was observed",
    "decay": "inputs x, observed (1 or 0) and gap, log(1 + steps, or time, since it was observed)",
}


class Classify(Recipe):
    """Many to one: features (T_i, F) of any length, or symbols, to one of `classes`; scored by
    accuracy and macro F1, of two classes by the area under the ROC curve too."""

    name: ClassVar[str] = "classify"
    headline: ClassVar[str] = "accuracy"
    settings: ClassVar[Settings] = Settings(epochs=40, batch_size=32)
    layers: ClassVar[Layers] = Layers(hidden=48)

    def read(self, source: str | None, options: Mapping[str, Any], seed: int) -> Dataset:
        """Labelled sequences; the demonstration reads the rows of scikit-learn's digits."""
        raw = _digits(seed) if source is None else read_sequences(source, options, seed)
        dataset = standardize(raw)
        if options.get("outliers"):
            dataset = bounded(dataset, float(options["outliers"]))
        way = options.get("missing")
        if dataset.facts.get("missing"):
            dataset = with_missing(raw, dataset, way or "forward", options.get("time"))
        elif way:
            raise InputError(f"{dataset.name} misses no value; leave out --missing")
        static = options.get("static")
        return with_static(dataset, static) if static else dataset

    def network(self, facts: Mapping[str, Any], layers: Layers) -> nn.Module:
        """A SequenceNetwork that answers once."""
        several, decays = len(facts["features"]) > 1, parse(layers.cell).kind == MISSING
        if several != decays:
            raise InputError(f"the cell {MISSING} and --missing decay go together")
        tokens = int(facts.get("tokens", 0))
        return SequenceNetwork(
            facts["features"][0], len(facts["classes"]), layers, "once", tokens,
            len(facts["features"]),
        )  # fmt: skip

    def loss(self, outputs: tuple[Tensor, ...], batch: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy."""
        return cross_entropy(outputs[0], batch["y"])

    def score(self, outputs: Outputs, split: Split, facts: Mapping[str, Any]) -> Scores:
        """Of the answer at the last step."""
        logits = np.stack([output[0][-1] for output in outputs])
        return class_scores(logits, np.array(split.arrays["y"]))

    def baselines(self, dataset: Dataset) -> dict[str, Scores]:
        """Logistic regression on each channel's statistics."""
        return statistics_baseline(dataset)

    def card(self, facts: Mapping[str, Any]) -> list[str]:
        """The classes, and what is read where values are missing."""
        from edgernn.training.card import class_line

        lines = [class_line(facts)]
        way = facts.get("missing_way")
        return [*lines, f"missing values: {READS[way]}"] if way else lines


def bounded(dataset: Dataset, most: float) -> Dataset:
    """Features that are at most so many standard deviations from the mean; the integer program's
    int16 input ends there by itself."""
    if dataset.facts["features"] == [0]:
        raise InputError("--outliers is for features, not for symbols")
    splits = {
        name: replace(
            split,
            arrays={**split.arrays, "x": [np.clip(x, -most, most) for x in split.arrays["x"]]},
        )
        for name, split in dataset.splits.items()
    }
    return replace(dataset, splits=splits, facts=dataset.facts | {"outliers": most})


def with_missing(raw: Dataset, dataset: Dataset, way: str, time: str | None) -> Dataset:
    """What the network reads where values are missing.

    forward: the last value, whether it was observed, and the log of the time since it was; zero:
    the mean in place of missing values, and whether it was observed; decay: three inputs, for the
    cell gru_d. time: array of the time of each step; otherwise steps are counted.
    """
    splits, facts = {}, dict(dataset.facts)
    features = facts["features"][0]
    for name, split in dataset.splits.items():
        times = _times(split, time, dataset.name)
        gaps = [_gaps(o, t) for o, t in zip(split.arrays["observed"], times, strict=True)]
        x, observed = split.arrays["x"], split.arrays["observed"]
        inputs: tuple[str, ...] = ("x",)
        arrays = dict(split.arrays)
        if way == "decay":
            inputs = ("x", "observed", "gap")
            arrays["gap"] = gaps
        elif way == "forward":
            held = [_held(v, o) for v, o in zip(x, observed, strict=True)]
            arrays["x"] = [
                np.concatenate(parts, axis=1) for parts in zip(held, observed, gaps, strict=True)
            ]
        else:
            arrays["x"] = [np.concatenate(p, axis=1) for p in zip(x, observed, strict=True)]
        steps = tuple(dict.fromkeys((*split.steps, *inputs)))
        splits[name] = replace(split, arrays=arrays, inputs=inputs, steps=steps)
    facts["features"] = {
        "decay": [features] * 3, "forward": [3 * features], "zero": [2 * features]
    }[way]  # fmt: skip
    facts["missing_way"] = way
    return replace(dataset, splits=splits, facts=facts)


def with_static(dataset: Dataset, name: str) -> Dataset:
    """What is known of a sequence as a whole, array `name` (S,) of each, standardized and given at
    every step behind the other features; 0, the mean, where it is missing."""
    if len(dataset.facts["features"]) > 1 or not dataset.facts["features"][0]:
        raise InputError("--static goes with features of one input, not with symbols or gru_d")
    train = dataset.splits["train"]
    if name not in train.arrays or name in train.steps or np.ndim(train.arrays[name][0]) > 1:
        raise InputError(f"{dataset.name} has no array {name!r} with one vector for each sequence")
    known = np.stack([np.atleast_1d(v) for v in train.arrays[name]]).astype(np.float64)
    if np.isnan(known).all(axis=0).any():
        raise InputError(f"a column of {name} of {dataset.name} has no value in train")
    mean, std = np.nanmean(known, axis=0), np.nanstd(known, axis=0)
    std[std == 0] = 1.0
    splits = {}
    for key, split in dataset.splits.items():
        rows = []
        for x, value in zip(split.arrays["x"], split.arrays[name], strict=True):
            row = np.nan_to_num((np.atleast_1d(value) - mean) / std).astype(np.float32)
            rows.append(np.concatenate([x, np.repeat(row[None], len(x), axis=0)], axis=1))
        splits[key] = replace(split, arrays={**split.arrays, "x": rows})
    facts = dataset.facts | {
        "features": [dataset.facts["features"][0] + len(mean)],
        "static": {"name": name, "mean": mean.tolist(), "std": std.tolist()},
    }
    return replace(dataset, splits=splits, facts=facts)


def _times(split: Split, name: str | None, where: str) -> list[NDArray[np.float64]]:
    if name is None:
        return [np.arange(n, dtype=np.float64) for n in split.lengths]
    if name not in split.arrays or name not in split.steps:
        raise InputError(f"{where} has no array {name!r} with the time of each step")
    return [np.asarray(t, np.float64) for t in split.arrays[name]]


def _gaps(observed: NDArray[np.float32], time: NDArray[np.float64]) -> NDArray[np.float32]:
    """log(1 + time) since each value was last observed before this step, (T, F)."""
    gaps = np.zeros(observed.shape, np.float64)
    for t in range(1, len(observed)):
        since = time[t] - time[t - 1]
        gaps[t] = since + np.where(observed[t - 1] > 0, 0.0, gaps[t - 1])
    result: NDArray[np.float32] = np.log1p(np.maximum(gaps, 0.0)).astype(np.float32)
    return result


def _held(values: NDArray[np.float32], observed: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each value, or the last observed one before it; 0, the mean, before the first."""
    steps = np.where(observed > 0, np.arange(len(values))[:, None], -1)
    last = np.maximum.accumulate(steps, axis=0)
    picked = np.take_along_axis(values, np.maximum(last, 0), axis=0)
    result: NDArray[np.float32] = np.where(last >= 0, picked, np.float32(0)).astype(np.float32)
    return result


def _digits(seed: int) -> Dataset:
    """scikit-learn's handwritten digits, 1,797 images of 8 x 8, read row by row."""
    from sklearn.datasets import load_digits

    from edgernn.recipes.sources.scaling import moments

    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.images))
    images = digits.images[order].astype(np.float32)
    labels = digits.target[order].astype(np.int64)
    ends = {"train": (0, 1097), "val": (1097, 1297), "test": (1297, 1797)}
    splits = {
        name: Split({"x": list(images[b:e]), "y": list(labels[b:e])})
        for name, (b, e) in ends.items()
    }
    columns = [f"column {i}" for i in range(8)]
    facts = {
        "features": [8],
        "tokens": 0,
        "classes": [str(name) for name in digits.target_names],
        "source": "scikit-learn's digits (UCI, E. Alpaydin and C. Kaynak 1998)",
        "licence": "CC BY 4.0",
        **moments(list(images[:1097]), columns, "digits"),
    }
    return Dataset(splits, facts, "digits", "1,097/200/500, by chance")
