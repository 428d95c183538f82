"""Labelled sequences in a .npz file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgernn.recipes.sources import arrays as files
from edgernn.recipes.sources.choices import choose_columns
from edgernn.recipes.sources.found import LABELS, Array, Found, Part
from edgernn.runtime.errors import InputError

LENGTHS: Final = ("len", "length", "lengths")
CLASS_NAMES: Final = ("class_names", "classes")
ALPHABETS: Final = ("symbols", "vocab")


def from_npz(path: Path, options: Mapping[str, Any]) -> Found:
    arrays = _unrolled(files.load(path), path.name)
    groups = files.by_split(arrays)
    if not groups:
        groups = {"": dict(arrays)}
        if "split" in arrays:
            groups = _grouped(arrays, str(path.name))
    alphabet = next((arrays[n] for n in ALPHABETS if n in arrays), None)
    names = next((files.text_of(arrays[n]) for n in CLASS_NAMES if n in arrays), None)
    parts, columns = {}, [""]
    tokens = 0
    for split, group in groups.items():
        where = f"{split} of {path.name}" if split else path.name
        _, x = files.values_of(group, where)
        if alphabet is not None and x.ndim == 2 and x.dtype.kind in "iu":
            tokens = len(alphabet)
            if int(x.max()) >= tokens or int(x.min()) < 0:
                raise InputError(f"{where} has the id {int(x.max())}, but {tokens} symbols")
            chosen = [0]
        else:
            x, columns = _features(x, arrays, where)
            chosen = choose_columns(options.get("columns"), columns, path.name)
        lengths = lengths_of(group, x, where)
        parts[split] = _part(group, x, lengths, chosen, options.get("label"), where)
    columns = [columns[i] for i in chosen]
    facts = {"symbols": files.text_of(alphabet)} if tokens and alphabet is not None else {}
    return Found(parts, columns, names, tokens, facts)


def _unrolled(arrays: dict[str, Array], where: str) -> dict[str, Array]:
    """Sequences that lie one after the other, x (sum of T, F) and `offsets`, as padded ones."""
    if "offsets" not in arrays:
        return arrays
    name, x = files.values_of(arrays, where)
    offsets = offsets_of(arrays, len(x), where)
    x = x.reshape(len(x), -1)
    lengths = np.diff(offsets)
    padded = np.zeros((len(lengths), int(lengths.max()), x.shape[1]), x.dtype)
    for row, start, length in zip(padded, offsets, lengths, strict=False):
        row[:length] = x[start : start + length]
    return {**arrays, name: padded, "lengths": lengths}


def offsets_of(arrays: Mapping[str, Array], rows: int, where: str) -> list[int]:
    """`offsets` of sequences that lie one after the other, 0 to the number of rows."""
    if "offsets" not in arrays:
        return [0, rows]
    offsets = arrays["offsets"]
    sound = offsets.ndim == 1 and offsets.dtype.kind in "iu" and len(offsets) > 1
    found = [int(v) for v in offsets] if sound else []
    if not found or found[0] != 0 or found[-1] != rows or min(np.diff(found)) < 1:
        raise InputError(f"`offsets` of {where} do not rise from 0 to its {rows} rows")
    return found


def _grouped(arrays: Mapping[str, Array], where: str) -> dict[str, dict[str, Array]]:
    split = np.array(files.text_of(arrays["split"]))
    count = len(files.values_of(arrays, where)[1])
    if len(split) != count:
        raise InputError(f"{where} has {len(split)} entries in `split` for {count} sequences")
    return {
        str(name): {k: a[split == name] for k, a in arrays.items() if a.ndim and len(a) == count}
        for name in np.unique(split)
    }


def _features(x: Array, arrays: Mapping[str, Array], where: str) -> tuple[Array, list[str]]:
    """x as (N, T, F), and the names of its columns."""
    if x.ndim == 2 and "columns" in arrays and arrays["columns"].size == x.shape[1] > 1:
        raise InputError(
            f"x of {where}, {x.shape}, is one stream of {x.shape[1]} columns, not sequences with a "
            f"label each, (N, T, F); for a label at every step there is `edgernn train tag`"
        )
    if x.ndim == 2:
        x = x[:, :, None]
    if x.ndim != 3:
        raise InputError(f"x of {where} is {x.shape}, not sequences (N, T, F)")
    columns = files.column_names(arrays, x.shape[2], where)
    return files.finite(x, columns, where), columns


def lengths_of(group: Mapping[str, Array], x: Array, where: str) -> NDArray[np.int64]:
    """Valid steps of each padded sequence of x (N, T, ...), (N,)."""
    count, longest = x.shape[:2]
    name = next((n for n in LENGTHS if n in group), None)
    if name is None:
        return np.full(count, longest, np.int64)
    lengths = group[name]
    sound = lengths.shape == (count,) and lengths.dtype.kind in "iu"
    if not sound or lengths.min() < 1 or lengths.max() > longest:
        raise InputError(
            f"`{name}` of {where} does not give 1 to {longest} valid steps for each of {count} "
            f"sequences"
        )
    return lengths.astype(np.int64)


def _part(
    group: Mapping[str, Array],
    x: Array,
    lengths: NDArray[np.int64],
    chosen: list[int],
    label: str | None,
    where: str,
) -> Part:
    count, longest = x.shape[:2]
    name = label or next((n for n in LABELS if n in group), "y")
    if name not in group:
        there = ", ".join(sorted(set(group) - {"x", *LENGTHS}))
        raise InputError(
            f"{where} has no labels {name!r}{f', but {there}' if there else ''}; name them: --label"
        )
    labels = group[name]
    if labels.shape != (count,):
        raise InputError(
            f"{name} of {where} is {labels.shape}, not one label for each of {count} sequences"
        )
    if x.ndim == 2:
        cut = [s[:n].astype(np.int64) for s, n in zip(x, lengths, strict=True)]
    else:
        cut = [s[:n, chosen] for s, n in zip(x, lengths, strict=True)]
    part = Part(cut, labels)
    for key, array in group.items():
        skipped = key in (name, *LENGTHS, *files.VALUES, "split", "columns")
        if skipped or array.dtype.kind not in "fiub" or array.shape[:1] != (count,):
            continue
        if array.ndim > 1 and array.shape[1] == longest:
            part.steps[key] = [a[:n] for a, n in zip(array, lengths, strict=True)]
        else:
            part.whole[key] = list(array)
    return part
