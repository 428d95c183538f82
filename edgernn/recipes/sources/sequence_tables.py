"""Labelled sequences in one .csv file: a row for each step, a column names the sequence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgernn.recipes.sources import arrays as files
from edgernn.recipes.sources import tables
from edgernn.recipes.sources.choices import choose_columns
from edgernn.recipes.sources.found import SEQUENCES, Array, Found, Part
from edgernn.runtime.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


def from_csv(path: Path, options: Mapping[str, Any]) -> Found:
    table = tables.read_table(path)
    where = path.name
    chosen = options.get("sequence")
    name = chosen or next((c for c in table.columns if c.lower() in SEQUENCES), None)
    if name is None:
        raise InputError(
            f"{where} has no column {' or '.join(SEQUENCES)} that says which rows are one "
            f"sequence; name it: --sequence"
        )
    tables.column(table, name, where)
    label = tables.label_column(table, options.get("label"), where)
    if label is None:
        raise InputError(f"{where} has no column `label`; name the one with the labels: --label")
    time = tables.time_column(table, options.get("time"), where)
    split = "split" if "split" in table.columns else None
    rest = [c for c in table.columns if c not in (name, label, time, split)]
    places = choose_columns(options.get("columns"), rest, where)
    columns = [rest[i] for i in places]
    values = files.finite(tables.numbers(table, columns, where), columns, where)
    seconds = (
        None
        if time is None or options.get("time") == tables.NO_TIME
        else tables.seconds(table, time, where)
    )
    if table[name].isna().any():
        raise InputError(f"{where}: {name} is empty in a row; every row belongs to a sequence")
    parts: dict[str, dict[str, list[Any]]] = {}
    for key, rows in table.groupby(name, sort=False).indices.items():
        said = f"sequence {key} of {where}"
        one = _constant(table, label, rows, said)
        into = _constant(table, split, rows, said) if split else ""
        part = parts.setdefault(str(into), {"x": [], "y": [], "time": []})
        part["x"].append(values[rows])
        part["y"].append(one)
        if seconds is not None:
            tables.increasing(seconds[rows], said)
            part["time"].append(seconds[rows] - seconds[rows[0]])
    made = {
        s: Part(p["x"], np.array(p["y"]), {"time": p["time"]} if p["time"] else {})
        for s, p in parts.items()
    }
    return Found(made, columns)


def _constant(table: pd.DataFrame, name: str, rows: Array, where: str) -> Any:
    values = table[name].iloc[rows]
    if values.isna().any():
        raise InputError(
            f"{where} has an empty {name}; every row of it has the same one; "
            f"{tables.READ_AS_MISSING}"
        )
    found = values.unique()
    if len(found) > 1:
        raise InputError(f"{name} of {where} changes from {str(found[0])!r} to {str(found[1])!r}")
    return found[0]
