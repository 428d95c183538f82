"""Every network of the family, trained for a moment, on every engine: bits, accuracy, float ONNX.

    python -m benchmarks.family [--only NAME,...] [--steps 5000] [--json FILE]

The task is handwritten digits, which scikit-learn brings: an image of 8 x 8 is a sequence of 8
rows. Rows are cut to random lengths where a network takes lengths, pixels are hidden where it takes
missing values, and read one by one as tokens where it takes tokens. One row of the table is one
row of SUPPORTED.md.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import edgernn
from benchmarks.demo import load
from benchmarks.models import ROWS, Row
from edgernn.console import table
from edgernn.engines.onnx import FloatOnnx
from edgernn.folder import verify_folder
from edgernn.progress import Progress
from edgernn.runtime import StepRuntime, Window, WindowRuntime

FORMATS: Final = ("tflite", "onnx", "c")
TOLERANCE: Final = 1e-5


@dataclass(frozen=True, eq=False)
class Task:
    """What a network reads: arrays (N, T, F), and for lengths (N,); labels (N,)."""

    train: tuple[Tensor, ...]
    test: tuple[Tensor, ...]
    labels: Tensor
    test_labels: Tensor


@dataclass(frozen=True)
class Result:
    """One network. differing: values, of all engines together. float_onnx: largest |difference|
    of the float ONNX model from PyTorch, relative to the largest value."""

    name: str
    form: str
    parameters: int
    floating: float
    int8: float
    agreement: float
    float_onnx: float
    engines: dict[str, int]
    compared: int
    differing: int


def task_of(reads: str, seed: int = 0) -> Task:
    """The digits as a network reads them; reads: a key of Row.reads."""
    x, y, x_test, y_test = load()
    generator = np.random.default_rng(seed)

    def inputs(images: NDArray[np.float32]) -> tuple[Tensor, ...]:
        rows = torch.from_numpy(images)
        if reads == "tokens":
            return (torch.round((rows + 1.0) * 8.0).long().flatten(1)[:, ::2],)
        if reads == "lengths":
            return rows, torch.from_numpy(generator.integers(5, 9, len(images)))
        if reads == "missing":
            seen = torch.from_numpy((generator.random(images.shape) < 0.7).astype(np.float32))
            return rows * seen, seen, _since(seen)
        return (rows,)

    labels = (torch.from_numpy(v) for v in (y, y_test))
    return Task(inputs(x), inputs(x_test), *labels)


def _since(seen: Tensor) -> Tensor:
    """Steps since a value was last observed, (N, T, F)."""
    result = torch.zeros_like(seen)
    for t in range(1, seen.shape[1]):
        result[:, t] = 1.0 + (1.0 - seen[:, t - 1]) * result[:, t - 1]
    return result / seen.shape[1]


def train(model: nn.Module, task: Task, epochs: int, seed: int = 0) -> nn.Module:
    """Some epochs of AdamW, a few seconds on one core."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(epochs, 1))
    for _ in range(epochs):
        for batch in torch.randperm(len(task.labels)).split(64):
            logits = model(*(v[batch] for v in task.train))
            loss = nn.functional.cross_entropy(logits, task.labels[batch])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        schedule.step()
    return model.eval()


def arrays_of(program: Any, inputs: Sequence[Tensor]) -> list[NDArray[np.float32]]:
    """What the runtime of a program reads for what its model reads."""
    arrays = []
    steps = inputs[0].shape[1]
    for value in inputs:
        array = value.numpy().astype(np.float32)
        if array.ndim == 1:
            # Lengths become a mask, one number a step.
            array = (np.arange(steps)[None] < array[:, None]).astype(np.float32)
        arrays.append(array if array.ndim == 3 else array[..., None])
    return arrays


def run_int8(program: Any, inputs: Sequence[Tensor]) -> NDArray[np.float32]:
    """The logits (N, C) of the integer program."""
    arrays = arrays_of(program, inputs)
    if isinstance(program, Window):
        result: NDArray[np.float32] = WindowRuntime(program).run(*arrays)
        return result
    stream: NDArray[np.float32] = StepRuntime(program).run(*arrays)
    return stream[:, -1]


