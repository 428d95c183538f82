"""Long streams, with labels at each step or none: .npz, .csv or a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgernn.recipes.sources import splits as division
from edgernn.recipes.sources.choices import choose_columns, names_of, shares, whole
from edgernn.recipes.sources.scaling import moments
from edgernn.recipes.sources.series_arrays import from_npz
from edgernn.recipes.sources.series_tables import from_csv, from_folder
from edgernn.recipes.sources.streams import Stream, Streams
from edgernn.runtime.errors import InputError


def read_series(source: str, options: Mapping[str, Any], labels: Sequence[str] = ()) -> Streams:
    """The streams of a file or folder as they are, not standardized.

    options, all of them optional: columns, label, time, sequence, series (which streams), split,
    log (columns of which log(1 + value) is taken), scale (`stream`: each stream is standardized by
    its own training rows, otherwise all by those of all), calibrate (each stream is standardized by
    so many of its first rows).
    labels: columns of a table that are no input, if they are there, beside that of --label.

    Facts: features, columns, mean, std, constant, missing, series (their names), log, and with a
    time time_step (median, seconds) and irregular (share of steps that differ from it by more than
    1 %). With scale `stream`, mean and std are those of each stream, by its name.

    InputError, one sentence, for data that does not fit.
    """
    path = Path(source)
    wanted = [*labels, *([options["label"]] if options.get("label") else [])]
    if not path.exists():
        raise InputError(f"there is no {path}")
    if path.is_dir():
        streams, columns = from_folder(path, options, wanted)
    elif path.suffix == ".npz":
        streams, columns = from_npz(path, options)
    elif path.suffix == ".csv":
        streams, columns = from_csv(path, options, wanted)
    else:
        raise InputError(f"{path} is neither .npz nor .csv nor a folder")
    return arranged(streams, columns, path.stem, options)


def arranged(
    streams: Sequence[Stream], columns: Sequence[str], name: str, options: Mapping[str, Any]
) -> Streams:
    """Streams chosen, checked and split; as read_series gives them."""
    streams = _chosen(streams, options.get("series"), name)
    if max(len(stream.x) for stream in streams) < 2:
        raise InputError(f"{name} has 1 row; nothing to learn from")
    for stream in streams:
        if "label" in options and options["label"] and options["label"] not in stream.rows:
            there = ", ".join(sorted(stream.rows)) or "none"
            raise InputError(
                f"{stream.name} of {name} has no label {options['label']!r}; arrays of as many "
                f"rows as the values: {there}"
            )
    how = "as the data give it"
    given = any(stream.parts for stream in streams)
    if given and options.get("split"):
        raise InputError(f"{name} gives its splits; --split is for data that have none")
    if not given:
        parts = shares(options.get("split"))
        for stream in streams:
            rows = division.by_time(len(stream.x), parts, f"{stream.name} of {name}")
            stream.parts.update(rows)
        percent = "/".join(f"{100 * p:.0f}" for p in parts)
        how = f"{percent} % of the rows{' of each stream' * (len(streams) > 1)}, in time"
    names = division.checked([s for stream in streams for s in stream.parts], name)
    logarithms = names_of(options.get("log"))
    if logarithms:
        streams = _logarithm(streams, columns, logarithms, name)
    train = [s.x[slice(*s.parts["train"])] for s in streams if "train" in s.parts]
    first = whole(options, "calibrate", 0, 2)
    if first and options.get("scale") == "stream":
        raise InputError("--calibrate standardizes each stream already; leave out --scale stream")
    facts = {
        "features": [len(columns)],
        **moments(train, columns, name),
        **(_own_moments(streams, columns) if options.get("scale") == "stream" else {}),
        **(_first_moments(streams, columns, train, first) if first else {}),
        "log": logarithms,
        "series": [s.name for s in streams],
        **_times(streams),
    }
    return Streams(tuple(streams), tuple(names), facts, name, how)


def _chosen(streams: Sequence[Stream], option: str | None, where: str) -> list[Stream]:
    wanted = names_of(option)
    there = [s.name for s in streams]
    missing = [n for n in wanted if n not in there]
    if missing:
        raise InputError(f"{where} has no series {missing[0]!r}; it has {', '.join(there)}")
    return [s for s in streams if not wanted or s.name in wanted]


def _own_moments(streams: Sequence[Stream], columns: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {"mean": {}, "std": {}}
    for stream in streams:
        if "train" not in stream.parts:
            raise InputError(
                f"{stream.name} has no rows in train, so it has no mean of its own; "
                f"leave out --scale stream"
            )
        own = moments([stream.x[slice(*stream.parts["train"])]], columns, stream.name)
        found["mean"][stream.name], found["std"][stream.name] = own["mean"], own["std"]
    return found


def _first_moments(
    streams: Sequence[Stream], columns: Sequence[str], train: Sequence[Any], rows: int
) -> dict[str, Any]:
    """By the first rows of each stream; a column that does not move in them, by its deviation over
    train."""
    usual = moments(train, columns, "train")
    found: dict[str, Any] = {"mean": {}, "std": {}, "calibrate": rows}
    for stream in streams:
        if len(stream.x) < rows:
            raise InputError(
                f"{stream.name} has {len(stream.x)} rows, less than --calibrate {rows}"
            )
        own = moments([stream.x[:rows]], columns, f"the first {rows} rows of {stream.name}")
        found["mean"][stream.name] = own["mean"]
        found["std"][stream.name] = [
            std if name in own["constant"] else mine
            for name, mine, std in zip(columns, own["std"], usual["std"], strict=True)
        ]
    return found


def _logarithm(
    streams: Sequence[Stream], columns: Sequence[str], names: Sequence[str], where: str
) -> list[Stream]:
    places = choose_columns(",".join(names), columns, where)
    found = []
    for stream in streams:
        x = stream.x.copy()
        for place in places:
            if (x[:, place] <= -1).any():
                raise InputError(
                    f"{columns[place]} of {stream.name} in {where} goes down to "
                    f"{np.nanmin(x[:, place]):g}; log(1 + value) needs more than -1"
                )
            x[:, place] = np.log1p(x[:, place])
        found.append(replace(stream, x=x))
    return found


def _times(streams: Sequence[Stream]) -> dict[str, Any]:
    steps = [np.diff(s.time) for s in streams if s.time is not None]
    if not steps:
        return {}
    every = np.concatenate(steps)
    middle = float(np.median(every))
    return {
        "time_step": middle,
        "irregular": float(np.mean(np.abs(every - middle) > 0.01 * middle)),
    }
