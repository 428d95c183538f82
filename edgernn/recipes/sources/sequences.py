"""Whole sequences with a label each: .npz, .csv or a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgernn.recipes.sources import splits as division
from edgernn.recipes.sources.choices import shares
from edgernn.recipes.sources.found import Found
from edgernn.recipes.sources.labels import as_classes, check
from edgernn.recipes.sources.scaling import moments
from edgernn.recipes.sources.sequence_arrays import from_npz
from edgernn.recipes.sources.sequence_folders import from_folder
from edgernn.recipes.sources.sequence_tables import from_csv
from edgernn.runtime.errors import InputError
from edgernn.training.base import Dataset, Split


def read_sequences(source: str, options: Mapping[str, Any], seed: int = 0) -> Dataset:
    """Labelled sequences as they are in a file or folder, not standardized.

    Arrays of each split: `x`, (T_i, F) float32 with NaN for missing values, or (T_i,) int64 ids if
    the file has `symbols` or `vocab`; `y`, each an int64 class index; and whatever further arrays
    the file has for each sequence. Facts: features, columns, mean, std, constant, missing (share
    of values), classes, tokens (symbols there are; 0: none), symbols.

    options: label, columns, split, time, sequence, all of them optional.

    InputError, one sentence, for data that does not fit.
    """
    path = Path(source)
    if not path.exists():
        raise InputError(f"there is no {path}")
    if path.is_dir():
        found = from_folder(path, options)
    elif path.suffix == ".npz":
        found = from_npz(path, options)
    elif path.suffix == ".csv":
        found = from_csv(path, options)
    else:
        raise InputError(f"{path} is neither .npz nor .csv nor a folder")
    return _dataset(found, path, options, seed)


def _dataset(found: Found, path: Path, options: Mapping[str, Any], seed: int) -> Dataset:
    where = path.name
    if list(found.parts) == [""]:
        parts = shares(options.get("split"))
        whole = found.parts[""]
        check(whole.labels, where, "sequence")
        places = division.stratified(whole.labels, parts, seed, where)
        found.parts = {name: whole.take(rows) for name, rows in places.items()}
        percent = "/".join(f"{100 * p:.0f}" for p in parts)
        how = f"{percent} % of the sequences of each class, by chance with seed {seed}"
    else:
        if options.get("split"):
            raise InputError(f"{where} gives its splits; --split is for data that have none")
        how = "as the data give it"
    names = division.checked(list(found.parts), where)
    labels, classes = as_classes({n: found.parts[n].labels for n in names}, found.classes, where)
    facts: dict[str, Any] = {
        "features": [0 if found.tokens else len(found.columns)],
        "tokens": found.tokens,
        "classes": classes,
        **found.facts,
    }
    if not found.tokens:
        facts |= moments(found.parts["train"].x, found.columns, where)
    splits = {}
    for name in names:
        part = found.parts[name]
        arrays: dict[str, Any] = {"x": part.x, "y": list(labels[name]), **part.steps, **part.whole}
        splits[name] = Split(arrays, steps=("x", *part.steps))
    return Dataset(splits, facts, path.stem, how)
