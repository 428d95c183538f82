"""`edgernn train` and `edgernn export run/`: what a run folder holds, and what is refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from safetensors.numpy import load_file

from edgernn.cli import main
from edgernn.runtime import StepRuntime
from edgernn.training.exported import finetuned
from edgernn.training.run_folder import read_run


def edgernn(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def slopes(path: Path, count: int = 60, features: int = 2, **changes: Any) -> Path:
    """Lines that go up, down or nowhere, as an .npz with splits."""
    generator = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for name, n in (("train", count), ("val", count // 2), ("test", count // 2)):
        y = np.arange(n) % 3
        x = (y[:, None, None] - 1) * np.arange(9)[None, :, None] * 0.4
        noise = generator.normal(0, 0.3, (n, 9, features))
        arrays |= {f"x_{name}": (x + noise).astype(np.float32), f"y_{name}": y}
    np.savez(path, **{**arrays, **changes})
    return path


QUICK = ("--epochs", 4, "--hidden", 8, "--learning-rate", 0.02)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    data = slopes(folder / "slopes.npz")
    done = edgernn("train", "classify", "--data", data, "--out", folder / "run", *QUICK)
    assert done.exit_code == 0, done.output
    assert "edgernn export" in done.output
    return folder / "run"


def test_a_run_holds_everything(run: Path) -> None:
    names = {str(p.relative_to(run)) for p in run.rglob("*") if p.is_file()}
    assert names == {
        "README.md", "config.json", "curves.svg", "facts.json", "metrics.json",
        "model.safetensors", "data/calib.npz", "data/val.npz", "data/test.npz",
    }  # fmt: skip
    config = json.loads((run / "config.json").read_text())
    assert config["layers"]["hidden"] == 8
    assert len(config["data"]["sha256"]) == 64
    assert config["versions"]["torch"]
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["scores"]["test"]["accuracy"] > 0.8
    assert len(metrics["history"]) == 4
    card = (run / "README.md").read_text()
    facts = json.loads((run / "facts.json").read_text())
    first = f"x0 ({facts['mean'][0]:.6g}, {facts['std'][0]:.6g})"
    classes = "in the order of the outputs: 0, 1, 2"
    for said in ("slopes", "as the data give it", "seed 0", "torch", "0.02", first, classes):
        assert said in card
    assert (
        sum(v.size for v in load_file(run / "model.safetensors").values())
        == (metrics["parameters"])
    )


def test_it_becomes_an_integer_program_with_its_scores(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "build"
    done = edgernn("export", run, "--int8", "--out", out, "--to", "onnx", "--verify-steps", 20)
    assert done.exit_code == 0, done.output
    described = json.loads((out / "recipe.json").read_text())
    assert described["recipe"] == "classify"
    assert described["facts"]["classes"] == ["0", "1", "2"]
    test = described["scores"]["test"]
    assert abs(test["float"]["accuracy"] - test["int8"]["accuracy"]) < 0.05
    split = read_run(run).split("test")
    runtime = StepRuntime.load(out / "model.safetensors")
    said = np.array([runtime.run(x[None])[0, -1].argmax() for x in split.arrays["x"]])
    found = float(np.mean(said == np.array(split.arrays["y"])))
    assert found == test["int8"]["accuracy"]
    assert "recipe.json" in json.loads((out / "report.json").read_text())["files"]


def test_a_window_network_exports_too(tmp_path: Path) -> None:
    data = slopes(tmp_path / "slopes.npz", count=24)
    run, out = tmp_path / "run", tmp_path / "build"
    cell = ("--cell", "bigru:gate", "--teacher", "bilstm")
    done = edgernn("train", "classify", "--data", data, "--out", run, *cell, *QUICK)
    assert done.exit_code == 0, done.output
    assert "teacher" in done.output
    done = edgernn("export", run, "--int8", "--out", out, "--to", "onnx", "--verify-steps", 20)
    assert done.exit_code == 0, done.output


def test_a_killed_run_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    data = slopes(tmp_path / "slopes.npz")
    options = ["--data", str(data), "--epochs", "12", "--hidden", "6", "--dropout", "0.2"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert edgernn("train", "classify", *options, "--out", whole).exit_code == 0
    command = [sys.executable, "-m", "edgernn.cli", "train", "classify", *options]
    killed = subprocess.Popen(
        [sys.executable, "-c", "from edgernn.cli import main; main()", *command[3:],
         "--out", str(parts)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    last = parts / "checkpoints" / "network" / "last.ckpt"
    deadline = time.monotonic() + 60
    while not last.exists() and killed.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert last.exists()
    assert not (parts / "config.json").exists()
    other = edgernn("train", "classify", *options, "--out", parts, "--resume", "--hidden", "7")
    assert "has other layers" in other.output
    done = edgernn("train", "classify", *options, "--out", parts, "--resume")
    assert done.exit_code == 0, done.output
    assert (parts / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    found = [json.loads((p / "metrics.json").read_text()) for p in (whole, parts)]
    assert found[0]["history"] == found[1]["history"]
    assert found[0]["scores"] == found[1]["scores"]
    again = edgernn("train", "classify", *options, "--out", parts, "--resume")
    assert again.exit_code == 1
    assert "a finished one" in again.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "name the data with --data"),
        (("--demo", "--data", "x.npz"), "name the data with --data"),
        (("--data", "nowhere.npz"), "there is no nowhere.npz"),
        (("--demo", "--cell", "grru"), "is no cell"),
        (("--demo", "--missing", "zero"), "leave out --missing"),
        (("--demo", "--cell", "gru_d"), "go together"),
        (("--demo", "--cell", "twingru", "--recurrent-dropout", "0.2"), "not for a twin"),
        (("--demo", "--stateful"), "--stateless"),
        (("--demo", "--devices", "none"), "no training with --accelerator cpu --devices none"),
        (("--demo", "--resume"), "holds no interrupted run"),
    ],
)
def test_one_sentence(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    done = edgernn("train", "classify", "--out", tmp_path / "run", *arguments)
    assert done.exit_code == 1
    assert said in done.output
    assert done.output.splitlines()[-1].startswith("Error: ")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("config.json", lambda b: b[:40], "damaged"),
        ("config.json", lambda b: b.replace(b'"epochs"', b'"epocs"'), "is no field of settings"),
        ("config.json", lambda b: b.replace(b'"hidden": 8', b'"hidden": "8"'), "not as"),
        ("config.json", lambda b: b.replace(b'"classify"', b'"clasify"'), "no recipe"),
        ("config.json", lambda b: b.replace(b'"hidden": 8', b'"hidden": 9'), "network's weights"),
        ("facts.json", lambda b: b"{}", "lacks 'features'"),
        ("model.safetensors", lambda b: b[:200], "network's weights"),
        ("data/calib.npz", lambda b: b[:-300], "damaged"),
        ("data/test.npz", lambda _: None, "cannot read"),
    ],
)
def test_a_damaged_run_is_refused(
    run: Path, tmp_path: Path, file: str, change: Any, said: str
) -> None:
    import shutil

    broken = tmp_path / "run"
    shutil.copytree(run, broken)
    content = change((broken / file).read_bytes())
    (broken / file).unlink() if content is None else (broken / file).write_bytes(content)
    done = edgernn("export", broken, "--int8", "--out", tmp_path / "build")
    assert done.exit_code == 1, done.output
    assert said in done.output
    assert not (tmp_path / "build").exists()


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    done = edgernn("export", tmp_path, "--int8", "--out", tmp_path / "build")
    assert done.exit_code == 1
    assert "no finished run" in done.output
    done = edgernn("export", tmp_path / "nowhere", "--int8", "--out", tmp_path / "build")
    assert done.exit_code == 1
    assert "there is no " in done.output


def test_fine_tuning_ends_in_the_very_program_that_is_exported(tmp_path: Path) -> None:
    data = slopes(tmp_path / "slopes.npz", count=40)
    run, out = tmp_path / "run", tmp_path / "build"
    done = edgernn(
        "train",
        "classify",
        "--data",
        data,
        "--out",
        run,
        *QUICK,
        "--finetune",
        2,
        "--select",
        "val_loss",
    )
    assert done.exit_code == 0, done.output
    tuned = json.loads((run / "metrics.json").read_text())["finetuned"]
    assert ("int8, fine-tuned" in done.output) == tuned["kept"]
    done = edgernn("export", run, "--int8", "--out", out, "--to", "onnx", "--verify-steps", 20)
    assert done.exit_code == 0, done.output
    program, scores = out / "model.safetensors", json.loads((out / "recipe.json").read_text())
    assert scores["scores"]["test"]["int8"] == tuned["scores"]["test"]
    if tuned["kept"]:
        assert program.read_bytes() == (run / "finetuned" / "model.safetensors").read_bytes()
        assert tuned["weights"]["changed"] > 0
    refused = edgernn("export", run, "--int8", "--heads", "integer", "--out", out)
    assert ("come too late" in refused.output) == tuned["kept"]


@pytest.mark.parametrize(
    ("recipe", "option", "value"),
    [("sentiment", "--word-dropout", 2), ("generate", "--vocabulary", 0),
     ("hierarchy", "--length", -1), ("classify", "--outliers", -1)],
)  # fmt: skip
def test_numbers_out_of_range(tmp_path: Path, recipe: str, option: str, value: int) -> None:
    done = edgernn("train", recipe, "--demo", "--out", tmp_path / "run", option, value)
    assert done.exit_code == 2
    assert "not in the range" in done.output


def test_a_cell_of_missing_values_is_for_classify(tmp_path: Path) -> None:
    done = edgernn("train", "tag", "--demo", "--out", tmp_path / "run", "--cell", "gru_d")
    assert done.exit_code == 1
    assert "edgernn train classify --missing decay" in done.output
    assert not (tmp_path / "run").exists()


def test_nothing_of_an_earlier_run_is_taken_for_a_part_of_it(tmp_path: Path) -> None:
    again = tmp_path / "a run"
    for name in ("finetuned/model.safetensors", "data/test_older.npz"):
        (again / name).parent.mkdir(parents=True)
        (again / name).write_bytes(b"of an earlier run")
    data = slopes(tmp_path / "slopes.npz", count=12)
    done = edgernn("train", "classify", "--data", data, "--out", again, "--epochs", 1)
    assert done.exit_code == 0, done.output
    assert f"edgernn export '{again}' --int8" in done.output
    assert sorted(p.name for p in again.rglob("*.npz")) == ["calib.npz", "test.npz", "val.npz"]
    assert finetuned(read_run(again)) is None


def test_a_run_is_not_written_into_its_data(tmp_path: Path) -> None:
    done = edgernn("train", "classify", "--data", tmp_path, "--out", tmp_path / "run")
    assert done.exit_code == 1
    assert "lies in the data" in done.output
