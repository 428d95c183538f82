"""The next values: what is learnt from, what is scored, and a network that forecasts in int8."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgernn import quantize
from edgernn.recipes.baselines import find_period, season
from edgernn.recipes.forecast import Forecast
from edgernn.recipes.future import following
from edgernn.runtime.errors import InputError
from edgernn.training.base import Config, Dataset, Layers, Settings
from edgernn.training.batches import collate
from edgernn.training.fit import fit
from edgernn.training.predict import float_outputs, integer_outputs

ROWS = 400


def _waves(rows: int = ROWS) -> np.ndarray:
    t = np.arange(rows)
    noise = np.random.default_rng(0).normal(0, 0.05, (rows, 2))
    both = np.stack([10 + 3 * np.sin(t / 4), np.cos(t / 4)], 1)
    return (both + noise).astype(np.float32)


def _read(tmp_path: Path, x: np.ndarray, options: dict[str, Any], **arrays: Any) -> Dataset:
    path = tmp_path / "waves.npz"
    np.savez(path, x=x, columns=["level", "flow"], **arrays)
    return Forecast().read(str(path), options, 0)


def test_targets_are_the_next_values_and_never_of_another_split(tmp_path: Path) -> None:
    x = _waves()
    x[7, 1] = np.nan
    found = _read(tmp_path, x, {"horizon": 3})
    scaled = (x - np.array(found.facts["mean"])) / np.array(found.facts["std"])
    for name, (start, stop) in {"train": (0, 240), "val": (240, 320), "test": (320, 400)}.items():
        split = found.splits[name]
        first = int(split.arrays["first"][0])
        target, counts = split.arrays["target"][0], split.arrays["counts"][0]
        seen: set[int] = set()
        for row in range(len(target)):
            for ahead in range(3):
                at = first + row + 1 + ahead
                own = slice(2 * ahead, 2 * ahead + 2)
                inside = start <= at < stop
                wanted = ~np.isnan(scaled[at]) if inside else np.array([False, False])
                assert counts[row, own].tolist() == wanted.tolist()
                if inside:
                    seen.add(at)
                    assert np.allclose(target[row, own][wanted], scaled[at][wanted], atol=1e-5)
        assert seen == set(range(max(start, 1), stop))


def test_what_is_missing_is_held_and_marked(tmp_path: Path) -> None:
    x = _waves()
    x[7:9, 1] = np.nan
    found = _read(tmp_path, x, {})
    train = found.splits["train"].arrays["x"][0]
    assert found.facts["features"] == [4]
    assert train[7:9, 1].tolist() == [train[6, 1]] * 2
    assert train[5:10, 3].tolist() == [1, 1, 0, 0, 1]
    assert (train[:, 2] == 1).all()


def test_an_untrained_network_says_that_nothing_changes(tmp_path: Path) -> None:
    recipe = Forecast()
    found = _read(tmp_path, _waves(), {"horizon": 2, "target": "flow"})
    network = recipe.network(found.facts, Layers(hidden=4))
    test = found.splits["test"]
    scores = recipe.score(float_outputs(network, test), test, found.facts)
    naive = recipe.baselines(found)["persistence"]
    assert scores["mse"] == pytest.approx(naive["mse"])
    values = _waves()[:, 1]
    far = [values[r + a] - values[r] for a in (1, 2) for r in range(318, 400) if 320 <= r + a < 400]
    assert naive["rmse_flow"] == pytest.approx(float(np.sqrt(np.mean(np.square(far)))), rel=1e-4)
    assert list(scores) == ["mse", "rmse_flow"]


def test_missing_and_padded_values_do_not_count(tmp_path: Path) -> None:
    recipe = Forecast()
    x = _waves()
    x[7:90, 1] = np.nan
    found = _read(tmp_path, x, {})
    batch = collate(found.splits["train"].take([0]), [0])
    outputs = torch.zeros_like(batch["target"])
    loss = recipe.loss((outputs,), batch)
    spoilt = dict(batch) | {
        "target": torch.where(batch["counts"], batch["target"], torch.tensor(99.0))
    }
    assert recipe.loss((outputs,), spoilt) == loss
    wanted = batch["target"][batch["counts"]].square().mean()
    assert float(loss) == pytest.approx(float(wanted))


def test_seasons() -> None:
    t = np.arange(300)
    noise = np.random.default_rng(0).normal(0, 0.1, 300)
    assert find_period((np.sin(2 * np.pi * t / 24) + noise)[:, None]) in (24, 48, 72, 96)
    assert find_period(np.random.default_rng(0).normal(size=(300, 1))) == 1
    assert find_period(np.ones((300, 1))) == 1
    values = np.arange(10.0)[:, None]
    assert season(values, 4, 6)[8].tolist() == [5, 6, 7, 8, 5, 6]
    assert season(values, 1, 2)[8].tolist() == [8, 8]
    assert np.array_equal(following(values, 2)[7], [8, 9])


def test_a_label_from_windows(tmp_path: Path) -> None:
    recipe = Forecast()
    rul = np.arange(ROWS)[::-1].copy()
    options = {"label": "rul", "clip_label": 300.0, "lookback": 8}
    found = _read(tmp_path, _waves(), options, rul=rul)
    test = found.splits["test"]
    assert len(test) == 80
    assert [len(x) for x in found.splits["train"].arrays["x"][:9]] == [*range(1, 9), 8]
    mean, std = found.facts["label_mean"], found.facts["label_std"]
    highest = max(float(t[0]) for t in found.splits["train"].arrays["target"])
    assert highest * std + mean == pytest.approx(300)
    network = recipe.network(found.facts, Layers(cell="bigru", hidden=4))
    scores = recipe.score(float_outputs(network, test), test, found.facts)
    assert set(scores) == {"mse", "rmse_rul"}
    naive = recipe.baselines(found)
    assert naive["mean of train"]["rmse_rul"] == pytest.approx(
        float(np.sqrt(np.mean((np.minimum(rul, 300)[320:] - mean) ** 2))), rel=1e-4
    )
    assert "ridge on one step" in naive


@pytest.mark.parametrize(("cell", "lookback"), [("gru", 0), ("bilstm:gate", 12)])
def test_it_learns_and_its_program_forecasts_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cell: str, lookback: int
) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr("edgernn.recipes.forecast.EPOCH_STEPS", 2048)
    recipe = Forecast()
    found = _read(tmp_path, _waves(), {"lookback": lookback})
    window = 0 if lookback else 32
    config = Config(
        "forecast",
        Settings(epochs=2, learning_rate=2e-2, window=window),
        Layers(cell=cell, hidden=8),
        {},
    )
    fitted = fit(recipe, config, found)
    scores = fitted.scores["test"]
    assert scores["mse"] < 0.5 * recipe.baselines(found)["persistence"]["mse"]
    test = found.splits["test"]
    calibration = [x[:200] for x in found.splits["train"].arrays["x"][-40:]]
    program = quantize(fitted.network, (torch.from_numpy(calibration[0])[None],),
                       calibration=calibration)  # fmt: skip
    after = recipe.score(integer_outputs(program, test), test, found.facts)
    assert np.sqrt(after["mse"]) < 1.05 * np.sqrt(scores["mse"])


def test_refusals(tmp_path: Path) -> None:
    x = _waves()

    def refused(message: str, options: dict[str, Any], **arrays: Any) -> None:
        with pytest.raises(InputError, match=message):
            _read(tmp_path, x, options, **arrays)

    refused("val of waves has 80 rows, but a forecast of 90 steps takes 91", {"horizon": 90})
    refused("no column 'depth'", {"target": "depth"})
    refused("not those to leave out", {"target": "-flow"})
    refused("leave out --horizon", {"label": "rul", "horizon": 2}, rul=np.arange(ROWS))
    refused("name the label too", {"clip_label": 3.0})
    refused("is 1 in all of train", {"label": "rul"}, rul=np.ones(ROWS))
    refused("--lookback -1 is no number of steps from 0 on", {"lookback": -1})
    found = _read(tmp_path, x, {})
    with pytest.raises(InputError, match=r"bigru reads backwards too.*--lookback 48"):
        Forecast().network(found.facts, Layers(cell="bigru"))


def test_the_demonstration_is_a_real_series() -> None:
    found = Forecast().read(None, {}, 0)
    assert found.facts["targets"] == ["sea_surface_degC"]
    assert found.facts["periods"] == [12]
    assert sum(int(s.arrays["scored"][0].sum()) for s in found.splits.values()) == 61 * 12
