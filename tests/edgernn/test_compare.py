import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from scipy.stats import rankdata

from edgernn.budget.cost import cost_of
from edgernn.budget.subject import as_model
from edgernn.cli import main
from edgernn.compare import compare, trials
from edgernn.compare.significance import wilcoxon
from edgernn.compare.trials import Trial, sequence_losses
from edgernn.footprint import load_targets
from edgernn.quantization import quantize
from edgernn.recipes.classify import Classify
from edgernn.recipes.registry import RECIPES
from edgernn.runtime.errors import InputError
from edgernn.training.base import Config
from edgernn.training.fit import fit
from edgernn.training.loop import validation_loss

OPTIONS = {option.name: option.default for option in RECIPES["classify"].options}
CONFIG = Config(
    "classify", replace(Classify.settings, epochs=1), replace(Classify.layers, hidden=4), OPTIONS
)


def without_time(found: dict[str, Any]) -> dict[str, Any]:
    for cell in found["cells"]:
        del cell["minutes"]
    return found


@pytest.fixture(scope="module")
def compared(source: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("compared") / "out"
    compare(Classify(), CONFIG, source, ["gru", "birnn:gate"], 2, out)
    return out


def test_what_is_written(compared: Path) -> None:
    found = json.loads((compared / "comparison.json").read_text())
    assert {c["cell"] for c in found["cells"]} == {"gru", "birnn:gate"}
    val = [c["scores"]["val"]["accuracy"] for c in found["cells"]]
    assert val[0]["mean"] >= val[1]["mean"]
    for cell in found["cells"]:
        score = cell["scores"]["test"]["accuracy"]
        assert score["mean"] == pytest.approx(np.mean(score["values"]))
        assert score["standard_deviation"] == pytest.approx(np.std(score["values"], ddof=1))
        assert len(cell["best_epoch"]) == len(cell["minutes"]) == 2
    assert [t["pairs"] for t in found["tests"]] == [2, 12]
    assert "gru" in (compared / "comparison.svg").read_text()
    assert not list(compared.glob("trials/*/seed?"))


def test_flash_is_that_of_the_exported_program(compared: Path, source: str) -> None:
    dataset = Classify().read(source, OPTIONS, 0)
    torch.manual_seed(5)
    network = Classify().network(dataset.facts, CONFIG.layers)
    x = dataset.splits["train"].arrays["x"]
    program = quantize(network.eval(), (torch.from_numpy(np.stack(x[:2])),), calibration=list(x))
    found = json.loads((compared / "comparison.json").read_text())
    (gru,) = (c for c in found["cells"] if c["cell"] == "gru")
    expected = cost_of(as_model(program), load_targets()["cortex-m4"]).flash
    assert gru["int8_flash_bytes_cortex_m4"] == expected


def test_interrupted_and_gone_on_with(
    compared: Path, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def interrupted(*args: Any, **options: Any) -> Any:
        calls.append(args[1].layers.cell)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return fit(*args, **options)

    monkeypatch.setattr(trials, "fit", interrupted)
    cells = ["gru", "birnn:gate"]
    with pytest.raises(KeyboardInterrupt):
        compare(Classify(), CONFIG, source, cells, 2, tmp_path)
    with pytest.raises(InputError, match="--resume"):
        compare(Classify(), CONFIG, source, cells, 2, tmp_path)
    compare(Classify(), CONFIG, source, cells, 2, tmp_path, resume=True)
    # Each of the four once, the interrupted one twice.
    assert calls == ["gru", "birnn:gate", "gru", "gru", "birnn:gate"]
    one, other = (json.loads((p / "comparison.json").read_text()) for p in (compared, tmp_path))
    assert without_time(one) == without_time(other)
    changed = replace(CONFIG, settings=replace(CONFIG.settings, epochs=3))
    with pytest.raises(InputError, match="other settings"):
        compare(Classify(), changed, source, cells, 2, tmp_path, resume=True)


def test_refusals_come_before_training(source: str, tmp_path: Path) -> None:
    for cells, words in ((["gru", "gru"], "once each"), (["gru", "abc"], "no cell")):
        with pytest.raises(InputError, match=words):
            compare(Classify(), CONFIG, source, cells, 2, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    arguments = ["train", "classify", "--data", source, "--compare", "gru", "--teacher", "bigru"]
    result = CliRunner().invoke(main, [*arguments, "--out", str(tmp_path / "out")])
    assert "leave out --teacher" in result.output


def test_command(source: str, compared: Path) -> None:
    arguments = ["train", "classify", "--data", source, "--compare", "gru,birnn:gate"]
    arguments += ["--seeds", "2", "--epochs", "1", "--hidden", "4"]
    result = CliRunner().invoke(
        main, [*arguments, "--out", str(compared), "--resume"], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    assert "2 pairs cannot give less than 0.5" in result.output
    assert "--hidden 4 --epochs 1 --out run/" in result.output


def test_a_trial_survives_its_file() -> None:
    trial = Trial("gru", 1, {"test": {"accuracy": 0.1}}, [0.1, float("nan")], 9, 10, 2, 3, 1.5)
    again = Trial.from_json(json.loads(json.dumps(trial.as_json())))
    np.testing.assert_array_equal(again.losses, trial.losses)
    assert again.scores == trial.scores


def test_sequence_losses_are_those_of_single_sequences(source: str) -> None:
    recipe = Classify()
    dataset = recipe.read(source, {}, 0)
    network = recipe.network(dataset.facts, CONFIG.layers).eval()
    losses = sequence_losses(recipe, network, dataset.splits["test"])
    assert len(losses) == len(dataset.splits["test"])
    whole = validation_loss(recipe, network, dataset.splits["test"])
    assert np.mean(losses) == pytest.approx(whole, rel=1e-5)


def enumerated(differences: list[float]) -> float:
    """Two-sided p of the signed-rank sum, over every choice of signs."""
    d = np.array([v for v in differences if v])
    ranks = rankdata(np.abs(d))
    expected = ranks.sum() / 2
    sums = [
        sum(r for r, s in zip(ranks, signs, strict=True) if s)
        for signs in itertools.product((0, 1), repeat=len(d))
    ]
    seen = abs(ranks[d > 0].sum() - expected)
    return float(np.mean([abs(s - expected) >= seen - 1e-9 for s in sums]))


@pytest.mark.parametrize(
    "differences", [[1, 2, 3, 4, 5], [1, -2, 3, 4, 4, 0], [1, 1, -1, 2, 2, 2, 3, -5], [0.1, -0.1]]
)
def test_wilcoxon_is_exact_for_few_pairs(differences: list[float]) -> None:
    test = wilcoxon("", differences, [0.0] * len(differences))
    assert test.p == pytest.approx(enumerated(differences))


def test_wilcoxon_says_when_pairs_are_too_few() -> None:
    five = wilcoxon("a against b", [2, 3, 4, 5, 6], [1, 1, 1, 1, 1])
    assert five.p == pytest.approx(0.0625)
    assert five.favours == "one"
    assert "5 pairs cannot give less than 0.0625" in five.sentence()
    six = wilcoxon("", range(2, 8), [1] * 6, ("a", "b"), higher=False)
    assert "in favour of b" in six.sentence()
    assert six.p == pytest.approx(0.03125)
    assert "cannot" not in six.sentence()
    assert wilcoxon("", [1, 1], [1, 1]).p == 1
    assert wilcoxon("", [float("nan")], [1]).p is None
    rng = np.random.default_rng(0)
    many = wilcoxon("", rng.normal(0.3, 1, 400), np.zeros(400))
    assert many.p is not None
    assert many.p < 1e-4
