"""The command line, as a user types it."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from edgernn.calibrate import METHODS
from edgernn.cli import main
from edgernn.exporters.tflite import PRODUCTS
from edgernn.rounding import STRATEGIES
from edgernn.runtime import StepRuntime

ALL = {
    "model.safetensors",
    "model.tflite",
    "model.onnx",
    "model.sequence.onnx",
    "model.float.onnx",
    "model.float.safetensors",
    "model.sample.npz",
    "report.json",
}


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture(scope="module")
def build(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "build"
    result = call(
        "export", files / "model.pt2", "--int8", "--calib", files / "calib.npz", "--out", folder
    )
    assert result.exit_code == 0, result.output
    return folder


def refused(result: Result, *words: str) -> None:
    """One sentence on stderr, exit code 1, no traceback."""
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit)
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("Error: ")
    for word in words:
        assert word in lines[0]


def test_export_writes_every_file_and_reports_a_verification(build: Path) -> None:
    assert names(build) == ALL
    report = json.loads((build / "report.json").read_text())
    assert report["verification"]["ok"] is True
    engines = [row["engine"].split()[0] for row in report["verification"]["rows"]]
    assert engines == ["numpy", "operators,", "ai-edge-litert", "onnxruntime"]
    for name, size in report["files"].items():
        assert (build / name).stat().st_size == size


def test_the_same_export_gives_the_same_bytes(build: Path, files: Path, tmp_path: Path) -> None:
    call("export", files / "model.pt2", "--int8", "--calib", files / "calib.npz", "--out", tmp_path)
    for name in ALL - {"model.sample.npz"}:
        assert (tmp_path / name).read_bytes() == (build / name).read_bytes(), name


def test_to_chooses_formats_and_removes_what_no_longer_matches(files: Path, tmp_path: Path) -> None:
    arguments = ["export", files / "model.pt2", "--int8", "--calib", files / "calib.npz"]
    assert call(*arguments, "--out", tmp_path).exit_code == 0
    (tmp_path / "notes.txt").write_text("mine")
    assert call(*arguments, "--out", tmp_path, "--to", "numpy,tflite").exit_code == 0
    assert names(tmp_path) == {
        "model.safetensors",
        "model.tflite",
        "model.float.safetensors",
        "model.sample.npz",
        "report.json",
        "notes.txt",
    }


def test_without_int8_only_the_float_reference_is_written(files: Path, tmp_path: Path) -> None:
    result = call("export", files / "model.pt2", "--out", tmp_path / "b")
    assert result.exit_code == 0, result.output
    assert names(tmp_path / "b") == {"model.float.onnx", "report.json"}


@pytest.mark.parametrize("option", [["--float-io"], ["--tflite-op", "fully_connected"]])
def test_options_are_verified_too(files: Path, tmp_path: Path, option: list[str]) -> None:
    calib = files / "calib.npz"
    result = call(
        "export", files / "model.pt2", "--int8", "--calib", calib, "--out", tmp_path, *option
    )
    assert result.exit_code == 0, result.output
    assert call("verify", tmp_path, "--steps", 200).exit_code == 0


def test_verify_prints_engines_and_the_distance_from_float(build: Path) -> None:
    result = call("verify", build, "--steps", 300)
    assert result.exit_code == 0
    for word in ("ai-edge-litert", "onnxruntime", "SNR dB", "state_gru_h0_next"):
        assert word in result.stdout
    found = json.loads(call("verify", build, "--steps", 300, "--json").stdout)
    assert found["ok"] is True
    assert found["steps"] == 300
    assert all(t["snr_db"] > 30 for t in found["distance"]["tensors"])


def test_verify_takes_other_data(build: Path, files: Path) -> None:
    result = call("verify", build, "--steps", 100, "--calib", files / "calib.npz")
    assert result.exit_code == 0, result.output


def test_run_gives_what_the_runtime_gives(build: Path, data: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", data)
    program = build / "model.safetensors"
    result = call("run", program, "--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy")
    assert result.exit_code == 0, result.output
    expected = StepRuntime.load(program).run(data)
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), expected)


@pytest.mark.parametrize(
    "suffix", ["safetensors", "tflite", "onnx", "float.onnx", "float.safetensors"]
)
def test_inspect_shows_inputs_and_operators(build: Path, suffix: str) -> None:
    path = build / f"model.{suffix}"
    result = call("inspect", path)
    assert result.exit_code == 0, result.output
    assert "operator" in result.stdout
    assert "gru_h0" in result.stdout
    assert json.loads(call("inspect", path, "--json").stdout)["bytes"] == path.stat().st_size


@pytest.mark.parametrize("suffix", ["safetensors", "tflite", "onnx"])
def test_damaged_files_are_refused(build: Path, tmp_path: Path, suffix: str) -> None:
    content = (build / f"model.{suffix}").read_bytes()
    for keep in (0, 7, len(content) // 2):
        path = tmp_path / f"cut.{suffix}"
        path.write_bytes(content[:keep])
        refused(call("inspect", path), "cut")


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.full((2, 5, 3), np.nan, np.float32), ("nan", "sequence 0", "step 0")),
        (np.full((2, 5, 3), np.inf, np.float32), ("inf", "feature 0")),
        (np.zeros((2, 5, 4), np.float32), ("(5, 4)", "(T, 3)")),
        (np.zeros((0, 5, 3), np.float32), ("empty",)),
        (np.array([["a", "b"]]), ("x",)),
    ],
)
def test_bad_calibration_data_is_refused(
    files: Path, tmp_path: Path, array: np.ndarray, words: tuple[str, ...]
) -> None:
    np.savez(tmp_path / "bad.npz", x=array)
    out = tmp_path / "b"
    result = call(
        "export", files / "model.pt2", "--int8", "--calib", tmp_path / "bad.npz", "--out", out
    )
    refused(result, *words)
    assert not out.exists()


def test_wrong_calls_are_refused_with_the_way_out(files: Path, tmp_path: Path) -> None:
    model, calib = files / "model.pt2", files / "calib.npz"
    out = tmp_path / "b"
    refused(call("export", model, "--int8", "--out", out), "--calib")
    refused(call("export", tmp_path / "no.pt2", "--out", out), "no.pt2")
    refused(
        call("export", model, "--int8", "--calib", calib, "--out", out, "--to", "coreml"),
        "coreml",
    )
    refused(call("export", model, "--int8", "--calib", f"{calib}:z", "--out", out), "'z'", "'x'")
    refused(call("verify", tmp_path), "model.safetensors")
    refused(call("inspect", files / "calib.npz"), ".onnx")
    assert not out.exists()


def test_a_folder_that_cannot_be_written_is_refused(files: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = call(
        "export",
        files / "model.pt2",
        "--int8",
        "--calib",
        files / "calib.npz",
        "--out",
        tmp_path / "file" / "b",
    )
    refused(result, "cannot write", "--out")


def test_a_disk_that_fills_up_leaves_what_was_there(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["export", files / "model.pt2", "--int8", "--calib", files / "calib.npz"]
    assert call(*arguments, "--out", tmp_path / "b").exit_code == 0
    before = {p.name: p.read_bytes() for p in (tmp_path / "b").iterdir()}
    real, calls = os.fsync, []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    refused(call(*arguments, "--out", tmp_path / "b", "--rounding", "nearest"), "No space left")
    assert {p.name: p.read_bytes() for p in (tmp_path / "b").iterdir()} == before
    calls.clear()
    refused(call(*arguments, "--out", tmp_path / "new"), "No space left")
    assert not (tmp_path / "new").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a full device")
def test_a_full_disk_under_the_output_is_one_sentence() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", "from edgernn.cli import main; main()", "budget", "--targets"],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "Error: the disk is full: the output is not complete\n"


def test_the_choices_offered_are_those_there_are() -> None:
    """They are spelt out in the command line, which must not import what defines them."""
    options = {o.name: o.type for o in main.commands["export"].params}
    for name, defined in {
        "calibration": METHODS,
        "rounding": STRATEGIES,
        "tflite_op": PRODUCTS,
    }.items():
        assert set(options[name].choices) == set(defined)
