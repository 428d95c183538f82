"""Labelled sequences in a folder: one folder for each class, one file for each sequence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgernn.recipes.sources import arrays as files
from edgernn.recipes.sources import tables
from edgernn.recipes.sources.choices import choose_columns
from edgernn.recipes.sources.found import Array, Found, Part
from edgernn.runtime.errors import InputError


def from_folder(path: Path, options: Mapping[str, Any]) -> Found:
    below = sorted(p for p in path.iterdir() if p.is_dir())
    if not below:
        raise InputError(f"{path} has no folders; make one for each class, with .csv or .npy files")
    split = {"train", "test"} <= {p.name for p in below}
    if split:
        folders = {p.name: p for p in below}
        for folder in folders.values():
            if not any(p.is_dir() for p in folder.iterdir()):
                raise InputError(f"{folder} has no folders; make one for each class in it")
        groups = {n: sorted(p for p in f.iterdir() if p.is_dir()) for n, f in folders.items()}
    else:
        groups = {"": below}
    parts: dict[str, Part] = {}
    columns: list[str] = []
    first: Path | None = None
    for name, folders_ in groups.items():
        x: list[Array] = []
        labels: list[str] = []
        for folder in folders_:
            for file in files_in(folder):
                values, found = read_one(file, options)
                first = first or file
                columns = columns or found
                if found != columns:
                    raise InputError(
                        f"{file} has the columns {', '.join(found)}, but {first} has "
                        f"{', '.join(columns)}"
                    )
                x.append(values)
                labels.append(folder.name)
        parts[name] = Part(x, np.array(labels))
    return Found(parts, columns)


def files_in(folder: Path) -> list[Path]:
    """The .csv and .npy files of a folder, by name; InputError if there is none."""
    found = sorted(p for p in folder.iterdir() if p.suffix in (".csv", ".npy"))
    if not found:
        raise InputError(f"{folder} has no .csv or .npy file")
    return found


def read_one(path: Path, options: Mapping[str, Any]) -> tuple[NDArray[np.float32], list[str]]:
    """The values (T, F) of one sequence in a file of its own, and their columns."""
    if path.suffix == ".npy":
        x = files.values_of(files.load(path), str(path))[1]
        x = x[:, None] if x.ndim == 1 else x
        if x.ndim != 2:
            raise InputError(f"{path} is {x.shape}, not a sequence (T, F)")
        columns = files.column_names({}, x.shape[1], str(path))
    else:
        table = tables.read_table(path)
        time = tables.time_column(table, options.get("time"), path)
        if time is not None and options.get("time") != tables.NO_TIME:
            tables.increasing(tables.seconds(table, time, path), path)
        # A label among the values would answer for the network.
        label = tables.label_column(table, options.get("label"), path)
        columns = [c for c in table.columns if c not in (time, label)]
        x = np.empty((0, 0))
    places = choose_columns(options.get("columns"), columns, str(path))
    columns = [columns[i] for i in places]
    x = x[:, places] if x.size else tables.numbers(table, columns, path)
    return files.finite(x, columns, str(path)), columns
