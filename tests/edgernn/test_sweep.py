import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from edgernn.budget import budget_for, parse_options
from edgernn.budget.check import check_model
from edgernn.budget.subject import as_model
from edgernn.cli import main
from edgernn.quantization import quantize_graph
from edgernn.recipes.classify import Classify
from edgernn.recipes.registry import RECIPES
from edgernn.runtime.errors import InputError
from edgernn.sweep import Found, Space, search, sweep
from edgernn.sweep.result import front_of
from edgernn.sweep.space import parse_range
from edgernn.targets import device
from edgernn.training.base import Config
from edgernn.training.exported import calibration, imported
from edgernn.training.fit import fit
from edgernn.training.run_folder import CALIBRATION, read_run

OPTIONS = {option.name: option.default for option in RECIPES["classify"].options}
CONFIG = Config("classify", replace(Classify.settings, epochs=1), Classify.layers, OPTIONS)
SPACE = Space(("rnn", "fastgrnn"), (4, 40), (1, 1))
BUDGET = budget_for(device("cortex-m4"), parse_options({"flash": "2300"}, "test"))
TRIALS = 3


def run(source: str, out: Path, **options: Any) -> Any:
    return sweep(Classify(), CONFIG, source, SPACE, BUDGET, TRIALS, out, **options)


@pytest.fixture(scope="module")
def swept(source: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("swept") / "out"
    run(source, out)
    return out


def known(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "sweep.json").read_text())
    return found


def test_what_does_not_fit_is_not_trained(swept: Path) -> None:
    found = known(swept)["trials"]
    trained = [t for t in found if t["scores"]]
    left_out = [t for t in found if not t["scores"]]
    assert len(trained) == TRIALS
    assert left_out
    assert all(t["flash"] <= 2300 and t["over"] <= 0 for t in trained)
    assert all(t["flash"] > 2300 and t["over"] > 0 for t in left_out)
    assert all(t["why"] == "over in flash" for t in left_out)
    assert "front" in (swept / "sweep.svg").read_text()


def test_the_price_is_that_of_the_trained_network(swept: Path) -> None:
    found, best = known(swept), read_run(swept / "best")
    (trial,) = (t for t in found["trials"] if t["number"] == found["best"])
    assert best.config.layers.hidden == trial["values"]["hidden"]
    graph = imported(best)
    program = quantize_graph(graph, calibration(best.split(CALIBRATION), graph))
    verdict = check_model(as_model(program), 1, BUDGET)
    assert verdict.cost.flash == trial["flash"]
    assert verdict.value("ram") == trial["ram"]


def test_interrupted_and_gone_on_with(
    swept: Path, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def interrupted(*args: Any, **options: Any) -> Any:
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return fit(*args, **options)

    monkeypatch.setattr(search, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(source, tmp_path)
    with pytest.raises(InputError, match="--resume"):
        run(source, tmp_path)
    run(source, tmp_path, resume=True)
    assert len(calls) == TRIALS + 1
    results = []
    for out in (swept, tmp_path):
        trials = known(out)["trials"]
        results.append([{**t, "number": 0, "minutes": 0} for t in trials])
    assert results[0] == results[1]


def test_a_study_is_shared_and_is_of_one_search(source: str, tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'shared.db'}"
    once = sweep(
        Classify(), CONFIG, source, SPACE, BUDGET, 1, tmp_path / "one", storage=storage
    )  # fmt: skip
    again = sweep(
        Classify(), CONFIG, source, SPACE, BUDGET, 1, tmp_path / "two", storage=storage
    )  # fmt: skip
    assert again.as_json() == once.as_json()
    assert not (tmp_path / "two" / "best").exists()
    with pytest.raises(InputError, match="of other space"):
        sweep(
            Classify(), CONFIG, source, Space(("rnn",)), BUDGET, 1, tmp_path, storage=storage
        )  # fmt: skip
    with pytest.raises(InputError, match="cannot open the storage"):
        run(source, tmp_path, storage="nothing://here")


def test_a_training_that_diverges_is_left_out(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverges(*_: Any, **__: Any) -> Any:
        raise InputError("the training diverged")

    monkeypatch.setattr(search, "fit", diverges)
    monkeypatch.setattr(search, "ATTEMPTS", 1)
    with pytest.raises(InputError, match="no network was trained in 3 attempts"):
        run(source, tmp_path)


def test_nothing_fits(source: str, tmp_path: Path) -> None:
    tight = budget_for(device("cortex-m4"), parse_options({"flash": "100"}, "test"))
    with pytest.raises(InputError, match=r"not even the smallest .* is over in flash by"):
        sweep(Classify(), CONFIG, source, SPACE, tight, 1, tmp_path)


def test_command(source: str, swept: Path) -> None:
    arguments = ["sweep", "classify", "--data", source, "--flash", "2300", "--out", str(swept)]
    arguments += ["--cells", "rnn,fastgrnn", "--hidden", "4:40", "--layers", "1", "--epochs", "1"]
    arguments += ["--trials", str(TRIALS), "--resume"]
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert f"edgernn export {swept / 'best'} --int8" in result.output
    result = CliRunner().invoke(main, [*arguments, "--hidden", "8:x"])
    assert "neither a number nor a range" in result.output


def test_the_front_is_what_nothing_beats() -> None:
    rng = np.random.default_rng(0)
    for higher in (True, False):
        found = [
            Found(i, {}, int(f), 0, None, -1.0, 0, {"val": {"s": float(s)}})
            for i, (f, s) in enumerate(rng.integers(0, 12, (40, 2)))
        ]
        sign = 1 if higher else -1

        def beats(one: Found, other: Found, sign: int = sign) -> bool:
            pair = [(-f.flash, sign * f.scores["val"]["s"]) for f in (one, other)]
            return pair[0] != pair[1] and all(a >= b for a, b in zip(*pair, strict=True))

        expected = {
            (f.flash, f.scores["val"]["s"]) for f in found if not any(beats(g, f) for g in found)
        }
        front = front_of(found, "s", higher)
        assert [(f.flash, f.scores["val"]["s"]) for f in front] == sorted(expected)


def test_ranges() -> None:
    assert parse_range("8:64", "hidden", True) == (8, 64)
    assert parse_range("0.01", "learning-rate", False) == (0.01, 0.01)
    for bad in ({"hidden": (8, 4)}, {"dropout": (0.0, 1.0)}, {"cells": ("gru", "gru")}):
        with pytest.raises(InputError):
            Space(**bad)  # type: ignore[arg-type]


def test_no_two_options_of_a_sweep_are_called_alike() -> None:
    for name in RECIPES:
        command = main.commands["sweep"].get_command(None, name)  # type: ignore[attr-defined]
        flags = [flag for p in command.params for flag in p.opts]
        assert len(flags) == len(set(flags)), name


def test_an_option_that_the_budget_has_keeps_its_meaning(source: str, tmp_path: Path) -> None:
    arguments = ["sweep", "forecast", "--data", source, "--out", str(tmp_path / "out")]
    found = CliRunner().invoke(main, [*arguments, "--period", "10ms", "--target", "nowhere"])
    assert "there is no target 'nowhere'" in found.output
    help_text = CliRunner().invoke(main, ["sweep", "forecast", "--help"]).output
    assert "--forecast-target" in help_text
    assert "--forecast-period" in help_text
