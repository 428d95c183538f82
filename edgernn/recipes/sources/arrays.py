"""Arrays of a .npz or .npy file, never unpickled, by what their names say."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgernn.arrays import reason_of
from edgernn.runtime.errors import InputError

Array = NDArray[Any]
VALUES: Final = ("x", "value", "values")
_SPLIT = re.compile(r"(train|val|test)(_\w+)?$")


def load(path: Path) -> dict[str, Array]:
    """All arrays of a file; the one of a .npy is called `x`."""
    try:
        with path.open("rb") as stream:
            loaded = np.load(stream, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return {"x": loaded}
            return {name: loaded[name] for name in loaded.files}
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    except Exception as error:
        # A damaged or foreign file raises what zipfile, zlib and numpy please.
        if "allow_pickle" in str(error) and "Object arrays" in str(error):
            raise InputError(
                f"{path} holds Python objects, which are never unpickled; "
                f"save numbers, or padded sequences with `lengths`"
            ) from None
        raise InputError(f"{path} is not a sound .npy or .npz file: {reason_of(error)}") from None


def by_split(arrays: Mapping[str, Array]) -> dict[str, dict[str, Array]]:
    """Split -> its arrays, from names such as `x_train`; empty if no values are named so."""
    found: dict[str, dict[str, Array]] = {}
    for name, array in arrays.items():
        for prefix in _prefixes(name):
            found.setdefault(name[len(prefix) + 1 :], {})[prefix] = array
    # Only what goes with values: `pad_test` alone makes no split.
    return {s: a for s, a in found.items() if any(v in a for v in VALUES)}


def _prefixes(name: str) -> list[str]:
    places = [i for i, c in enumerate(name) if c == "_"]
    return [name[:i] for i in places if i and _SPLIT.fullmatch(name[i + 1 :])][:1]


def values_of(arrays: Mapping[str, Array], where: str) -> tuple[str, Array]:
    """The array with the values, and its name."""
    for name in VALUES:
        if name in arrays:
            array = arrays[name]
            if array.dtype.kind not in "fiub":
                raise InputError(f"{name} in {where} is of {array.dtype}, not numbers")
            if array.size == 0:
                raise InputError(f"{name} in {where} is empty, {array.shape}")
            return name, array
    raise InputError(f"{where} has no array `x`, but {', '.join(sorted(arrays)) or 'nothing'}")


def text_of(array: Array) -> list[str]:
    """An array of names, or a JSON value, as text."""
    return [str(v) for v in np.atleast_1d(array).tolist()]


def column_names(arrays: Mapping[str, Array], features: int, where: str) -> list[str]:
    """`columns` of a file, or x0, x1 and so on; `value` if there is one."""
    if "columns" not in arrays:
        return ["value"] if features == 1 else [f"x{i}" for i in range(features)]
    names = text_of(arrays["columns"])
    if len(names) != features:
        raise InputError(f"{where} names {len(names)} columns, but its values have {features}")
    return names


def finite(x: Array, columns: Sequence[str], where: str) -> NDArray[np.float32]:
    """x (..., F) as float32; missing values stay NaN. InputError for infinite ones."""
    with np.errstate(over="ignore"):
        values = x.astype(np.float32)
    infinite = np.isinf(values)
    if infinite.any():
        place = tuple(int(i) for i in np.argwhere(infinite)[0])
        raise InputError(
            f"{columns[place[-1]]} in {where} is infinite or beyond float32 at row {place[-2]}; "
            f"leave it empty if it is missing"
        )
    return values
