"""Streams in memory, and how their splits are cut from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgernn.recipes.sources.choices import choose_columns
from edgernn.recipes.sources.labels import as_classes
from edgernn.recipes.sources.scaling import scaled
from edgernn.runtime.errors import InputError
from edgernn.training.base import Split

Array = NDArray[Any]


@dataclass(frozen=True)
class Stream:
    """One series over time.

    x: (T, F) float32, NaN for missing. time: (T,) seconds, or None. rows: further arrays with T
    rows, labels among them. values: further values of the stream, such as its period. parts: split
    -> (first row, row behind the last).
    """

    name: str
    x: NDArray[np.float32]
    time: Array | None = None
    rows: dict[str, Array] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    parts: dict[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Streams:
    """Streams that one network is for. splits: all of them; split: how they came about."""

    streams: tuple[Stream, ...]
    splits: tuple[str, ...]
    facts: dict[str, Any]
    name: str
    split: str

    def first(self, names: Sequence[str]) -> Streams:
        """The same with these columns in front of the others; InputError for one that is not
        there. Arrays with as many columns go with them."""
        columns = self.facts["columns"]
        places = choose_columns(",".join(names), columns, self.name)
        places += [i for i in range(len(columns)) if i not in places]
        facts = dict(self.facts)
        for key in ("columns", "mean", "std"):
            found = facts[key]
            facts[key] = (
                {name: [v[i] for i in places] for name, v in found.items()}
                if isinstance(found, dict)
                else [found[i] for i in places]
            )
        streams = tuple(
            replace(
                s,
                x=s.x[:, places],
                rows={k: a[:, places] if a.shape == s.x.shape else a for k, a in s.rows.items()},
            )
            for s in self.streams
        )
        return replace(self, streams=streams, facts=facts)

    def deviations(self, stream: Stream) -> list[float]:
        """std of each column of a stream, by which its standardized values become units again."""
        std = self.facts["std"]
        return list(std[stream.name] if isinstance(std, dict) else std)

    def scaled(self) -> list[NDArray[np.float32]]:
        """x of each stream, (T, F), less the mean, over std; missing values stay NaN."""
        if isinstance(self.facts["mean"], dict):
            own = [{n: self.facts[n][s.name] for n in ("mean", "std")} for s in self.streams]
            return [scaled(s.x, facts) for s, facts in zip(self.streams, own, strict=True)]
        return [scaled(s.x, self.facts) for s in self.streams]

    def label(self, default: tuple[str, ...], option: str | None = None) -> str:
        """The name of the labels: that of --label, or the first default there is."""
        there = set.intersection(*(set(s.rows) for s in self.streams))
        name = option or next((n for n in default if n in there), default[0])
        if name not in there:
            also = f"; it has {', '.join(sorted(there))}" if there else ""
            raise InputError(f"{self.name} has no labels {name!r}{also}: name them, --label")
        return name

    def classes(self, name: str) -> tuple[list[NDArray[np.int64]], list[str]]:
        """Labels of each stream as class indices, (T,), and the names of the classes."""
        flat = {
            split: np.concatenate(
                [s.rows[name][slice(*s.parts[split])] for s in self.streams if split in s.parts]
            )
            for split in self.splits
        }
        _, classes = as_classes(flat, None, self.name, "row")
        everything = np.unique(np.concatenate([s.rows[name] for s in self.streams]))
        return [np.searchsorted(everything, s.rows[name]) for s in self.streams], classes

    def numbers(self, name: str) -> list[NDArray[np.float32]]:
        """Labels of each stream as numbers, (T,)."""
        found = []
        for stream in self.streams:
            label = stream.rows[name]
            if label.dtype.kind not in "fiub":
                raise InputError(f"{name} of {self.name} is of {label.dtype}, not numbers")
            wrong = ~np.isfinite(label.astype(np.float64))
            if wrong.any():
                row = int(wrong.argmax())
                raise InputError(f"{name} of {stream.name} in {self.name} is missing at row {row}")
            found.append(label.astype(np.float32))
        return found

    def cut(
        self, arrays: dict[str, list[Array]], context: int = 0, inputs: tuple[str, ...] = ("x",)
    ) -> dict[str, Split]:
        """Splits whose sequences are the streams' parts. arrays: name -> one with T rows for each.

        context: how many rows before a part are there as well, so that a state knows what came
        before: never for train. Array `scored` (T,) bool is False for those. Array `stream` is the
        place of the stream, `first` the row of the stream at which the sequence begins.
        """
        splits = {}
        for name in self.splits:
            found: dict[str, list[Any]] = {k: [] for k in (*arrays, "scored", "stream", "first")}
            for i, stream in enumerate(self.streams):
                if name not in stream.parts:
                    continue
                start, stop = stream.parts[name]
                before = 0 if name == "train" else min(context, start)
                for key, values in arrays.items():
                    found[key].append(values[i][start - before : stop])
                found["scored"].append(np.arange(stop - start + before) >= before)
                found["stream"].append(np.int64(i))
                found["first"].append(np.int64(start - before))
            splits[name] = Split(found, inputs, (*arrays, "scored"))
        return splits

    def require(self, rows: int, why: str) -> None:
        """InputError if no stream has so many rows in one of train, val and test."""
        for split in ("train", "val", "test"):
            most = max(
                s.parts[split][1] - s.parts[split][0] for s in self.streams if split in s.parts
            )
            if most < rows:
                raise InputError(
                    f"{split} of {self.name} has {most} rows, but {why} takes {rows}; "
                    f"give more rows, or make it shorter"
                )
