"""From a PyTorch module to verified files: layers behind a recurrent one, in every combination."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import edgernn
from edgernn.runtime import StepRuntime

Forward = Callable[["Model", torch.Tensor], torch.Tensor]


class Model(nn.Module):
    """Layers to choose from; `forward` is the test's."""

    def __init__(self, forward: Forward) -> None:
        super().__init__()
        self.gru = nn.GRU(4, 8, batch_first=True)
        self.lstm = nn.LSTM(4, 8, batch_first=True)
        self.relu = nn.RNN(4, 8, nonlinearity="relu", batch_first=True)
        self.dead = nn.Linear(8, 2)
        nn.init.constant_(self.dead.bias, -5.0)
        self.after = nn.Linear(2, 3, bias=False)
        self.wide = nn.Linear(8, 8)
        self._forward = forward

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._forward(self, x)


CASES: dict[str, Forward] = {
    "tanh of a GRU": lambda m, x: torch.tanh(m.gru(x)[0]),
    "sigmoid of a GRU": lambda m, x: m.wide(torch.sigmoid(m.gru(x)[0])),
    "tanh twice": lambda m, x: torch.tanh(torch.tanh(m.gru(x)[0])),
    "tanh of a ReLU RNN": lambda m, x: torch.tanh(m.relu(x)[0]),
    "tanh of the input": lambda m, x: m.gru(torch.tanh(x))[0],
    "h and c": lambda m, x: torch.cat([m.lstm(x)[1][0][-1], m.lstm(x)[1][1][-1]], -1),
    "c, input and GRU": lambda m, x: torch.cat([m.lstm(x)[1][1][-1], x[:, -1], m.gru(x)[1][-1]], 1),
    "residual into tanh": lambda m, x: torch.tanh(m.gru(x)[0] + m.wide(m.lstm(x)[0])),
    "residual of tanh": lambda m, x: torch.tanh(m.wide(m.gru(x)[0])) + m.wide(m.gru(x)[0]),
    "residual of c": lambda m, x: m.lstm(x)[1][1][-1] + m.gru(x)[1][-1],
    "dead units": lambda m, x: m.after(torch.relu(m.dead(m.gru(x)[0]))),
    "slices": lambda m, x: torch.relu(m.gru(x)[0][..., 2:5]) + m.lstm(x)[0][..., :3],
}


@pytest.mark.parametrize("forward", CASES.values(), ids=CASES.keys())
def test_the_program_is_exact_everywhere_and_close_to_float(
    forward: Forward, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    model = Model(forward).eval()
    x = np.random.default_rng(1).standard_normal((10, 15, 4)).astype(np.float32)
    program = edgernn.quantize(model, (torch.from_numpy(x[:2]),), calibration=x)
    report = edgernn.export(program, tmp_path, verify_steps=300)
    assert {row["differing"] for row in report["verification"]["rows"]} == {0}
    with torch.no_grad():
        expected = model(torch.from_numpy(x)).numpy()
    ours = StepRuntime.load(tmp_path / "model.safetensors").run(x)
    ours = ours if expected.ndim == 3 else ours[:, -1]
    assert np.abs(ours - expected).max() < 0.03 * max(np.abs(expected).max(), 0.1)


class Stack(nn.Module):
    """Separate layers in a list: the shape with the most names for the fewest weights."""

    def __init__(self, cells: list[str]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(getattr(nn, cell)(1, 1, batch_first=True) for cell in cells)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x, _ = layer(x)
        return x


@pytest.mark.parametrize("cells", [["GRU"] * 4, ["LSTM"] * 4, ["GRU", "LSTM", "RNN", "GRU"]])
def test_the_smallest_deep_models_stay_within_the_size_budget(
    cells: list[str], tmp_path: Path
) -> None:
    x = np.random.default_rng(0).standard_normal((3, 6, 1)).astype(np.float32)
    program = edgernn.quantize(Stack(cells), (torch.from_numpy(x),), calibration=x)
    edgernn.export(program, tmp_path, verify_steps=30)
    budget = program.weight_count + 32 * program.row_count + 8192
    for suffix in ("safetensors", "tflite", "onnx"):
        assert (tmp_path / f"model.{suffix}").stat().st_size <= budget, suffix
