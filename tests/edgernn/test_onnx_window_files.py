"""A bidirectional model from its .pt2 file to a verified folder, on the command line."""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import pytest
import torch
from click.testing import CliRunner, Result
from torch import nn

from edgernn.cli import main
from edgernn.engines.onnx_window import OnnxWindowEngine
from edgernn.runtime.file import load_any
from edgernn.runtime.window import Window
from edgernn.runtime.window_runtime import WindowRuntime

FILES = {
    "model.safetensors",
    "model.onnx",
    "model.float.onnx",
    "model.float.safetensors",
    "model.sample.npz",
    "report.json",
}


class Bidirectional(nn.Module):
    """Two layers in both directions; a head at every step, and one on the two last states."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(3, 6, batch_first=True, bidirectional=True)
        self.lstm = nn.LSTM(12, 5, batch_first=True, bidirectional=True)
        self.each = nn.Linear(10, 2)
        self.once = nn.Linear(12, 4)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y, h = self.gru(x)
        z, _ = self.lstm(y)
        return self.each(z), self.once(torch.cat([h[0], h[1]], -1))


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def data() -> np.ndarray:
    return np.random.default_rng(3).standard_normal((10, 20, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def model() -> Bidirectional:
    torch.manual_seed(4)
    return Bidirectional().eval()


@pytest.fixture(scope="module")
def exported(
    tmp_path_factory: pytest.TempPathFactory, model: Bidirectional, data: np.ndarray
) -> Path:
    folder = tmp_path_factory.mktemp("window")
    with warnings.catch_warnings():
        # Of torch, about its own flat weights.
        warnings.filterwarnings("ignore", "The tensor attributes", UserWarning)
        traced = torch.export.export(model, (torch.from_numpy(data[:2]),))
    torch.export.save(traced, folder / "model.pt2")
    np.savez(folder / "calib.npz", x=data)
    paths = ["--calib", folder / "calib.npz", "--out", folder / "build"]
    result = call("export", folder / "model.pt2", "--int8", *paths, "--to", "numpy,onnx")
    assert result.exit_code == 0, result.output
    return folder / "build"


@pytest.fixture
def build(exported: Path, tmp_path: Path) -> Path:
    """A copy, to be damaged."""
    return Path(shutil.copytree(exported, tmp_path / "build"))


def test_the_files_are_exact_and_close_to_the_model(
    build: Path, model: Bidirectional, data: np.ndarray
) -> None:
    assert {path.name for path in build.iterdir()} == FILES
    result = call("verify", build, "--json")
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["rows"]
    compared = {r["engine"].split()[0]: (r["compared"], r["differing"]) for r in rows}
    assert compared["onnxruntime"][0] > 10_000
    assert compared["onnxruntime"][1] == compared["operators,"][1] == 0
    window = load_any(build / "model.safetensors")
    assert isinstance(window, Window)
    # Both layers that run backwards are in the one stage that does.
    directions = [stage.direction for stage in window.stages]
    assert directions == ["forward", "reverse", "forward", "once"]
    engine = OnnxWindowEngine(build / "model.onnx", window)
    with torch.no_grad():
        wanted = [y.numpy() for y in model(torch.from_numpy(data))]
    found = WindowRuntime(window).run(data)
    x = np.rint(data / float(window.inputs[0].scale)).astype(np.int16)
    integers = WindowRuntime(window).run_int(x)
    for i, one in enumerate(x):
        results = engine.run({window.inputs[0].name: one}).values()
        for got, right in zip(results, integers, strict=True):
            np.testing.assert_array_equal(got, right[i])
    for ours, floats in zip(found, wanted, strict=True):
        assert ours.shape == floats.shape
        assert np.abs(ours - floats).max() < 0.03


def test_a_damaged_or_foreign_file_is_refused(build: Path) -> None:
    path = build / "model.onnx"
    genuine = path.read_bytes()
    for damaged in (genuine[: len(genuine) // 2], b"", genuine[:-1] + b"\0"):
        path.write_bytes(damaged)
        result = call("verify", build)
        assert result.exit_code == 1
        assert result.stderr.startswith(f"Error: {path} ")
        assert len(result.stderr.strip().splitlines()) == 1
    path.write_bytes((build / "model.float.onnx").read_bytes())
    (build / "report.json").unlink()
    result = call("verify", build)
    assert result.exit_code == 1
    assert "Error: " in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_file_that_computes_other_bits_is_found(build: Path) -> None:
    """One weight changed, and the report made to fit: only the comparison can see it."""
    path, report_path = build / "model.onnx", build / "report.json"
    model = onnx.load(path)
    weights = [t for t in model.graph.initializer if t.data_type == onnx.TensorProto.INT8]
    tensor = max(weights, key=lambda t: int(np.prod(t.dims)))
    weight = onnx.numpy_helper.to_array(tensor).copy()
    weight.flat[0] = 100 if weight.flat[0] < 0 else -100
    tensor.CopyFrom(onnx.numpy_helper.from_array(weight, tensor.name))
    path.write_bytes(model.SerializeToString())
    report = json.loads(report_path.read_text())
    report["sha256"]["model.onnx"] = hashlib.sha256(path.read_bytes()).hexdigest()
    report_path.write_text(json.dumps(report))
    result = call("verify", build)
    assert result.exit_code == 1, result.output
    assert "onnxruntime" in result.output
