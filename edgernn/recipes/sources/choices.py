"""What options of a recipe say about its data: columns, names, shares of the splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgernn.runtime.errors import InputError

DEFAULT_SPLIT = "60,20,20"


def names_of(option: str | None) -> list[str]:
    """The names in `a,b,c`."""
    return [name.strip() for name in (option or "").split(",") if name.strip()]


def choose_columns(option: str | None, columns: Sequence[str], where: str) -> list[int]:
    """Places of the columns that `a,b` names, or of all but those that `-a,-b` names.

    InputError for a name that is not there, or if nothing is left.
    """
    names = names_of(option)
    leave = bool(names) and all(n.startswith("-") and n not in columns for n in names)
    bare = [n[1:] for n in names] if leave else names
    missing = [n for n in bare if n not in columns]
    if missing:
        raise InputError(f"{where} has no column {missing[0]!r}; it has {', '.join(columns)}")
    if leave or not names:
        chosen = [i for i, c in enumerate(columns) if c not in bare]
    else:
        chosen = [list(columns).index(n) for n in bare]
    if not chosen:
        raise InputError(
            f"no column of {where} is left for the network; choose some with --columns"
        )
    return chosen


def shares(option: str | None) -> tuple[float, float, float]:
    """The parts of train, val and test in `60,20,20`, as shares of 1."""
    text = option or DEFAULT_SPLIT
    try:
        parts = [float(p) for p in text.replace("/", ",").split(",")]
    except ValueError:
        parts = []
    if len(parts) != 3 or min(parts) <= 0 or sum(parts) == float("inf"):
        raise InputError(
            f"--split {text} is not three parts above 0 for train, val and test, as {DEFAULT_SPLIT}"
        )
    train, val, test = (p / sum(parts) for p in parts)
    return train, val, test


def whole(options: Mapping[str, Any], name: str, default: int, least: int = 1) -> int:
    """An option that is a number of steps, or the default; InputError below `least`."""
    value = options.get(name)
    if value is None:
        return default
    if int(value) != value or value < least:
        flag = name.replace("_", "-")
        raise InputError(f"--{flag} {value} is no number of steps from {least} on")
    return int(value)
