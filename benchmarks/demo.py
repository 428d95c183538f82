"""The demonstration behind `make demo`: a small real model from training to verified int8.

Handwritten digits (scikit-learn ships them: 1,797 images of 8 x 8) are read row by row, a sequence
of 8 steps with 8 features. A GRU learns to name them, `edgernn export --int8` turns it into one
integer program, `edgernn verify` compares the engines, and a table compares int8 with float.
"""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from torch import nn

from edgernn.bench.timing import interleaved
from edgernn.console import table
from edgernn.engines.onnx import FloatOnnx, OnnxEngine
from edgernn.engines.tflite import TFLiteEngine
from edgernn.folder import verify_folder
from edgernn.runtime import StepRuntime

BUILD = Path("build") / "demo"
SEED, EPOCHS, HIDDEN = 0, 60, 32


class Digits(nn.Module):
    """GRU over the rows of an image, a linear layer on its last step."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(8, HIDDEN, batch_first=True)
        self.head = nn.Linear(HIDDEN, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, _ = self.gru(x)
        logits: torch.Tensor = self.head(y[:, -1])
        return logits


def load() -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
    """Images scaled to [-1, 1] as (N, 8, 8), and labels: 1,297 to train, 500 to test."""
    digits = load_digits()
    order = np.random.default_rng(SEED).permutation(len(digits.images))
    x = (digits.images[order] / 8.0 - 1.0).astype(np.float32)
    y = digits.target[order]
    return x[:-500], y[:-500], x[-500:], y[-500:]


def train(x: NDArray[np.float32], y: NDArray[np.int64]) -> Digits:
    """A few seconds on one core."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    model = Digits()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    inputs, labels = torch.from_numpy(x), torch.from_numpy(y)
    for _ in range(EPOCHS):
        order = torch.randperm(len(x))
        for batch in (order[i : i + 64] for i in range(0, len(x), 64)):
            loss = nn.functional.cross_entropy(model(inputs[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        schedule.step()
    return model.eval()


def command(*arguments: str) -> None:
    """Show and run an edgernn command as a user would."""
    print(f"\n$ edgernn {' '.join(arguments)}", flush=True)
    subprocess.run([str(Path(sys.executable).parent / "edgernn"), *arguments], check=True)


def step_latency(x: NDArray[np.float32]) -> dict[str, float]:
    """Median microseconds of one step, engines interleaved."""
    runtime = StepRuntime.load(BUILD / "model.safetensors")
    program = runtime.program
    native = StepRuntime.load(BUILD / "model.safetensors", engine="native")
    native_step = native.step_int
    states: dict[str, Any] = {s.name: s.initial for s in program.states}
    inputs: dict[str, Any] = {"x": (x / float(program.tensors["x"].scale)).astype(np.int16)}
    lite = TFLiteEngine(BUILD / "model.tflite", program)
    onnx = OnnxEngine(BUILD / "model.onnx", program)
    floats = FloatOnnx(BUILD / "model.float.onnx")
    zeros = {n: np.zeros((1, len(v)), np.float32) for n, v in states.items()}
    calls = {
        "NumPy": lambda: runtime.step_int(inputs["x"]),
        "native: C from Python": lambda: native_step(inputs["x"]),
        lite.name: lambda: lite.step(inputs, states),
        f"{onnx.name}, int8": lambda: onnx.step(inputs, states),
        "ONNX Runtime, float": lambda: floats.run({"x": x[None, None]}, zeros),
    }
    timings = interleaved(calls)
    return {name: timings.microseconds(name) for name in calls}


def main() -> None:
    """Train, export, verify, budget, report, compare."""
    BUILD.mkdir(parents=True, exist_ok=True)
    x_train, y_train, x_test, y_test = load()
    print(f"training a GRU({HIDDEN}) on {len(x_train)} digits, row by row ...", flush=True)
    model = train(x_train, y_train)
    # torch 2.13 warns of every nn.GRU that its own flat weights are no buffers.
    warnings.filterwarnings("ignore", "The tensor attributes", UserWarning)
    exported = torch.export.export(model, (torch.from_numpy(x_train[:2]),))
    torch.export.save(exported, BUILD / "model.pt2")
    np.savez(BUILD / "calib.npz", x=x_train[:256])

    files = str(BUILD)
    calibration = ("--calib", f"{files}/calib.npz")
    formats = ("--to", "tflite,onnx,c", "--name", "digits")
    command("export", f"{files}/model.pt2", "--int8", *calibration, "--out", files, *formats)
    command("build", files)
    command("verify", files, "--native")
    np.savez(BUILD / "test.npz", x=x_test, y=y_test)
    data = ("--data", f"{files}/test.npz", "--labels", "y")
    board = ("--target", "nrf52840-dk")
    command("budget", files, *board, "--step", "1ms", "--accuracy-drop", "0.2", *data)
    command("report", files, *board, *data)

    with torch.no_grad():
        floats = model(torch.from_numpy(x_test)).numpy()
    runtime = StepRuntime.load(BUILD / "model.safetensors")
    int8 = runtime.run(x_test)[:, -1]
    agreement = float(np.mean(int8.argmax(1) == floats.argmax(1)))
    parameters = sum(p.numel() for p in model.parameters())
    rows = [
        ["accuracy, float (PyTorch)", f"{np.mean(floats.argmax(1) == y_test):.2%}"],
        ["accuracy, int8", f"{np.mean(int8.argmax(1) == y_test):.2%}"],
        ["same prediction as float", f"{agreement:.2%} of {len(y_test)}"],
        ["size, float32 weights", f"{4 * parameters:,} bytes"],
    ]
    for name in ("model.safetensors", "model.tflite", "model.onnx"):
        rows.append([f"size, {name}", f"{(BUILD / name).stat().st_size:,} bytes"])
    for engine, time_us in step_latency(x_test[0, 0]).items():
        rows.append([f"one step, {engine}", f"{time_us:.1f} us"])
    found = verify_folder(BUILD, seed=1, native=True)
    compared, differing = (
        sum(getattr(r, k) for r in found.rows) for k in ("compared", "differing")
    )
    rows.append(["int16 values that differ between engines", f"{differing:,} of {compared:,}"])
    print("\n" + table(["digits, GRU(32) + Linear", "result"], rows))


if __name__ == "__main__":
    main()
