"""Labels as class indices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgernn.runtime.errors import InputError

Array = NDArray[Any]
MUST_HAVE_ALL = ("train", "val", "test")


def as_classes(
    labels: Mapping[str, Array], names: Sequence[str] | None, where: str, unit: str = "sequence"
) -> tuple[dict[str, NDArray[np.int64]], list[str]]:
    """Labels by split as indices, and the names of the classes.

    names: those of the indices in the data; without them the classes are the labels that occur, in
    order. InputError for labels that are missing or broken numbers, and for a class that one of
    train, val and test has not.
    """
    for split, array in labels.items():
        check(array, f"{split} of {where}", unit)
    if names is None:
        everything = np.unique(np.concatenate([np.asarray(a).ravel() for a in labels.values()]))
        found = {s: np.searchsorted(everything, a).astype(np.int64) for s, a in labels.items()}
        classes = [_text(v) for v in everything.tolist()]
    else:
        classes = list(names)
        found = {s: _indices(a, classes, f"{s} of {where}") for s, a in labels.items()}
    if len(classes) < 2:
        raise InputError(
            f"{where} has the class {classes[0]!r} only; there is nothing to tell apart"
        )
    for split in MUST_HAVE_ALL:
        absent = sorted(set(range(len(classes))) - set(found[split].tolist()))
        if absent:
            raise InputError(
                f"{split} of {where} has no {unit} of class {classes[absent[0]]!r}; "
                f"add some, or leave the class out of all splits"
            )
    return found, classes


def check(labels: Array, where: str, unit: str) -> None:
    """InputError for labels that are missing or neither whole numbers nor text."""
    kind = labels.dtype.kind
    if kind == "f":
        missing = np.isnan(labels)
        if missing.any():
            raise InputError(f"the label of {unit} {int(missing.argmax())} in {where} is missing")
        broken = labels != np.round(labels)
        if broken.any():
            raise InputError(
                f"the label of {unit} {int(broken.argmax())} in {where} is "
                f"{labels[broken][0]:g}, which is no class"
            )
    elif kind in "OUS":
        missing = np.array([v is None or v != v or str(v).strip() == "" for v in labels.tolist()])
        if missing.any():
            raise InputError(f"the label of {unit} {int(missing.argmax())} in {where} is missing")
    elif kind not in "iub":
        raise InputError(f"the labels in {where} are of {labels.dtype}, neither numbers nor text")


def _text(value: Any) -> str:
    return str(int(value)) if isinstance(value, float | bool) else str(value)


def _indices(labels: Array, classes: list[str], where: str) -> NDArray[np.int64]:
    if labels.dtype.kind in "OUS":
        unknown = [str(v) for v in labels.tolist() if str(v) not in classes]
        if unknown:
            raise InputError(f"{where} has the label {unknown[0]!r}, which is not in class_names")
        return np.array([classes.index(str(v)) for v in labels.tolist()], np.int64)
    indices = labels.astype(np.int64)
    if indices.size and (indices.min() < 0 or indices.max() >= len(classes)):
        bad = indices[(indices < 0) | (indices >= len(classes))][0]
        raise InputError(f"{where} has the label {bad}, but class_names has {len(classes)} names")
    return indices
