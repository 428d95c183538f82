"""Missing values: what is hidden, what is read instead, likelihood and calibration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgernn import quantize
from edgernn.recipes.gaps import crops, interpolated, random_gaps, windows, with_gaps
from edgernn.recipes.reconstruct import FLOOR, Reconstruct, precision_of
from edgernn.runtime.errors import InputError
from edgernn.training.base import Config, Dataset, Layers, Settings, Split
from edgernn.training.fit import fit
from edgernn.training.predict import float_outputs, integer_outputs

ROWS = 300


def _waves() -> np.ndarray:
    t = np.arange(ROWS)
    both = np.stack([10 + 3 * np.sin(t / 3), np.sin(t / 3 + 0.4)], 1)
    return (both + np.random.default_rng(0).normal(0, 0.02, both.shape)).astype(np.float32)


def _read(tmp_path: Path, x: np.ndarray, options: dict[str, Any], **arrays: Any) -> Dataset:
    path = tmp_path / "waves.npz"
    np.savez(path, x=x, columns=["level", "flow"], **arrays)
    return Reconstruct().read(str(path), options, 0)


def test_gaps_are_single_values_and_blocks() -> None:
    generator = np.random.default_rng(0)
    hidden = random_gaps((20000, 3), 24, generator)
    assert hidden.mean() == pytest.approx(1 - 0.9 * 0.9, abs=0.02)
    lengths = []
    for column in hidden.T:
        edges = np.diff(np.concatenate([[0], column, [0]]).astype(int))
        lengths += (np.flatnonzero(edges < 0) - np.flatnonzero(edges > 0)).tolist()
    assert np.median(lengths) == 1
    assert np.percentile(lengths, 99) >= 24
    again = random_gaps((20000, 3), 24, np.random.default_rng(0))
    assert np.array_equal(hidden, again)


def test_what_is_read_in_a_gap() -> None:
    values = np.array([[1.0], [2.0], [9.0], [np.nan], [5.0], [9.0]], np.float32)
    hidden = np.array([[False], [False], [True], [False], [False], [True]])
    seen = [1, 1, 0, 0, 1, 0]
    for fill, wanted in (
        ("zero", [1, 2, 0, 0, 5, 0]),
        ("hold", [1, 2, 2, 2, 5, 5]),
        ("linear", [1, 2, 3, 4, 5, 5]),
    ):
        assert with_gaps(values, hidden, fill).T.tolist() == [wanted, seen], fill
    time = np.array([0.0, 1, 2, 7, 11, 12])
    visible = np.where(hidden, np.nan, values)
    assert interpolated(visible, time)[:, 0].tolist() == pytest.approx([1, 2, 2.3, 3.8, 5, 5])
    assert interpolated(np.full((4, 1), np.nan, np.float32), None).tolist() == [[0]] * 4


@pytest.mark.parametrize(("length", "span", "margin"), [(50, 96, 32), (96, 96, 32), (500, 96, 32),
                                                        (101, 12, 4), (13, 12, 4)])  # fmt: skip
def test_windows_score_every_step_once(length: int, span: int, margin: int) -> None:
    times = np.zeros(length, int)
    for begin, end, first, last in windows(length, span, margin):
        assert 0 <= begin <= first < last <= end <= length
        assert end - begin == min(span, length)
        assert first - begin >= margin or begin == 0
        assert end - last >= margin or end == length
        times[first:last] += 1
    assert (times == 1).all()


def test_crops_lie_within_their_series() -> None:
    found = crops([10, 100], 20, 400, np.random.default_rng(0))
    assert {(b, e) for i, b, e in found if i == 0} == {(0, 10)}
    assert all(b >= 0 and e == b + 20 <= 100 for i, b, e in found if i == 1)
    assert sum(i == 0 for i, _, _ in found) == pytest.approx(36, abs=20)


def test_only_hidden_values_of_the_split_are_scored(tmp_path: Path) -> None:
    x = _waves()
    x[250:255, 0] = np.nan
    hide = np.zeros(x.shape, bool)
    hide[::5, 0] = hide[100:140, 1] = hide[200:220, 1] = hide[270:280, 1] = True
    found = _read(tmp_path, x, {"span": 24}, hide=hide)
    assert found.facts["hidden"] == "by the data"
    for name, rows in (("val", slice(180, 240)), ("test", slice(240, 300))):
        split = found.splits[name]
        wanted = int((hide & ~np.isnan(x))[rows].sum())
        assert sum(int(c.sum()) for c in split.arrays["counts"]) == wanted
        for read, target, counts in zip(
            split.arrays["x"], split.arrays["target"], split.arrays["counts"], strict=True
        ):
            assert np.isfinite(read).all()
            # What is scored was hidden, and is not what is read.
            assert (read[:, 2:][counts] == 0).all()
            assert not np.isclose(read[:, :2][counts], target[counts], atol=1e-6).any()


def test_an_untrained_network_says_the_interpolation(tmp_path: Path) -> None:
    recipe = Reconstruct()
    found = _read(tmp_path, _waves(), {"span": 48, "block": 4})
    network = recipe.network(found.facts, Layers(cell="bigru", hidden=4))
    test = found.splits["test"]
    said = float_outputs(network, test)
    for (mean, _), x in zip(said, test.arrays["x"], strict=True):
        assert np.array_equal(mean, x[:, :2])
    baselines = recipe.baselines(found)
    score = recipe.score(said, test, found.facts)
    assert score["mse"] == pytest.approx(baselines["linear interpolation"]["mse"], rel=1e-4)
    assert baselines["mean of train"]["mse"] == pytest.approx(1, abs=0.3)


def test_every_epoch_has_other_gaps(tmp_path: Path) -> None:
    recipe = Reconstruct()
    train = _read(tmp_path, _waves(), {}).splits["train"]
    one, same, other = (recipe.augment(train, np.random.default_rng(s)) for s in (1, 1, 2))
    assert np.array_equal(one.arrays["x"][0], same.arrays["x"][0])
    assert not np.array_equal(one.arrays["x"][0], other.arrays["x"][0])
    assert {len(x) for x in one.arrays["x"]} == {96}


def test_the_loss_is_a_likelihood_whose_best_precision_is_the_true_one() -> None:
    recipe = Reconstruct()
    generator = torch.Generator().manual_seed(0)
    wanted = 0.5 * torch.randn((8, 4000, 1), generator=generator)
    counts = torch.rand((8, 4000, 1), generator=generator) < 0.5
    batch = {"target": torch.where(counts, wanted, torch.tensor(99.0)), "counts": counts}
    raw = torch.log(torch.expm1(torch.tensor([1.0, 4.0, 16.0]) - FLOOR))
    losses = [float(recipe.loss((torch.zeros_like(wanted), r.expand_as(wanted)), batch))
              for r in raw]  # fmt: skip
    assert losses[1] < min(losses[0], losses[2])
    assert precision_of(raw).tolist() == pytest.approx([1, 4, 16])


def test_calibration() -> None:
    generator = np.random.default_rng(0)
    wanted = generator.normal(0, 0.5, (20000, 1)).astype(np.float32)
    raw = np.full(wanted.shape, np.log(np.expm1(4 - FLOOR)), np.float32)
    arrays = {"x": [wanted], "target": [wanted], "counts": [wanted < 99],
              "unit": [np.array([10.0], np.float32)]}  # fmt: skip
    split = Split(arrays, ("x",), ("x", "target", "counts"))
    score = Reconstruct().score([(np.zeros_like(wanted), raw)], split, {"targets": ["v"]})
    assert score["inside_50"] == pytest.approx(0.5, abs=0.02)
    assert score["inside_80"] == pytest.approx(0.8, abs=0.02)
    assert score["inside_95"] == pytest.approx(0.95, abs=0.01)
    assert score["rmse_v"] == pytest.approx(5, abs=0.1)
    assert score["nll"] == pytest.approx(0.5 - np.log(2), abs=0.02)


def test_the_distance_to_a_teacher_is_a_divergence() -> None:
    recipe = Reconstruct()
    counts = torch.ones((1, 1, 1), dtype=torch.bool)
    batch = {"counts": counts}
    own = (torch.tensor([[[0.3]]]), torch.tensor([[[1.0]]]))
    other = (torch.tensor([[[0.8]]]), torch.tensor([[[2.0]]]))
    p, q = (torch.distributions.Normal(m, precision_of(r) ** -0.5) for m, r in (other, own))
    wanted = float(torch.distributions.kl_divergence(p, q))
    assert float(recipe.distance(own, other, batch)) == pytest.approx(wanted, rel=1e-5)
    assert float(recipe.distance(own, own, batch)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("cell", "fill"), [("bigru:gate", "linear"), ("gru", "hold")])
def test_it_learns_and_its_program_does_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cell: str, fill: str
) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr("edgernn.recipes.reconstruct.EPOCH_STEPS", 3072)
    recipe = Reconstruct()
    found = _read(tmp_path, _waves(), {"span": 48, "block": 4, "fill": fill})
    settings = Settings(epochs=3, learning_rate=2e-2, batch_size=16)
    fitted = fit(recipe, Config("reconstruct", settings, Layers(cell=cell, hidden=8)), found)
    scores, naive = fitted.scores["test"], recipe.baselines(found)
    name = "linear interpolation" if fill == "linear" else "last value"
    assert scores["mse"] < 0.8 * naive[name]["mse"]
    test = found.splits["test"]
    train = recipe.augment(found.splits["train"], np.random.default_rng(0))
    calibration = list(train.arrays["x"][:20])
    program = quantize(fitted.network, (torch.from_numpy(calibration[0])[None],),
                       calibration=calibration)  # fmt: skip
    after = recipe.score(integer_outputs(program, test), test, found.facts)
    assert np.sqrt(after["mse"]) < 1.03 * np.sqrt(scores["mse"])
    assert after["nll"] == pytest.approx(scores["nll"], abs=0.05)


def test_refusals(tmp_path: Path) -> None:
    x = _waves()
    with pytest.raises(InputError, match="no number of steps from 4 on"):
        _read(tmp_path, x, {"span": 2})
    with pytest.raises(InputError, match="nothing is hidden in val"):
        _read(tmp_path, x, {}, hide=np.arange(ROWS)[:, None] + np.zeros(2) < 50)
    found = _read(tmp_path, x, {})
    with pytest.raises(InputError, match=r"gru reads forwards only.*--fill hold"):
        Reconstruct().network(found.facts, Layers(cell="gru"))


def test_the_demonstration() -> None:
    found = Reconstruct().read(None, {}, 0)
    assert found.facts["targets"] == ["sea_surface_degC"]
    assert found.facts["licence"] == "public domain"
