"""Texts with labels, in splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn.recipes.text.columns import ALIASES, Columns, read_columns
from edgernn.recipes.text.vocabulary import Vocabulary
from edgernn.runtime.errors import InputError
from edgernn.training.base import SPLITS

SHARE: Final = 0.1
"""Of all texts, for val and for test each, where the data do not say."""
LABELS: Final = ("label", "y", "class")


@dataclass(frozen=True)
class Texts:
    """Texts in splits. texts: split -> texts. labels: column -> split -> one label for each text.

    split: how it was split, in words.
    """

    texts: Mapping[str, list[str]]
    labels: Mapping[str, Mapping[str, list[str]]]
    name: str
    split: str

    def classes(self, column: str) -> list[str]:
        """The labels of a column that train has: whole numbers by value, then words by alphabet."""
        return sorted(set(self.labels[column]["train"]), key=_order)

    def indices(self, column: str) -> dict[str, list[NDArray[np.int64]]]:
        """split -> the class of each text, () int64, as the place in `classes`."""
        places = {label: i for i, label in enumerate(self.classes(column))}
        return {
            split: [np.array(places[label], np.int64) for label in labels]
            for split, labels in self.labels[column].items()
        }

    def ids(self, vocabulary: Vocabulary) -> dict[str, list[NDArray[np.int64]]]:
        """split -> the token ids of each text, (T_i,) int64."""
        return {s: [vocabulary.encode(t) for t in texts] for s, texts in self.texts.items()}

    def repeated(self) -> int:
        """Texts of test that are in train too, letter by letter."""
        seen = set(self.texts["train"])
        return sum(text in seen for text in self.texts["test"])


def _order(label: str) -> tuple[bool, int, str]:
    number = label.isascii() and label.lstrip("-").isdigit()
    return (not number, int(label) if number else 0, label)


def read_texts(
    source: str, text: str = "text", labels: Sequence[str] | None = None, seed: int = 0
) -> Texts:
    """Texts and their labels from what `edgernn.recipes.text.columns.read_columns` reads.

    text, labels: columns. labels by default: `label`, `y`, `class`, or the only one that is left. A
    column `split` says train, val or test; other names there are splits that are only scored.
    Without it, and where val is absent, texts are drawn, each combination of labels alike. seed: of
    that draw.

    InputError, one sentence, for what does not fit.
    """
    columns = read_columns(source)
    names = _label_columns(source, columns, text, labels)
    for name in (text, *names):
        _no_gap(source, columns[name], name)
    found = [tuple(row) for row in zip(*(columns[name] for name in names), strict=True)]
    said, how = _splits(source, columns, found, seed)
    groups = {s: [i for i, t in enumerate(said) if t == s] for s in dict.fromkeys([*SPLITS, *said])}
    result = Texts(
        {s: [columns[text][i] for i in group] for s, group in groups.items()},
        {n: {s: [columns[n][i] for i in g] for s, g in groups.items()} for n in names},
        Path(source).stem,
        how,
    )
    _check_classes(source, result)
    return result


def _label_columns(
    source: str, columns: Columns, text: str, labels: Sequence[str] | None
) -> tuple[str, ...]:
    there = ", ".join(columns)
    if text not in columns:
        raise InputError(f"{source} has no column {text!r} with the texts; it has {there}")
    rest = [name for name in columns if name not in (text, "split")]
    if labels is None:
        known = [name for name in LABELS if name in rest] or rest
        if len(known) != 1 and known[:1] != ["label"]:
            raise InputError(f"name the column with the labels: {source} has {there}")
        return (known[0],)
    for name in labels:
        if name not in rest:
            raise InputError(f"{source} has no column {name!r} with labels; it has {there}")
    return tuple(labels)


def _no_gap(source: str, values: list[str], name: str) -> None:
    for i, value in enumerate(values):
        if not value.strip():
            raise InputError(
                f"{source}: {name} of row {i + 1} is empty (the header not counted); "
                "fill it in or take the row out"
            )


def _splits(
    source: str, columns: Columns, labels: list[tuple[str, ...]], seed: int
) -> tuple[list[str], str]:
    """The split of each text, and how it was found."""
    generator = np.random.default_rng(seed)
    if "split" in columns:
        _no_gap(source, columns["split"], "split")
        said = [ALIASES.get(s.strip().lower(), s.strip().lower()) for s in columns["split"]]
        how = "the data's own"
        if "train" in said and "test" in said and "val" not in said:
            _draw(said, labels, "val", generator)
            how += f"; val: {SHARE:.0%} of train, drawn with seed {seed}"
    else:
        said = ["train"] * len(labels)
        for name in ("test", "val"):
            _draw(said, labels, name, generator)
        how = (
            f"{1 - 2 * SHARE:.0%} / {SHARE:.0%} / {SHARE:.0%}, drawn with seed {seed}, labels alike"
        )
    for name in SPLITS:
        if name not in said:
            raise InputError(
                f"{source}: none of its {len(said)} texts is in {name}; "
                "train, val and test need at least one each"
            )
    return said, how


def _draw(
    said: list[str], labels: list[tuple[str, ...]], name: str, generator: np.random.Generator
) -> None:
    """Move SHARE of each combination of labels from train to a split; none of fewer than three."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for i, label in enumerate(labels):
        if said[i] == "train":
            groups.setdefault(label, []).append(i)
    for group in groups.values():
        count = max(1, round(SHARE * len(group))) if len(group) > 2 else 0
        for i in generator.permutation(group)[:count]:
            said[int(i)] = name


def _check_classes(source: str, texts: Texts) -> None:
    for column, labels in texts.labels.items():
        known = texts.classes(column)
        if len(known) < 2:
            raise InputError(f"{source}: all {column} of train are {known[0]!r}; nothing to learn")
        for split, values in labels.items():
            for absent in sorted(set(values) - set(known)):
                raise InputError(
                    f"{source}: {split} has the {column} {absent!r}, which train has not; "
                    "give train texts of it, or take it out"
                )
