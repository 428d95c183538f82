"""Standardization by the training data, and what is done about missing values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgernn.runtime.errors import InputError
from edgernn.training.base import Dataset, Split

Array = NDArray[Any]
_CONSTANT = 1e-6


def moments(train: Sequence[Array], columns: Sequence[str], where: str) -> dict[str, Any]:
    """Facts: mean, std of each column over all steps of train, (T_i, F) each with NaN for missing.

    std is 1 where a column is constant, `constant` names those. InputError for a column that has
    no value at all.
    """
    everything = np.concatenate([np.asarray(x, np.float64) for x in train])
    observed = ~np.isnan(everything)
    counts = observed.sum(axis=0)
    if (counts == 0).any():
        name = columns[int((counts == 0).argmax())]
        raise InputError(
            f"train of {where} has no value of {name}; leave the column out: --columns=-{name}"
        )
    filled = np.where(observed, everything, 0.0)
    mean = filled.sum(axis=0) / counts
    variance = (np.where(observed, everything - mean, 0.0) ** 2).sum(axis=0) / counts
    std = np.sqrt(variance)
    constant = std <= _CONSTANT * np.maximum(np.abs(mean), 1e-30)
    std[constant] = 1.0
    return {
        "columns": list(columns),
        "mean": [float(np.float32(v)) for v in mean],
        "std": [float(np.float32(v)) for v in std],
        "constant": [c for c, flat in zip(columns, constant, strict=True) if flat],
        "missing": float(1 - observed.mean()),
    }


def scaled(x: Array, facts: Mapping[str, Any]) -> NDArray[np.float32]:
    """x (T, F) less the mean, over std; missing values stay NaN."""
    mean, std = (np.array(facts[name], np.float32) for name in ("mean", "std"))
    result: NDArray[np.float32] = ((np.asarray(x, np.float32) - mean) / std).astype(np.float32)
    return result


def standardize(dataset: Dataset, name: str = "x") -> Dataset:
    """A data set of raw values standardized, missing values 0 (the mean).

    Beside each array `name` (T_i, F) there is then `observed` (T_i, F) float32: 1 or 0. Token ids
    stay as they are.
    """
    if dataset.facts["features"] == [0]:
        return dataset
    splits = {}
    for key, split in dataset.splits.items():
        values = [scaled(x, dataset.facts) for x in split.arrays[name]]
        arrays = {
            **split.arrays,
            name: [np.nan_to_num(x, nan=0.0) for x in values],
            "observed": [(~np.isnan(x)).astype(np.float32) for x in values],
        }
        splits[key] = replace(split, arrays=arrays, steps=_with(split, "observed"))
    return replace(dataset, splits=splits)


def _with(split: Split, name: str) -> tuple[str, ...]:
    return split.steps if name in split.steps else (*split.steps, name)
