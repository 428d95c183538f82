"""Columns of strings from a table, arrays, or folders of .txt files."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Final

from edgernn.runtime.errors import InputError, MissingExtraError

TABLES: Final = (".tsv", ".tab", ".csv")
ALIASES: Final = {"valid": "val", "validation": "val", "dev": "val", "training": "train"}
"""Other names of splits, of folders, files and in a table."""

Columns = dict[str, list[str]]


def read_text(path: Path) -> str:
    """A file of UTF-8, a byte order mark at its front left out; InputError if it is not one."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not UTF-8 at byte {error.start}; convert it, "
            "as with iconv -f latin1 -t utf-8"
        ) from None


def read_columns(source: str) -> Columns:
    """The columns of a file or folder, equally long, by name; of folders `text` and `label`.

    A .tsv has no quoting, a tab ends a field; a .csv is quoted as in RFC 4180, and divided by
    comma, semicolon or tab, whichever its first line has most of; both have a header. A folder
    holds a folder for each class, with a .txt file for each text; or such folders in train, val and
    test; or train.tsv, val.tsv and test.tsv. The last two have a column `split` then.
    """
    path = Path(source)
    if path.is_dir():
        columns = _folder(path)
    elif not path.exists():
        raise InputError(f"{source} is not there")
    elif path.suffix == ".npz":
        columns = _arrays(source)
    elif path.suffix in TABLES:
        columns = _table(path)
    else:
        raise InputError(
            f"{source} is no table of texts; give a .tsv, a .csv, an .npz of strings, or a folder "
            "with a folder of .txt files for each class"
        )
    if not columns or not next(iter(columns.values())):
        raise InputError(f"{source} has no texts")
    return columns


def _table(path: Path) -> Columns:
    try:
        import pandas
    except ImportError:
        raise MissingExtraError(
            f"{path} needs pandas; install it with: pip install 'edgernn[train]'"
        ) from None

    content = read_text(path)
    plain = path.suffix != ".csv"
    separator = "\t" if plain else max(",;\t", key=content.partition("\n")[0].count)
    try:
        # No row is the header to pandas: it would take a longer row's first field for an index.
        frame = pandas.read_csv(
            io.StringIO(content),
            sep=separator,
            header=None,
            dtype=str,
            na_filter=False,
            quoting=csv.QUOTE_NONE if plain else csv.QUOTE_MINIMAL,
        )
    except pandas.errors.EmptyDataError:
        raise InputError(f"{path} is empty") from None
    except pandas.errors.ParserError as error:
        reason = str(error).strip().removeprefix("Error tokenizing data. C error: ")
        raise InputError(f"{path} is no table with a header: {reason}") from None
    names = [str(name).strip() for name in frame.iloc[0]]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InputError(f"{path} has the column {twice[0]!r} twice")
    return {name: frame.iloc[1:, i].tolist() for i, name in enumerate(names)}


def _arrays(source: str) -> Columns:
    from edgernn.arrays import load_arrays

    arrays = load_arrays(source)
    columns = {n: a for n, a in arrays.items() if a.ndim == 1 and a.dtype.kind in "Uiu"}
    strings = any(a.dtype.kind == "U" for a in columns.values())
    if not strings or len({len(a) for a in columns.values()}) != 1:
        raise InputError(
            f"{source} does not hold arrays of strings, all equally long; "
            "give a .tsv with a header instead"
        )
    return {name: [str(value) for value in array] for name, array in columns.items()}


def _folder(path: Path) -> Columns:
    tables = {_split(p.stem): p for p in sorted(path.iterdir()) if p.suffix in TABLES}
    if "train" in tables:
        return _tables(path, tables)
    folders = {p.name: p for p in sorted(path.iterdir()) if p.is_dir()}
    splits = {_split(name): p for name, p in folders.items()}
    if "train" not in splits or not any(p.is_dir() for p in splits["train"].iterdir()):
        return _classes(path)
    joined: Columns = {"text": [], "label": [], "split": []}
    for name, part in splits.items():
        found = _classes(part)
        for column, values in {**found, "split": [name] * len(found["text"])}.items():
            joined[column] += values
    return joined


def _tables(path: Path, tables: dict[str, Path]) -> Columns:
    joined: Columns = {}
    for split, file in tables.items():
        found = _table(file)
        found["split"] = [split] * len(next(iter(found.values())))
        if joined and set(found) != set(joined):
            raise InputError(f"the tables in {path} have different columns: see {file.name}")
        for column, values in found.items():
            joined.setdefault(column, []).extend(values)
    return joined


def _classes(path: Path) -> Columns:
    """A folder for each class."""
    found: Columns = {"text": [], "label": []}
    for folder in sorted(p for p in path.iterdir() if p.is_dir()):
        files = sorted(folder.glob("*.txt"))
        if not files:
            raise InputError(f"{folder} holds no .txt file")
        found["text"] += [read_text(file) for file in files]
        found["label"] += [folder.name] * len(files)
    if not found["text"]:
        raise InputError(f"{path} holds no folder for each class with .txt files, and no train.tsv")
    return found


def _split(name: str) -> str:
    return ALIASES.get(name, name)