def evaluate(row: Row, epochs: int, steps: int, progress: Progress | None = None) -> Result:
    """Train, quantize, export, verify and compare one network."""
    task = task_of(row.reads)
    model = train(row.build(), task, epochs)
    with torch.no_grad():
        floats = model(*task.test).numpy()
    warnings.filterwarnings("ignore", "The tensor attributes", UserWarning)
    example = tuple(v[:3] for v in task.train)
    program = edgernn.quantize(model, example, calibration=calibration_of(task))
    ints = run_int8(program, task.test)
    with tempfile.TemporaryDirectory() as folder:
        edgernn.export(program, folder, FORMATS, verify_steps=64)
        found = verify_folder(Path(folder), steps, progress=progress)
        distance = _float_onnx(Path(folder), program, task, floats)
    labels = task.test_labels.numpy()
    rows = [r for r in found.rows if r.note != "reference"]
    return Result(
        name=row.name,
        form="window" if isinstance(program, Window) else "stream",
        parameters=sum(p.numel() for p in model.parameters()),
        floating=100 * float(np.mean(floats.argmax(1) == labels)),
        int8=100 * float(np.mean(ints.argmax(1) == labels)),
        agreement=100 * float(np.mean(ints.argmax(1) == floats.argmax(1))),
        float_onnx=distance,
        engines={r.engine: r.compared for r in rows},
        compared=sum(r.compared for r in rows),
        differing=sum(r.differing for r in rows),
    )


def calibration_of(task: Task) -> Any:
    """Some of the training data; of lengths, none: calibration reads whole sequences."""
    kept = [v for v in task.train if v.dim() > 1]
    arrays = [v.numpy()[:256] for v in kept]
    return tuple(arrays) if len(arrays) > 1 else arrays[0]


def _float_onnx(folder: Path, program: Any, task: Task, floats: NDArray[np.float32]) -> float:
    model = FloatOnnx(folder / "model.float.onnx")
    arrays = arrays_of(program, task.test)
    window = isinstance(program, Window)
    names = [t.name for t in program.inputs] if window else list(program.inputs)
    states = {} if window else {
        s.name: np.repeat(
            s.initial[None] * np.float32(float(program.tensors[s.input].scale)), len(floats), 0
        )
        for s in program.states
    }  # fmt: skip
    got = model.run(dict(zip(names, arrays, strict=True)), states)
    name = next(iter(program.outputs))
    return float(np.abs(got[name] - floats).max() / max(1.0, float(np.abs(floats).max())))


def report(results: Sequence[Result]) -> str:
    """One line a network."""
    header = ["network", "form", "parameters", "float %", "int8 %", "agreement %", "float ONNX"]
    header += ["values compared", "differing", "engines"]
    return table(
        header,
        [
            [
                r.name,
                r.form,
                r.parameters,
                f"{r.floating:.1f}",
                f"{r.int8:.1f}",
                f"{r.agreement:.1f}",
                f"{r.float_onnx:.1e}",
                r.compared,
                r.differing,
                len(r.engines),
            ]
            for r in results
        ],
    )


@click.command()
@click.option("--only", help="Names of networks, comma-separated; default: all.")
@click.option("--steps", type=click.IntRange(1), default=5000, show_default=True)
@click.option("--epochs", type=click.IntRange(0), default=12, show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False))
def main(only: str | None, steps: int, epochs: int, json_file: Path | None) -> None:
    """Train, export and verify every network; exit code 1 if one bit differs."""
    names = only.split(",") if only else list(ROWS)
    unknown = [name for name in names if name not in ROWS]
    if unknown:
        raise click.BadParameter(f"{unknown[0]!r} is none of {', '.join(ROWS)}")
    results = []
    for name in names:
        click.echo(f"{name} ...", err=True)
        results.append(evaluate(ROWS[name], epochs, steps))
    click.echo(report(results))
    if json_file is not None:
        json_file.write_text(json.dumps([asdict(r) for r in results], indent=2) + "\n")
    if any(r.differing for r in results):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
