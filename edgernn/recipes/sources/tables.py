"""Tables: .csv files with a header, read by pandas. Empty cells are missing values."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from edgernn.runtime.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    import pandas as pd

TIMES: Final = ("time", "timestamp", "datetime", "date")
NO_TIME: Final = "none"
READ_AS_MISSING: Final = "None, NA and null count as empty, so a class cannot be called so"
_FIRST_ROW = 2
"""The file's line of row 0, as an editor counts."""


def read_table(path: Path) -> pd.DataFrame:
    """The whole file; comma, semicolon or tab, whichever its header has most of.

    InputError for a file that is no table, has no header or less than two rows.
    """
    try:
        import pandas as pd
    except ImportError:
        raise MissingExtraError(
            "a .csv file needs pandas; install it with: pip install 'edgernn[train]'"
        ) from None

    try:
        with path.open(encoding="utf-8-sig") as stream:
            header = stream.readline()
        separator = max(",;\t", key=header.count)
        names = [n.strip() for n in next(csv.reader([header], delimiter=separator), [])]
        table = pd.read_csv(path, sep=separator, encoding="utf-8-sig", low_memory=False)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, csv.Error, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(f"{path} is not a sound table: {str(error).strip()}") from None
    twice = [name for name in names if name and names.count(name) > 1]
    if twice:
        # pandas would call the second one otherwise.
        raise InputError(f"{path} has the column {twice[0]!r} twice; rename one of them")
    if len(names) == len(table.columns):
        for i in (i for i, name in enumerate(names) if not name):
            # Row numbers, as some programs write them, would tell the network how late it is.
            if table.iloc[:, i].notna().any():
                raise InputError(
                    f"column {i + 1} of {path} has no name; name it, or take it out if it holds "
                    "row numbers (pandas: to_csv(..., index=False))"
                )
        table = table.loc[:, [bool(name) for name in names]]
    table.columns = [str(c).strip() for c in table.columns]
    if not isinstance(table.index, pd.RangeIndex):
        raise InputError(f"{path} has more cells in a row than names in its header")
    if all(_is_number(c) for c in table.columns):
        raise InputError(f"{path} has no header: its first line is {header.strip()[:60]!r}")
    if len(table) < 2:
        raise InputError(f"{path} has {len(table)} row{'s' * (len(table) != 1)}; nothing to learn")
    return table


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def column(table: pd.DataFrame, name: str, where: object) -> str:
    """The name, if the table has it."""
    if name not in table.columns:
        raise InputError(f"{where} has no column {name!r}; it has {', '.join(table.columns)}")
    return name


def label_column(table: pd.DataFrame, option: str | None, where: object) -> str | None:
    """The column with the labels: that of --label, `label`, or `y` where it is no coordinate."""
    if option:
        return column(table, option, where)
    defaults = ("label",) if "x" in table.columns else ("label", "y")
    return next((c for c in defaults if c in table.columns), None)


def time_column(table: pd.DataFrame, option: str | None, where: object) -> str | None:
    """The column with the time: that of --time, or one that is called so; with `none` no column
    that is read, though those that are called so are no input."""
    if option and option != NO_TIME:
        return column(table, option, where)
    return next((c for c in table.columns if c.lower() in TIMES), None)


def numbers(table: pd.DataFrame, names: Sequence[str], where: object) -> NDArray[np.float64]:
    """These columns (T, F), empty cells NaN. InputError that names row and value for text."""
    import pandas as pd

    found = np.empty((len(table), len(names)))
    for i, name in enumerate(names):
        values = pd.to_numeric(table[name], errors="coerce").to_numpy(np.float64, na_value=np.nan)
        text = np.isnan(values) & table[name].notna().to_numpy()
        if text.any():
            row = int(text.argmax())
            raise InputError(
                f"{where}, line {_line(table, row)}: {name} is {str(table[name].iloc[row])!r}, "
                f"not a number; correct it, empty the cell, or leave the column out: "
                f"--columns=-{name}"
            )
        found[:, i] = values
    return found


def _line(table: pd.DataFrame, row: int) -> int:
    return int(table.index[row]) + _FIRST_ROW


def seconds(table: pd.DataFrame, name: str, where: object) -> NDArray[np.float64]:
    """A time column in seconds: numbers are seconds already, all else is read as a date."""
    import pandas as pd

    raw = table[name]
    if pd.api.types.is_numeric_dtype(raw):
        time = raw.to_numpy(np.float64, na_value=np.nan)
    else:
        try:
            moments = pd.to_datetime(raw, utc=True, format="mixed")
        except (ValueError, TypeError) as error:
            raise InputError(f"{where}: {name} is no time: {error}") from None
        time = (moments - pd.Timestamp(0, tz="UTC")).dt.total_seconds().to_numpy(np.float64)
    found: NDArray[np.float64] = time
    if np.isnan(found).any():
        row = int(np.isnan(found).argmax())
        raise InputError(
            f"{where}, line {_line(table, row)}: {name} is empty; every row has a time"
        )
    return found


def increasing(time: NDArray[Any], where: object) -> None:
    """InputError if a row is not later than the one before."""
    late = np.diff(time) <= 0
    if late.any():
        row = int(late.argmax()) + 1
        raise InputError(
            f"{where}: the time of row {row} (from 0) is not after that of the row before; "
            f"sort the rows and drop repeated ones, or take them in their order: --time {NO_TIME}"
        )
