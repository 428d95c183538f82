"""`edgernn budget`: what it prints, and its exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from edgernn.cli import main
from edgernn.runtime.file import load_program
from tests.edgernn.budget.subjects import folder, noise, stack, window_graph

GRAPH = stack(["gru", "lstm"], [12, 9])


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("budget") / "build", GRAPH)


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("budget") / "window", window_graph(4))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["budget", *map(str, arguments)])


def found(*arguments: object) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(run(*arguments, "--json").stdout)
    return result


def test_one_byte_decides_the_exit_code(build: Path) -> None:
    lines = found(build, "--target", "cortex-m4", "--clock", "8MHz")["targets"][0]["lines"]
    for name in ("flash", "ram", "instructions"):
        value = int(lines[name]["value"])
        enough = run(build, "--target", "cortex-m4", f"--{name}", value)
        assert enough.exit_code == 0, enough.output
        assert "It fits" in enough.stdout
        short = run(build, "--target", "cortex-m4", f"--{name}", value - 1)
        assert short.exit_code == 1
        label = name.upper() if name == "ram" else name
        unit = "" if name == "instructions" else " B"
        assert f"It does not fit: {label} is 1{unit} over." in short.stdout
        assert "What would help" in short.stdout
        advice = found(build, "--target", "cortex-m4", f"--{name}", value - 1)["targets"][0][
            "advice"
        ]
        saved = {layer["name"]: layer[name] for layer in advice["layers"]}
        best = max(saved, key=lambda layer: saved[layer])
        sentence = f"Of {label}, one of its hidden units saves most in {best}."
        assert (sentence in short.stdout) == (len(set(saved.values())) == 2)
        assert not short.stderr


def test_a_board_has_limits_of_its_own(build: Path) -> None:
    result = run(build, "--target", "nrf52840-dk", "--rate", "100Hz", "--step", "2ms")
    assert result.exit_code == 0
    for text in ("64 MHz", "1,048,576 B", "262,144 B", "2 ms", "load", "It fits", "weights"):
        assert text in result.stdout
    assert "What would help" not in result.stdout
    more = run(build, "--target", "nrf52840-dk", "--reserve-flash", "1024KiB")
    assert more.exit_code == 1
    assert "no hidden size fits" in more.stdout.lower()


def test_without_a_target_every_core_and_no_limit(build: Path) -> None:
    result = run(build)
    assert result.exit_code == 0
    for name in ("cortex-m0plus", "cortex-m55", "rv32imc"):
        assert name in result.stdout
    assert "nrf52840-dk" not in result.stdout
    assert "does not fit" not in result.stdout


def test_a_file_of_several_targets(build: Path, tmp_path: Path) -> None:
    (tmp_path / "edgernn.toml").write_text(
        '[budget]\nrate = "10 Hz"\n'
        '[[budget.target]]\ndevice = "nrf52840-dk"\n'
        '[[budget.target]]\ndevice = "rpi-pico"\nflash = "2 KiB"\n'
    )
    result = run(build, "--file", tmp_path / "edgernn.toml")
    assert result.exit_code == 1
    first = result.stdout.index("nrf52840-dk")
    assert first < result.stdout.index("rpi-pico") < result.stdout.index("What would help")
    assert result.stdout.count("What would help") == 1
    assert "\x1b" not in result.stdout
    entries = found(build, "--file", tmp_path / "edgernn.toml")
    assert [entry["fits"] for entry in entries["targets"]] == [True, False]
    assert not entries["fits"]
    assert "advice" in entries["targets"][1]
    assert "advice" not in entries["targets"][0]


def test_windows(window: Path) -> None:
    short, long = (found(window, "--target", "cortex-m4", "--window", n) for n in (5, 50))
    assert (short["window"], long["window"]) == (5, 50)
    ram = [entry["targets"][0]["lines"]["ram"]["value"] for entry in (short, long)]
    assert ram[0] < ram[1]
    text = run(window, "--target", "cortex-m4", "--window", 50, "--ram", int(ram[1]) - 1)
    assert text.exit_code == 1
    assert "windows of up to 49 steps fit" in text.stdout
    assert "time / window" not in text.stdout
    assert "MACs / window" in text.stdout


def test_accuracy_on_labelled_data(build: Path, tmp_path: Path) -> None:
    x = np.stack([s["x"] for s in noise(GRAPH, 30)])
    np.savez(tmp_path / "test.npz", x=x, y=np.zeros(30, np.int64), other=np.ones(30, np.int64))
    limit = ("--target", "nrf52840-dk", "--accuracy-drop", "5")
    bound = found(build, *limit)["accuracy"]
    assert bound["kind"] == "predictions"
    assert "sample" in bound["data"]
    entry = found(build, *limit, "--data", tmp_path / "test.npz")
    assert entry["accuracy"]["kind"] == "accuracy"
    assert entry["accuracy"]["count"] == 30
    other = found(build, *limit, "--data", tmp_path / "test.npz", "--labels", "other")
    assert other["accuracy"]["float_value"] != entry["accuracy"]["float_value"]
    missing = run(build, *limit, "--data", tmp_path / "test.npz", "--labels", "z")
    assert missing.exit_code == 2
    assert "no array 'z' of labels" in missing.stderr
    lengths = np.arange(1, 31) % 9 + 1
    np.savez(tmp_path / "padded.npz", x=x, lengths=lengths, y=np.zeros(30, np.int64))
    padded = found(build, *limit, "--data", tmp_path / "padded.npz")["accuracy"]
    assert padded["count"] == 30
    np.savez(tmp_path / "labels.npz", y=np.zeros(30, np.int64))
    alone = run(build, *limit, "--data", tmp_path / "labels.npz")
    assert alone.exit_code == 2
    assert "holds labels alone" in alone.stderr
    np.savez(tmp_path / "one.npz", x=x, y=np.int64(1))
    single = run(build, *limit, "--data", tmp_path / "one.npz")
    assert single.exit_code == 2
    assert "are a single value" in single.stderr


def test_lengths_stand_for_a_mask(tmp_path: Path) -> None:
    nodes = (replace(GRAPH.nodes[0], mask="mask"), *GRAPH.nodes[1:])
    sizes = {**GRAPH.sizes, "mask": 1}
    masked = folder(
        tmp_path / "masked", replace(GRAPH, inputs=("x", "mask"), sizes=sizes, nodes=nodes)
    )
    x = np.stack([s["x"] for s in noise(GRAPH, 12)])
    np.savez(tmp_path / "t.npz", x=x, lengths=np.arange(12) % 9 + 1, y=np.zeros(12, np.int64))
    entry = found(masked, "--target", "cortex-m4", "--data", tmp_path / "t.npz")
    assert entry["accuracy"]["count"] == 12
    calib = f"{tmp_path / 't.npz'}:x,lengths"
    verified = CliRunner().invoke(main, ["verify", str(masked), "--calib", calib, "--steps", "50"])
    assert verified.exit_code == 0, verified.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "name the folder"),
        (("BUILD", "--flash", "1KiB"), "limits need a --target"),
        (("BUILD", "--file", "x.toml", "--flash", "1KiB"), "give one or the other"),
        (("BUILD", "--file", "x.toml"), "cannot read the budgets of x.toml"),
        (("BUILD", "--target", "nrf52840"), "there is no target 'nrf52840': did you mean"),
        (("BUILD", "--target", "cortex-m4", "--step", "2ms"), "a core without a clock"),
        (("BUILD", "--target", "cortex-m4", "--flash", "64KB"), "'64KB' is not a size"),
        (("BUILD", "--target", "cortex-m4", "--window", "4"), "it has no window to price"),
        (("BUILD", "--target", "cortex-m4", "--labels", "y"), "give `--data FILE` too"),
        (("nowhere", "--target", "cortex-m4"), "there is no file nowhere"),
        ((".", "--target", "cortex-m4"), "holds no model.safetensors"),
    ],
)
def test_what_makes_no_sense_is_2(
    build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...], message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    result = run(*(str(build) if a == "BUILD" else a for a in arguments))
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert result.stderr.count("\n") <= 5


def test_a_program_alone_and_a_foreign_float_network(build: Path, tmp_path: Path) -> None:
    alone = tmp_path / "kws.safetensors"
    alone.write_bytes((build / "model.safetensors").read_bytes())
    result = run(alone, "--target", "cortex-m4", "--flash", "1KiB")
    assert result.exit_code == 1
    assert "export the model again" in result.stdout
    drop = run(alone, "--target", "cortex-m4", "--accuracy-drop", 1)
    assert drop.exit_code == 2
    assert "cannot be known" in drop.stderr
    # Of other layers, and of the same layers in other sizes.
    for name, graph in (
        ("layers", stack(["lstm"], [9])),
        ("sizes", stack(["gru", "lstm"], [8, 9])),
    ):
        other = folder(tmp_path / name, graph)
        (other / "model.safetensors").write_bytes(alone.read_bytes())
        wrong = run(other, "--target", "cortex-m4")
        assert wrong.exit_code == 2
        assert "is of another model" in wrong.stderr
    assert load_program(alone).inputs == ("x",)


def test_own_boards_and_the_list(build: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('[my-board]\ncore = "cortex-m4"\nflash = "1 KiB"\n')
    mine = ("--boards", tmp_path / "mine.toml")
    result = run(build, "--target", "my-board", *mine)
    assert result.exit_code == 1
    assert "1,024 B" in result.stdout
    everything = run(build, *mine)
    assert everything.exit_code == 1
    assert "cortex-m0plus" in everything.stdout
    assert "my-board" in everything.stdout
    listed = run("--targets", *mine)
    assert listed.exit_code == 0
    for name in ("my-board", "cortex-m0plus", "nrf52840-dk", "64 MHz"):
        assert name in listed.stdout
    entries = json.loads(run("--targets", "--json").stdout)
    assert {"name", "core", "flash_bytes", "sources"} <= set(entries[0])


def test_advice_on_demand(build: Path) -> None:
    result = run(build, "--target", "cortex-m4", "--flash", "16KiB", "--advise")
    assert result.exit_code == 0
    assert "How far it may grow" in result.stdout
    assert "l0_h" in result.stdout


def test_it_needs_no_torch(build: Path) -> None:
    code = (
        "import sys; from edgernn.cli import main; "
        "main(['budget', sys.argv[1], '--target', 'cortex-m4', '--flash', '2KiB', "
        "'--accuracy-drop', '1'], standalone_mode=False); "
        "assert not {'torch', 'onnx', 'onnxruntime', 'ai_edge_litert'} & set(sys.modules)"
    )
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(build)], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert "What would help" in done.stdout
