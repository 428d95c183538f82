"""classify: missing values, symbols, what it is judged by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgernn.importer import import_model
from edgernn.quantization import quantize_graph
from edgernn.recipes.classify import Classify, with_missing
from edgernn.recipes.sources import read_sequences, standardize
from edgernn.runtime.errors import InputError
from edgernn.training.base import Layers
from edgernn.training.exported import calibration
from edgernn.training.predict import float_outputs, integer_outputs


def gappy(path: Path, steps: int = 6) -> Path:
    """Sequences of two columns with gaps, at irregular times, one of two classes."""
    generator = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for name, n in (("train", 20), ("val", 8), ("test", 8)):
        y = np.arange(n) % 2
        x = generator.normal(size=(n, steps, 2)).astype(np.float32) + y[:, None, None]
        x[generator.random(x.shape) < 0.4] = np.nan
        minute = np.cumsum(generator.integers(1, 5, (n, steps)), axis=1)
        arrays |= {f"x_{name}": x, f"y_{name}": y, f"minute_{name}": minute,
                   f"len_{name}": np.full(n, steps)}  # fmt: skip
    np.savez(path, **arrays)
    return path


def test_the_last_value_is_held_with_its_age(tmp_path: Path) -> None:
    path = gappy(tmp_path / "gappy.npz")
    raw = read_sequences(str(path), {})
    dataset = with_missing(raw, standardize(raw), "forward", "minute")
    assert dataset.facts["features"] == [6]
    split, given = dataset.splits["test"], raw.splits["test"]
    mean, std = (np.array(dataset.facts[k], np.float32) for k in ("mean", "std"))
    for x, before, minute in zip(
        split.arrays["x"], given.arrays["x"], given.arrays["minute"], strict=True
    ):
        for column in range(2):
            held, since, last = 0.0, 0.0, None
            for t in range(len(x)):
                if t:
                    since = float(minute[t] - minute[t - 1]) + (0 if last == t - 1 else since)
                assert x[t, 4 + column] == pytest.approx(np.log1p(since), abs=1e-6)
                if not np.isnan(before[t, column]):
                    held, last = (before[t, column] - mean[column]) / std[column], t
                assert x[t, column] == pytest.approx(held, abs=1e-5)
                assert x[t, 2 + column] == float(last == t)


@pytest.mark.parametrize(
    ("way", "cell", "inputs"), [("forward", "gru", 1), ("zero", "bilstm", 1), ("decay", "gru_d", 3)]
)
def test_every_way_with_missing_values_ends_in_a_program(
    tmp_path: Path, way: str, cell: str, inputs: int
) -> None:
    recipe = Classify()
    options = {"missing": way, "time": "minute"}
    dataset = recipe.read(str(gappy(tmp_path / "gappy.npz")), options, 0)
    torch.manual_seed(0)
    network = recipe.network(dataset.facts, Layers(cell, hidden=5)).eval()
    split = dataset.splits["test"]
    assert len(split.inputs) == inputs
    example = tuple(torch.from_numpy(np.stack(split.arrays[n][:2])) for n in split.inputs)
    graph = import_model(network, example)
    program = quantize_graph(graph, calibration(dataset.splits["train"], graph))
    floats, ints = float_outputs(network, split), integer_outputs(program, split)
    scores = recipe.score(floats, split, dataset.facts)
    assert set(scores) == {"accuracy", "macro_f1", "auroc"}
    apart = [abs(a[0][-1] - b[0][-1]).max() for a, b in zip(floats, ints, strict=True)]
    assert max(apart) < 0.02


def test_symbols_are_read_as_ids(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    arrays: dict[str, Any] = {"symbols": np.array(list("ACGT")), "class_names": ["no", "yes"]}
    for name in ("train", "val", "test"):
        arrays |= {
            f"x_{name}": generator.integers(0, 4, (10, 7), dtype=np.uint8),
            f"y_{name}": np.arange(10) % 2,
        }
    np.savez(tmp_path / "dna.npz", **arrays)
    recipe = Classify()
    dataset = recipe.read(str(tmp_path / "dna.npz"), {}, 0)
    network = recipe.network(dataset.facts, Layers(hidden=4, embedding=3)).eval()
    assert float_outputs(network, dataset.splits["test"])[0][0].shape == (1, 2)
    assert dataset.facts["classes"] == ["no", "yes"]


def test_the_best_epoch_is_chosen_by_what_was_asked() -> None:
    assert Classify().selects({}) == ("accuracy", True)
    assert Classify().selects({"select": "auroc"}) == ("auroc", True)
    assert Classify().selects({"select": "val_loss"}) == ("val_loss", False)
    assert Classify().ranked_by({"select": "auroc"}) == ("auroc", True)
    assert Classify().ranked_by({"select": "val_loss"}) == ("accuracy", True)


def test_a_time_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no array 'hour'"):
        Classify().read(str(gappy(tmp_path / "gappy.npz")), {"time": "hour"}, 0)


def test_the_demonstration_is_real_digits() -> None:
    dataset = Classify().read(None, {}, 0)
    assert [len(dataset.splits[n]) for n in ("train", "val", "test")] == [1097, 200, 500]
    (scores,) = Classify().baselines(dataset).values()
    assert 0.8 < scores["accuracy"] < 0.95


def test_what_is_known_of_a_whole_sequence_is_read_at_every_step(tmp_path: Path) -> None:
    path = gappy(tmp_path / "gappy.npz")
    arrays = dict(np.load(path))
    for name in ("train", "val", "test"):
        arrays[f"age_{name}"] = np.arange(len(arrays[f"y_{name}"]), dtype=np.float32)
    arrays["age_test"][3] = np.nan
    np.savez(path, **arrays)
    dataset = Classify().read(str(path), {"static": "age"}, 0)
    assert dataset.facts["features"] == [7]
    train, test = dataset.splits["train"], dataset.splits["test"]
    ages = np.array([x[0, -1] for x in train.arrays["x"]])
    assert abs(ages.mean()) < 1e-6
    assert ages.std() == pytest.approx(1, abs=1e-5)
    assert all(np.ptp(x[:, -1]) == 0 for x in train.arrays["x"])
    assert test.arrays["x"][3][0, -1] == 0
    with pytest.raises(InputError, match="no array 'size'"):
        Classify().read(str(path), {"static": "size"}, 0)
