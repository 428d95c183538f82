"""What the project costs, as far as it is the same on every machine: numbers for `budgets`.

Instructions and bytes on the boards are those that `firmware_tests` keeps and holds against QEMU.
Files, differing bits and accuracy are made anew. The networks behind the accuracy are trained in
float64 on all data at once, so that the rounding of another processor leads to the same network.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn

import edgernn
from benchmarks.demo import load
from benchmarks.subjects import quiet
from edgernn.exporters.onnx_step import to_onnx, to_onnx_sequence
from edgernn.exporters.tflite import to_tflite
from edgernn.runtime import StepRuntime
from edgernn.runtime.file import to_bytes
from edgernn.runtime.program import Program
from firmware_tests.table import kept, references

Numbers = dict[str, dict[str, float]]
"""Section -> name -> number; a section is a table of budgets.toml, dots in its name included."""

BOARD_COSTS: Final = ("instructions", "flash", "ram", "code")
FILES: Final[dict[str, Callable[[Program], bytes]]] = {
    "safetensors": to_bytes,
    "tflite": to_tflite,
    "onnx": to_onnx,
    "sequence.onnx": to_onnx_sequence,
}
LAYERS: Final[dict[str, Any]] = {"gru": nn.GRU, "lstm": nn.LSTM}
HIDDEN, EPOCHS, RATE = 32, 60, 0.02
VERIFY_STEPS: Final = 300


class Digits(nn.Module):
    """A layer over the rows of an 8 x 8 image, a Linear on its last step."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer(8, HIDDEN, batch_first=True)
        self.head = nn.Linear(HIDDEN, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, 8, 8) -> (N, 10)."""
        logits: torch.Tensor = self.head(self.layer(x)[0][:, -1])
        return logits


def boards() -> Numbers:
    """Of every board and reference model."""
    return {
        f"{cost}.{target}": {model: costs[cost] for model, costs in models.items() if cost in costs}
        for cost in BOARD_COSTS
        for target, models in kept().items()
    }


def files() -> Numbers:
    """Bytes of the reference models in every format."""
    return {
        f"files.{name}": {kind: len(write(program)) for kind, write in FILES.items()}
        for name, program in references().items()
        if isinstance(program, Program)
    }


def accuracy() -> Numbers:
    """Float and int8 on scikit-learn's digits, and the bits that differ between the engines."""
    found: Numbers = {}
    x, y, x_test, y_test = load()
    for name, layer in LAYERS.items():
        model = trained(layer, torch.from_numpy(x), torch.from_numpy(y))
        with quiet(), torch.no_grad():
            program = edgernn.quantize(model, (torch.from_numpy(x[:2]),), calibration=x[:256])
            floats = model(torch.from_numpy(x_test)).numpy().astype(float)
        assert isinstance(program, Program)
        ints = StepRuntime(program).run(x_test)[:, -1].astype(float)
        right = [100 * float(np.mean(v.argmax(1) == y_test)) for v in (floats, ints)]
        error = ((floats - ints) ** 2).mean(0).sum()
        with tempfile.TemporaryDirectory() as folder:
            report = edgernn.export(program, Path(folder), verify_steps=VERIFY_STEPS)
        found[f"digits.{name}"] = {
            "float_percent": round(right[0], 2),
            "int8_percent": round(right[1], 2),
            "agreement_percent": round(100 * float(np.mean(floats.argmax(1) == ints.argmax(1))), 2),
            "snr_db": round(10 * float(np.log10(np.var(floats, axis=0).sum() / error)), 2),
            "differing": sum(row["differing"] for row in report["verification"]["rows"]),
        }
    return found


def trained(layer: Any, x: torch.Tensor, y: torch.Tensor) -> Digits:
    """Seconds on one core; x (N, 8, 8) float32, y (N,)."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = Digits(layer).double()
    optimizer = torch.optim.Adam(model.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    for _ in range(EPOCHS):
        loss = nn.functional.cross_entropy(model(x.double()), y)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return model.float().eval()
