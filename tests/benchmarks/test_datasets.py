"""The loaders read valid steps only, scale by the training split, and invent no target."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.datasets import LOADERS, Task, load
from edgernn.runtime.errors import InputError


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def _vowels(rng: np.random.Generator) -> dict[str, Any]:
    arrays: dict[str, Any] = {"class_names": np.array(["a", "b"])}
    for part, count in (("train", 20), ("val", 5), ("test", 5)):
        x = rng.normal(3.0, 2.0, (count, 9, 4)).astype(np.float32)
        x[:, :, 3] = 0.7 if part == "train" else 0.9
        lengths = rng.integers(2, 9, count).astype(np.int16)
        for row, n in zip(x, lengths, strict=True):
            row[n:] = 1e6
        arrays |= {f"x_{part}": x, f"len_{part}": lengths}
        arrays[f"y_{part}"] = rng.integers(0, 2, count).astype(np.int8)
    return arrays


def _air(rng: np.random.Generator) -> dict[str, Any]:
    x = rng.uniform(1.0, 50.0, (60, 7)).astype(np.float32)
    x[[0, 10, 11, 44], 0] = np.nan
    return {"x": x, "train_end": np.int32(40), "val_end": np.int32(50)}


def _load(name: str, arrays: dict[str, Any], folder: Path) -> Task:
    np.savez(folder / f"{name}.npz", **arrays)
    return load(name, folder)


def test_padding_reaches_neither_the_sequences_nor_the_scaling(
    rng: np.random.Generator, tmp_path: Path
) -> None:
    arrays = _vowels(rng)
    task = _load("japanese_vowels", arrays, tmp_path)
    assert [len(x) for x in task.train.x] == arrays["len_train"].tolist()
    values = np.concatenate(task.train.x)
    np.testing.assert_allclose(values[:, :3].mean(axis=0), 0.0, atol=1e-5)
    np.testing.assert_allclose(values[:, :3].std(axis=0), 1.0, atol=1e-5)


def test_a_sensor_that_never_moves_becomes_zero(rng: np.random.Generator, tmp_path: Path) -> None:
    task = _load("japanese_vowels", _vowels(rng), tmp_path)
    assert not any(np.concatenate(s.x)[:, 3].any() for s in (task.train, task.val, task.test))


def test_the_test_split_is_scaled_as_the_training_split(
    rng: np.random.Generator, tmp_path: Path
) -> None:
    arrays = _vowels(rng)
    before = _load("japanese_vowels", arrays, tmp_path)
    arrays["x_test"] = arrays["x_test"] * 2
    after = _load("japanese_vowels", arrays, tmp_path)
    np.testing.assert_array_equal(before.train.x[0], after.train.x[0])
    assert np.abs(after.test.x[0]).max() > np.abs(before.test.x[0]).max()


def test_a_missing_measurement_is_filled_in_the_input_and_not_asked_for_as_target(
    rng: np.random.Generator, tmp_path: Path
) -> None:
    task = _load("air_beijing", _air(rng), tmp_path)
    splits = (task.train, task.val, task.test)
    assert sum(len(s.x[0]) for s in splits) == 59
    assert all(np.isfinite(s.x[0]).all() for s in splits)
    train, test = task.train, task.test
    np.testing.assert_array_equal(train.x[0][9, 0], train.x[0][[10, 11], 0])
    assert np.flatnonzero(np.isnan(train.y[0][:, 0])).tolist() == [0, 9, 10, 11]
    assert np.isfinite(train.y[0][:, 1:]).all()
    assert np.isfinite(test.y[0]).all()


def test_a_file_without_its_arrays_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"room_occupancy\.npz has no array 'x_train'"):
        _load("room_occupancy", {"y_train": np.zeros(3)}, tmp_path)
    for name in set(LOADERS) - {"room_occupancy"}:
        with pytest.raises(InputError, match=f"{name}.npz"):
            load(name, tmp_path)
