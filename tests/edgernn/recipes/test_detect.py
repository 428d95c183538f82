"""Unusual rows: smoothing, alarms, threshold; what is learnt from; a network that detects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgernn import quantize
from edgernn.recipes.alarms import alarm_scores, episodes, events, smoothed, threshold
from edgernn.recipes.detect import Detect, at_rows
from edgernn.runtime.errors import InputError
from edgernn.training.base import Config, Dataset, Layers, Settings
from edgernn.training.fit import fit
from edgernn.training.predict import integer_outputs

ROWS = 900


def _machine() -> tuple[np.ndarray, np.ndarray]:
    """Two waves that go together; in the last third they do not for a while, twice."""
    t = np.arange(ROWS)
    x = np.stack([np.sin(t / 5), np.sin(t / 5 + 1)], 1)
    x += np.random.default_rng(0).normal(0, 0.05, x.shape)
    anomaly = np.zeros(ROWS, int)
    anomaly[650:700] = anomaly[800:840] = 1
    x[650:700, 1] = x[800:840, 0] = 0.9
    return x.astype(np.float32), anomaly


def _read(tmp_path: Path, options: dict[str, Any], **arrays: Any) -> Dataset:
    x, anomaly = _machine()
    path = tmp_path / "machine.npz"
    given = {"x": x, "anomaly": anomaly, "time": 60 * np.arange(ROWS)} | arrays
    np.savez(path, **given)
    return Detect().read(str(path), options, 0)


def test_smoothing_looks_back_only() -> None:
    assert smoothed(np.array([4.0, 0, 0, 8]), 2).tolist() == [4, 2, 0, 4]
    assert smoothed(np.array([4.0, 0, 0, 8]), 9).tolist() == [4, 2, 4 / 3, 3]


def test_an_error_belongs_to_the_row_that_was_forecast() -> None:
    error = np.array([[1.0, 3.0], [8, 0], [5, 5], [0, 0]])
    known = np.array([[True, True], [True, False], [False, False], [False, False]])
    assert at_rows(error, known, 1, 1).tolist() == [0, 2, 8, 0]
    assert at_rows(error, known, 2, 1).tolist() == [0, 0, 2, 8]


def test_alarms_that_hardly_pause_are_one() -> None:
    alarm = np.array([0, 1, 1, 0, 1, 0, 0, 0, 0, 1], bool)
    assert episodes(alarm, 3).tolist() == [1, 9]
    assert episodes(alarm, 1).tolist() == [1, 4, 9]
    assert episodes(np.zeros(3, bool), 1).tolist() == []
    assert events(np.array([1, 1, 0, 1])) == [(0, 2), (3, 4)]


def test_a_threshold_gives_the_alarms_that_were_wanted() -> None:
    error = np.random.default_rng(0).exponential(1, 20000)
    normal = np.ones(20000, bool)
    normal[:100] = False
    error[:100] = 99
    for wanted in (0.5, 2, 20):
        level = threshold([error], [normal], 10.0, wanted, 5)
        made = len(episodes((error > level) & normal, 5))
        assert made <= 10 * wanted
        assert made > 5 * wanted
    assert threshold([error], [normal], 0.1, 1.0, 5) == error[100:].max()


def test_what_alarms_are_worth() -> None:
    error = np.zeros(100)
    label = np.zeros(100, bool)
    label[20:30] = label[50:60] = True
    error[23:35] = error[70] = error[90] = 2.0
    time = 3600.0 * np.arange(100)
    every = np.ones(100, bool)
    scores = alarm_scores([error], [label], [every], [time], 1.0, 5)
    assert scores == {
        "events": 2,
        "found": 0.5,
        "delay": 3 * 3600.0,
        "false_alarms_a_day": pytest.approx(2 / (80 / 24)),
    }
    # An alarm that goes on behind its event is none of its own.
    assert episodes(error > 1, 5).tolist() == [23, 70, 90]
    some = np.arange(100) < 80
    rows = alarm_scores([error], [label], [some], [np.arange(100.0)], 1.0, 5, timed=False)
    assert rows["false_alarms_per_1000"] == pytest.approx(1000 / 60)


def test_only_normal_rows_are_learnt_from(tmp_path: Path) -> None:
    anomaly = np.zeros(ROWS, int)
    anomaly[100:110] = anomaly[650:700] = 1
    found = _read(tmp_path, {"horizon": 3}, anomaly=anomaly)
    train = found.splits["train"]
    learnt = train.arrays["counts"][0].all(axis=1)
    assert np.flatnonzero(~learnt).tolist() == [*range(97, 107), 537, 538, 539]
    target = train.arrays["target"][0]
    assert np.allclose(target[:-3], train.arrays["x"][0][3:], atol=1e-6)
    assert train.arrays["known"][0].sum() == 2 * 537


def test_rows_behind_a_probation_are_a_split_of_their_own(tmp_path: Path) -> None:
    found = _read(tmp_path, {}, offsets=[0, 400, 900], probation=[50, 60])
    assert list(found.splits) == ["train", "val", "test", "after_probation"]
    scored = found.splits["after_probation"].arrays["scored"]
    assert [int(s.sum()) for s in scored] == [350, 440]


def test_calibration_by_the_first_rows(tmp_path: Path) -> None:
    x, anomaly = _machine()
    shifted = np.concatenate([x, 5 + 2 * x])
    arrays = {"x": shifted, "anomaly": np.tile(anomaly, 2), "offsets": [0, ROWS, 2 * ROWS],
              "time": 60 * np.tile(np.arange(ROWS), 2)}  # fmt: skip
    found = _read(tmp_path, {"calibrate": 200}, **arrays)
    one, other = (found.splits["test"].arrays["x"][i] for i in (0, 1))
    assert np.allclose(one, other, atol=1e-4)
    with pytest.raises(InputError, match="has 900 rows, less than --calibrate 1000"):
        _read(tmp_path, {"calibrate": 1000}, **arrays)


def test_it_detects_and_its_program_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr("edgernn.recipes.detect.EPOCH_STEPS", 2048)
    recipe = Detect()
    found = _read(tmp_path, {"smooth": 5, "horizon": 1, "judge": "error"})
    settings = Settings(epochs=4, learning_rate=2e-2, window=32)
    fitted = fit(recipe, Config("detect", settings, Layers(hidden=8)), found)
    scores, naive = fitted.scores["test"], recipe.baselines(found)
    assert scores["auroc"] > 0.9
    assert scores["auroc"] > naive["distance from the mean"]["auroc"]
    assert scores["found"] == 1
    assert found.facts["threshold"] > 0
    assert any("Alarm above" in line for line in recipe.card(found.facts))
    test = found.splits["test"]
    calibration = [found.splits["train"].arrays["x"][0][:300]]
    program = quantize(fitted.network, (torch.from_numpy(calibration[0])[None],),
                       calibration=calibration)  # fmt: skip
    after = recipe.score(integer_outputs(program, test), test, found.facts)
    assert after["auroc"] == pytest.approx(scores["auroc"], abs=0.005)


def test_without_labels_there_is_a_threshold_still(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, x=_machine()[0])
    recipe = Detect()
    found = recipe.read(str(path), {"alarms": 5.0}, 0)
    network = recipe.network(found.facts, Layers(hidden=4))
    found.facts.update(recipe.settle(network, found))
    from edgernn.training.predict import float_outputs

    test = found.splits["test"]
    scores = recipe.score(float_outputs(network, test), test, found.facts)
    assert set(scores) == {"mse", "events", "false_alarms_per_1000"}


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is not 0 .* or 1 .* in every row"):
        _read(tmp_path, {}, anomaly=np.arange(ROWS))
    with pytest.raises(InputError, match="no number of false alarms"):
        _read(tmp_path, {"alarms": -1.0})
    with pytest.raises(InputError, match="no label 'fault'"):
        _read(tmp_path, {"label": "fault"})
    with pytest.raises(InputError, match="a forecast 200 steps ahead takes 202"):
        _read(tmp_path, {"horizon": 200})
    found = _read(tmp_path, {})
    with pytest.raises(InputError, match="bigru reads backwards too"):
        Detect().network(found.facts, Layers(cell="bigru"))


def test_the_demonstration_says_what_it_is() -> None:
    found = Detect().read(None, {}, 0)
    assert "injected" in found.name
    test = found.splits["test"].arrays
    marked = np.concatenate(test["unusual"])[np.concatenate(test["scored"])]
    assert len(events(marked)) >= 4
