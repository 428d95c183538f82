"""`--window` on a model that streams: its whole windows as one more .tflite."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgernn.cli import main


def _export(files: Path, out: Path, *options: str) -> str:
    arguments = ["export", str(files / "model.pt2"), "--int8", "--calib", str(files / "calib.npz")]
    result = CliRunner().invoke(main, [*arguments, "--out", str(out), *options])
    assert result.exit_code == 0, result.output
    return result.output


def test_windows_of_a_stream_are_written_and_verified(files: Path, tmp_path: Path) -> None:
    output = _export(files, tmp_path / "b", "--to", "tflite", "--window", "20")
    assert "model.window.tflite" in output
    result = CliRunner().invoke(main, ["verify", str(tmp_path / "b"), "--steps", "600", "--json"])
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["rows"]
    (row,) = [r for r in rows if r["engine"].endswith(", windows")]
    assert row["compared"] >= 40
    assert row["differing"] == 0


def test_a_wrong_window_file_is_found(files: Path, tmp_path: Path) -> None:
    _export(files, tmp_path / "a", "--to", "tflite", "--window", "20")
    _export(files, tmp_path / "b", "--to", "tflite", "--window", "20", "--rounding", "nearest")
    other = tmp_path / "b" / "model.window.tflite"
    (tmp_path / "a" / "model.window.tflite").write_bytes(other.read_bytes())
    (tmp_path / "a" / "report.json").unlink()
    result = CliRunner().invoke(main, ["verify", str(tmp_path / "a"), "--steps", "600"])
    assert result.exit_code == 1
    assert "calibration window" in result.output or "noise" in result.output


def test_an_export_without_takes_it_away(files: Path, tmp_path: Path) -> None:
    _export(files, tmp_path, "--to", "tflite", "--window", "20")
    _export(files, tmp_path, "--to", "tflite")
    assert not (tmp_path / "model.window.tflite").exists()


@pytest.mark.parametrize("formats", ["onnx", "numpy"])
def test_a_window_needs_tflite(files: Path, tmp_path: Path, formats: str) -> None:
    arguments = ["export", str(files / "model.pt2"), "--int8", "--calib", str(files / "calib.npz")]
    options = ["--out", str(tmp_path / "b"), "--to", formats, "--window", "8"]
    result = CliRunner().invoke(main, [*arguments, *options])
    assert result.exit_code == 1
    assert "add tflite" in result.output
    assert not (tmp_path / "b").exists()
