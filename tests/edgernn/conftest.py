"""Models and data that several tests share; small, so that exporting them is quick."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

# Small networks: threads would only wait for one another, worst when tests run side by side.
torch.set_num_threads(1)


class Classifier(nn.Module):
    """A GRU with a head on the last step."""

    def __init__(self, features: int = 3, hidden: int = 6, classes: int = 2) -> None:
        super().__init__()
        self.gru = nn.GRU(features, hidden, batch_first=True)
        self.head = nn.Linear(hidden, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, _ = self.gru(x)
        return self.head(y[:, -1])


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Sequences whose class is the sign of their first value."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 6, 2)).astype(np.float32)
    path = tmp_path_factory.mktemp("data") / "signs.npz"
    np.savez(path, x=x, y=(x[:, 0, 0] > 0).astype(np.int64))
    return str(path)


@pytest.fixture(scope="session")
def model() -> Classifier:
    torch.manual_seed(0)
    return Classifier().eval()


@pytest.fixture(scope="session")
def data() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((12, 20, 3)).astype(np.float32)


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory, model: Classifier, data: np.ndarray) -> Path:
    """A folder with model.pt2 and calib.npz."""
    folder = tmp_path_factory.mktemp("files")
    with warnings.catch_warnings():
        # Of torch, about its own flat weights.
        warnings.filterwarnings("ignore", "The tensor attributes", UserWarning)
        exported = torch.export.export(model, (torch.from_numpy(data[:2]),))
    torch.export.save(exported, folder / "model.pt2")
    np.savez(folder / "calib.npz", x=data)
    return folder
