"""Sequences with labels from one file."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgernn.arrays import load_arrays, load_sequences
from edgernn.graph import FloatArray, Graph
from edgernn.runtime.errors import InputError
from edgernn.runtime.program import Program
from edgernn.runtime.window import Window

LABELS: Final = "y"
"""What labels are called where nothing else is said."""


def load_labelled(
    spec: str, key: str, program: Program | Window, graph: Graph | None = None
) -> tuple[list[dict[str, FloatArray]], list[NDArray[Any]] | None]:
    """Sequences, input -> (T, F), and a label for each, () or (T,) or (T, O); None without labels.

    key: of the labels; "" for `y` if the file has it. Of padded sequences, where the file has
    `lengths`, labels of each step are cut too. graph: as for `load_sequences`.
    """
    arrays = load_arrays(spec)
    if key and key not in arrays:
        raise InputError(f"{spec} has no array {key!r} of labels; it has {sorted(arrays)}")
    chosen = key or (LABELS if LABELS in arrays else "")
    labels = arrays.get(chosen) if chosen else None
    if chosen and len(arrays) == 1:
        raise InputError(f"{spec} holds labels alone; the sequences they belong to are missing")
    data = _without(spec, arrays, chosen)
    sequences = load_sequences(data, program, graph)
    if labels is None:
        return sequences, None
    lengths = arrays.get("lengths")
    if labels.ndim == 0:
        raise InputError(f"the labels of {spec} are a single value; give one for each sequence")
    if len(labels) != len(sequences):
        empty = lengths is not None and not np.all(lengths)
        why = "; leave out sequences of length 0" if empty else ""
        raise InputError(f"{spec} has {len(labels)} labels for {len(sequences)} sequences{why}")
    listed = [np.asarray(label) for label in labels]
    if lengths is not None and labels.ndim > 1:
        listed = [label[:n] for label, n in zip(listed, lengths, strict=True)]
    return sequences, listed


def _without(spec: str, arrays: dict[str, NDArray[Any]], labels: str) -> str:
    """The spec with the other arrays named, so that labels are not taken for data."""
    if not labels:
        return spec
    path = spec.rpartition(":")[0] if _has_keys(spec) else spec
    return f"{path}:{','.join(name for name in arrays if name != labels)}"


def _has_keys(spec: str) -> bool:
    from pathlib import Path

    return ":" in spec and not Path(spec).exists()
