"""Streams in a .npz file."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgernn.recipes.sources import arrays as files
from edgernn.recipes.sources import splits as division
from edgernn.recipes.sources import tables
from edgernn.recipes.sources.choices import choose_columns
from edgernn.recipes.sources.sequence_arrays import lengths_of, offsets_of
from edgernn.recipes.sources.streams import Stream
from edgernn.runtime.errors import InputError

Array = NDArray[Any]
_NO_ROWS = ("columns", "offsets", "split", "series", "train_end", "val_end")


def from_npz(path: Path, options: Mapping[str, Any]) -> tuple[list[Stream], list[str]]:
    """Streams, and the names of their columns."""
    arrays = files.load(path)
    groups = files.by_split(arrays)
    if not groups:
        return _flat(arrays, arrays, options, path.name)
    streams: list[Stream] = []
    columns: list[str] = []
    for split, group in groups.items():
        found, columns = _flat(group, arrays, options, f"{split} of {path.name}")
        for stream in found:
            name = split if len(found) == 1 else f"{split} {stream.name}"
            parts = {split: (0, len(stream.x))}
            streams.append(Stream(name, stream.x, stream.time, stream.rows, stream.values, parts))
    if len({s.x.shape[1] for s in streams}) > 1:
        raise InputError(f"the splits of {path.name} have different numbers of columns")
    return streams, columns


def _flat(
    group: Mapping[str, Array], arrays: Mapping[str, Array], options: Mapping[str, Any], where: str
) -> tuple[list[Stream], list[str]]:
    name, x = files.values_of(group, where)
    if x.ndim == 3:
        return _padded(group, arrays, options, where)
    x = x[:, None] if x.ndim == 1 else x
    if x.ndim != 2:
        raise InputError(f"{name} of {where} is {x.shape}, not a stream (T, F)")
    columns = files.column_names(arrays, x.shape[1], where)
    places = choose_columns(options.get("columns"), columns, where)
    columns = [columns[i] for i in places]
    values = files.finite(x[:, places], columns, where)
    time = options.get("time") or "time"
    offsets = offsets_of(group, len(x), where)
    count = len(offsets) - 1
    names = files.text_of(group["series"]) if "series" in group else [str(i) for i in range(count)]
    if len(names) != count:
        raise InputError(f"{where} names {len(names)} series, but has {count}")
    if count == 1 and "series" not in group:
        names = ["values"]
    parts = _parts(group, offsets, where)
    rows = {
        # What has as many columns as the values goes with them.
        k: a[:, places] if a.shape[1:] == x.shape[1:] and a.ndim > 1 else a
        for k, a in group.items()
        if k not in (*_NO_ROWS, *files.VALUES, time) and a.ndim and len(a) == len(x)
    }
    own = {
        k: a
        for k, a in group.items()
        if k not in (*_NO_ROWS, *files.VALUES, time, *rows) and a.shape == (count,)
    }
    streams = []
    for i, (start, stop) in enumerate(pairwise(offsets)):
        said = f"{names[i]} of {where}"
        streams.append(
            Stream(
                names[i],
                values[start:stop],
                _time(group, time, slice(start, stop), len(x), said),
                {k: a[start:stop] for k, a in rows.items()},
                {k: a[i].item() for k, a in own.items()},
                parts[i],
            )
        )
    return streams, columns


def _time(
    group: Mapping[str, Array], name: str, rows: slice, count: int, where: str
) -> NDArray[np.float64] | None:
    if name not in group:
        if name not in ("time", tables.NO_TIME):
            raise InputError(f"{where} has no array {name!r}, but {', '.join(sorted(group))}")
        return None
    time = group[name]
    if time.shape != (count,):
        raise InputError(f"`{name}` of {where} is {time.shape}, but there are {count} rows")
    if time.dtype.kind == "M":
        time = time.astype("datetime64[us]").astype(np.int64) / 1e6
    if time.dtype.kind not in "fiu":
        raise InputError(f"`{name}` of {where} is of {time.dtype}, neither seconds nor datetime64")
    found = time[rows].astype(np.float64)
    tables.increasing(found, where)
    return found


def _parts(
    group: Mapping[str, Array], offsets: list[int], where: str
) -> list[dict[str, tuple[int, int]]]:
    lengths = np.diff(offsets).tolist()
    if "split" in group:
        splits = files.text_of(group["split"])
        if len(splits) != len(lengths):
            raise InputError(f"{where} gives {len(splits)} splits for {len(lengths)} series")
        return [{s: (0, n)} for s, n in zip(splits, lengths, strict=True)]
    if "train_end" in group and "val_end" in group:
        ends = [np.atleast_1d(group[k]).tolist() for k in ("train_end", "val_end")]
        if any(len(e) != len(lengths) for e in ends):
            raise InputError(f"train_end and val_end of {where} are not one row for each series")
        return [
            division.at_rows(n, int(a), int(b), where)
            for n, a, b in zip(lengths, *ends, strict=True)
        ]
    return [{} for _ in lengths]


def _padded(
    group: Mapping[str, Array], arrays: Mapping[str, Array], options: Mapping[str, Any], where: str
) -> tuple[list[Stream], list[str]]:
    """Streams of (N, T, F) with their lengths; arrays (N, T, ...) go with them."""
    _, x = files.values_of(group, where)
    columns = files.column_names(arrays, x.shape[2], where)
    places = choose_columns(options.get("columns"), columns, where)
    columns = [columns[i] for i in places]
    values = files.finite(x[:, :, places], columns, where)
    lengths = lengths_of(group, x, where)
    rows = {k: a for k, a in group.items() if a.shape[:2] == x.shape[:2] and k not in files.VALUES}
    time = rows.pop("time", None)
    if options.get("time") == tables.NO_TIME:
        time = None
    streams = []
    for i, n in enumerate(lengths.tolist()):
        own = None if time is None else time[i, :n].astype(np.float64)
        if own is not None:
            tables.increasing(own, f"sequence {i} of {where}")
        cut = {k: a[i, :n] for k, a in rows.items()}
        streams.append(Stream(str(i), values[i, :n], own, cut))
    return streams, columns
