"""Streams in .csv files: one row for each step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgernn.recipes.sources import arrays as files
from edgernn.recipes.sources import tables
from edgernn.recipes.sources.choices import choose_columns
from edgernn.recipes.sources.sequence_folders import files_in
from edgernn.recipes.sources.streams import Stream
from edgernn.runtime.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

_SERIES = ("series", "sequence")


def from_csv(
    path: Path, options: Mapping[str, Any], labels: Sequence[str]
) -> tuple[list[Stream], list[str]]:
    """The streams of one file, several if a column says which, and the names of the columns."""
    table = tables.read_table(path)
    where = path.name
    option = options.get("sequence")
    if option:
        tables.column(table, option, where)
    series = option or next((c for c in table.columns if c.lower() in _SERIES), None)
    if series is None:
        return _one(table, path.stem, options, labels, where)
    if table[series].isna().any():
        raise InputError(f"{where}: {series} is empty in a row; every row belongs to a stream")
    streams = []
    columns: list[str] = []
    for key, rows in table.groupby(series, sort=False):
        said = f"{key} of {where}"
        found, columns = _one(rows.drop(columns=series), str(key), options, labels, said)
        streams += found
    return streams, columns


def _one(
    table: pd.DataFrame, name: str, options: Mapping[str, Any], labels: Sequence[str], where: str
) -> tuple[list[Stream], list[str]]:
    label = tables.label_column(table, options.get("label"), where)
    time = tables.time_column(table, options.get("time"), where)
    split = "split" if "split" in table.columns else None
    if "x" in table.columns:
        # A coordinate, unless it is asked for.
        labels = [c for c in labels if c != "y" or options.get("label") == "y"]
    given = [c for c in table.columns if c in (*labels, label)]
    rest = [c for c in table.columns if c not in (time, split, *given)]
    columns = [rest[i] for i in choose_columns(options.get("columns"), rest, where)]
    x = files.finite(tables.numbers(table, columns, where), columns, where)
    seconds = None
    if time is not None and options.get("time") != tables.NO_TIME:
        seconds = tables.seconds(table, time, where)
        tables.increasing(seconds, where)
    rows = {}
    for name_ in given:
        if table[name_].isna().any():
            row = int(table[name_].isna().to_numpy().argmax())
            raise InputError(
                f"{where}: {name_} is missing in row {row} (from 0); {tables.READ_AS_MISSING}"
            )
        rows[name_] = np.array(table[name_].tolist())
    parts = {} if split is None else _runs(table[split].tolist(), where)
    return [Stream(name, x, seconds, rows, {}, parts)], columns


def _runs(splits: list[Any], where: str) -> dict[str, tuple[int, int]]:
    """Rows of each split; InputError if they do not follow one another."""
    names = [str(s) for s in splits]
    found = {}
    for name in dict.fromkeys(names):
        rows = [i for i, n in enumerate(names) if n == name]
        if rows[-1] - rows[0] + 1 != len(rows):
            raise InputError(f"{where}: the rows of split {name} do not follow one another")
        found[name] = (rows[0], rows[-1] + 1)
    return found


def from_folder(
    path: Path, options: Mapping[str, Any], labels: Sequence[str]
) -> tuple[list[Stream], list[str]]:
    """One stream for each file, of the folder itself or of its folders train, val and test."""
    below = {p.name: p for p in sorted(path.iterdir()) if p.is_dir()}
    if {"train", "test"} <= set(below):
        groups = {name: files_in(folder) for name, folder in below.items()}
    else:
        groups = {"": files_in(path)}
    streams: list[Stream] = []
    columns: list[str] = []
    for split, members in groups.items():
        for member in members:
            found, own = _file(member, options, labels)
            if columns and own != columns:
                raise InputError(
                    f"{member} has the columns {', '.join(own)}, but the files before it have "
                    f"{', '.join(columns)}"
                )
            columns = own
            for stream in found:
                name = f"{split}/{stream.name}" if split else stream.name
                parts = {split: (0, len(stream.x))} if split else stream.parts
                streams.append(Stream(name, stream.x, stream.time, stream.rows, {}, parts))
    return streams, columns


def _file(
    path: Path, options: Mapping[str, Any], labels: Sequence[str]
) -> tuple[list[Stream], list[str]]:
    if path.suffix == ".csv":
        return _one(tables.read_table(path), path.stem, options, labels, str(path))
    from edgernn.recipes.sources.sequence_folders import read_one

    x, columns = read_one(path, options)
    return [Stream(path.stem, x)], columns
