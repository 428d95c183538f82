"""A model of three layers with labelled data, and its report, made once."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

import edgernn
from edgernn.cli import main


class Three(nn.Module):
    """A Linear, a GRU and an LSTM, and a Linear on the last step."""

    def __init__(self) -> None:
        super().__init__()
        self.front = nn.Linear(4, 6)
        self.gru = nn.GRU(6, 10, batch_first=True)
        self.lstm = nn.LSTM(10, 8, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.gru(torch.relu(self.front(x)))
        z, _ = self.lstm(y)
        logits: Tensor = self.head(z[:, -1])
        return logits


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export, with test.npz beside it: 60 sequences of 12 steps, and labels."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 12, 4)).astype(np.float32)
    model = Three().eval()
    with torch.no_grad():
        # So that every class is met.
        model.head.bias -= model(torch.from_numpy(x)).mean(0)
    with warnings.catch_warnings():
        # Of torch, about its own flat weights.
        warnings.filterwarnings("ignore", "The tensor attributes", UserWarning)
        program = edgernn.quantize(model, (torch.from_numpy(x[:2]),), calibration=x[:20])
    path = tmp_path_factory.mktemp("report") / "three"
    edgernn.export(program, path, formats=("onnx",), verify_steps=100)
    with torch.no_grad():
        labels = model(torch.from_numpy(x)).argmax(1).numpy()
    # Some of them wrong, so that the matrix has something beside its diagonal.
    labels[::7] = (labels[::7] + 1) % 3
    np.savez(path.parent / "test.npz", x=x, y=labels, signed=labels - 1)
    return path


@pytest.fixture(scope="session")
def bare(folder: Path) -> Path:
    """The same without data, whose report is made in a moment."""
    path = folder.parent / "bare"
    shutil.copytree(folder, path)
    (path / "model.sample.npz").unlink()
    return path


def run(*arguments: object, code: int = 0) -> str:
    """What `edgernn` prints."""
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture(scope="session")
def reported(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The page, and its facts."""
    page = folder.parent / "page.html"
    data = ("--data", folder.parent / "test.npz", "--labels", "y")
    facts = run("report", folder, "--out", page, "--steps", 300, *data, "--json")
    return page, json.loads(facts, parse_constant=_refused)


def _refused(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")
