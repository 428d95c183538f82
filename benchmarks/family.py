"""Every network of the family, trained for a moment, on every engine: bits, accuracy, float ONNX.

    python -m benchmarks.family [--data FOLDER] [--only NAME ...] [--steps 5000] [--save]

Without a folder the task is handwritten digits, which scikit-learn brings: an image of 8 x 8 is a
sequence of 8 rows. Rows are cut to random lengths where a network takes lengths, pixels are hidden
where it takes missing values, and read one by one as tokens where it takes tokens. With a folder
of real data sets each network is judged on those that suit it (`benchmarks.family_tasks.SETS`).
"""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import edgernn
from benchmarks import datasets, records
from benchmarks.family_tasks import (
    EPOCHS,
    Inputs,
    Task,
    batches,
    calibration_of,
    predict,
    real_task,
    sets_of,
    task_of,
)
from benchmarks.models import ROWS, Row
from edgernn.console import table
from edgernn.engines.onnx import FloatOnnx
from edgernn.folder import verify_folder
from edgernn.progress import Progress
from edgernn.runtime import StepRuntime, Window, WindowRuntime

FORMATS: Final = ("tflite", "onnx", "c")
DIGITS_RATE: Final = 1e-2
RATE: Final = 5e-3


@dataclass(frozen=True)
class Result:
    """One network on one data set. floating, int8: accuracy in %. auroc: of float and int8, in %,
    where there are two classes. float_onnx: largest |difference| of the float ONNX model from
    PyTorch, relative to the largest value. snr_db: variance of the float outputs over the mean
    squared difference of int8. differing: values, of all engines together."""

    name: str
    data: str
    form: str
    parameters: int
    floating: float
    int8: float
    auroc: tuple[float, float] | None
    agreement: float
    snr_db: float
    n: int
    float_onnx: float
    engines: dict[str, int]
    compared: int
    differing: int


def train(
    model: nn.Module, task: Task, epochs: int, seed: int = 0, rate: float = DIGITS_RATE
) -> nn.Module:
    """Some epochs of AdamW, seconds on one core; the model in eval mode."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(epochs, 1))
    for _ in range(epochs):
        for inputs, labels in batches(task, 64 if len(task.labels) > 500 else 16):
            loss = nn.functional.cross_entropy(model(*inputs), labels)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
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


def build(row: Row, task: Task, seed: int = 0) -> nn.Module:
    """The network of a row, its first weights by the seed; an embedding stands in front of one
    that reads features where the data are tokens."""
    torch.manual_seed(seed)
    if not task.sizes.tokens or task.train[0].is_floating_point() or row.reads == "tokens":
        return row.build(task.sizes)
    front = nn.Embedding(task.sizes.tokens, task.sizes.features)
    return nn.Sequential(front, row.build(task.sizes))


def evaluate(
    row: Row,
    task: Task,
    epochs: int,
    steps: int,
    data: str = "digits",
    progress: Progress | None = None,
) -> Result:
    """Train, quantize, export, verify and compare one network."""
    model = train(build(row, task), task, epochs, rate=DIGITS_RATE if data == "digits" else RATE)

    def run_float(inputs: Inputs) -> NDArray[np.float32]:
        with torch.no_grad():
            # A softmax at the end is the application's.
            return np.asarray(getattr(model, "net", model)(*inputs).numpy())

    warnings.filterwarnings("ignore", "The tensor attributes", UserWarning)
    shortest = None if task.steps is None else 4
    example = tuple(v[:3] if v.dim() == 1 else v[:3, :shortest] for v in task.train)
    program = edgernn.quantize(model, example, calibration=calibration_of(task))
    floats, ints = (
        predict(run, task.test, task.test_steps)
        for run in (run_float, lambda inputs: run_int8(program, inputs))
    )
    with tempfile.TemporaryDirectory() as folder:
        edgernn.export(program, folder, FORMATS, verify_steps=64)
        found = verify_folder(Path(folder), steps, progress=progress)
        onnx = FloatOnnx(Path(folder) / "model.float.onnx")
        again = predict(lambda x: _run_onnx(onnx, program, x), task.test, task.test_steps)
    labels = task.test_labels.numpy()
    rows = [r for r in found.rows if r.note != "reference"]
    error = ((floats - ints).astype(float) ** 2).mean(0).sum()
    binary = task.sizes.classes == 2
    return Result(
        name=row.name,
        data=data,
        form="window" if isinstance(program, Window) else "stream",
        parameters=sum(p.numel() for p in model.parameters()),
        floating=100 * float(np.mean(floats.argmax(1) == labels)),
        int8=100 * float(np.mean(ints.argmax(1) == labels)),
        auroc=(_auroc(floats, labels), _auroc(ints, labels)) if binary else None,
        agreement=100 * float(np.mean(ints.argmax(1) == floats.argmax(1))),
        snr_db=10 * float(np.log10(np.var(floats, axis=0).sum() / max(error, 1e-30))),
        n=len(labels),
        float_onnx=float(np.abs(again - floats).max() / max(1.0, float(np.abs(floats).max()))),
        engines={r.engine: r.compared for r in rows},
        compared=sum(r.compared for r in rows),
        differing=sum(r.differing for r in rows),
    )


def _auroc(logits: NDArray[np.float32], labels: NDArray[Any]) -> float:
    """In %: how often one of class 1 scores above one of class 0, an equal score half."""
    score = (logits[:, 1] - logits[:, 0]).astype(float)
    ones, zeros = score[labels == 1][:, None], score[labels == 0][None]
    return 100 * float(np.mean((ones > zeros) + 0.5 * (ones == zeros)))


def _run_onnx(model: FloatOnnx, program: Any, inputs: Inputs) -> NDArray[np.float32]:
    arrays = arrays_of(program, inputs)
    window = isinstance(program, Window)
    names = [t.name for t in program.inputs] if window else list(program.inputs)
    states = {} if window else {
        s.name: np.repeat(s.initial[None], len(arrays[0]), 0) for s in program.graph.states
    }  # fmt: skip
    got = model.run(dict(zip(names, arrays, strict=True)), states)
    result: NDArray[np.float32] = got[next(iter(program.outputs))]
    return result


def report(results: Sequence[Result]) -> str:
    """One line a network and data set."""
    header = ["network", "data", "form", "float %", "int8 %", "difference", "AUROC float, int8"]
    header += ["agreement %", "SNR dB", "n", "float ONNX", "values compared", "differing"]
    return table([*header, "engines"], [_line(r) for r in results])


def _line(r: Result) -> list[object]:
    return [
        r.name,
        r.data,
        r.form,
        f"{r.floating:.2f}",
        f"{r.int8:.2f}",
        f"{r.int8 - r.floating:+.2f}",
        "" if r.auroc is None else ", ".join(f"{v:.2f}" for v in r.auroc),
        f"{r.agreement:.2f}",
        f"{r.snr_db:.1f}",
        r.n,
        f"{r.float_onnx:.1e}",
        r.compared,
        r.differing,
        len(r.engines),
    ]


def tasks(
    rows: Sequence[Row], folder: Path | None, only: Sequence[str]
) -> Iterator[tuple[Row, str, Task]]:
    """Each network with each of its data sets, of which `only` names those wanted, if any."""
    loaded: dict[str, datasets.Task] = {}
    for row in rows:
        if folder is None:
            yield row, "digits", task_of(row.reads)
            continue
        for name in sets_of(row):
            if only and name not in only:
                continue
            if name not in loaded:
                loaded[name] = datasets.load(name, folder)
            yield row, name, real_task(loaded[name], row.reads)


def kept(results: Sequence[Result], steps: int) -> records.Result:
    """What RESULTS.md is made from."""
    bits: dict[str, float] = {
        "compared": sum(r.compared for r in results),
        "differing": sum(r.differing for r in results),
        "float_onnx": max(r.float_onnx for r in results),
    }
    return records.result("family", [asdict(r) for r in results], steps=steps, bits=bits)


@click.command()
@click.option(
    "--data",
    "folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder with real data sets, one .npz file each; default: scikit-learn's digits.",
)
@click.option(
    "--only", multiple=True, type=click.Choice(list(ROWS)), help="A network; repeat it for more."
)
@click.option(
    "--set", "sets", multiple=True, type=click.Choice(list(EPOCHS)), help="Of the folder's sets."
)
@click.option("--steps", type=click.IntRange(1), default=5000, show_default=True)
@click.option("--epochs", type=click.IntRange(0), help="Default: 12, or what the data set takes.")
@click.option("--json", "json_file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--save", is_flag=True, help="Keep it as the family's table of RESULTS.md.")
def main(
    folder: Path | None,
    only: tuple[str, ...],
    sets: tuple[str, ...],
    steps: int,
    epochs: int | None,
    json_file: Path | None,
    save: bool,
) -> None:
    """Train, export and verify every network; exit code 1 if one bit differs."""
    if save and (folder is None or only or sets):
        raise click.UsageError("--save keeps the whole table: name --data, and no --only or --set")
    rows = [ROWS[name] for name in only or ROWS]
    results = []
    try:
        for row, data, task in tasks(rows, folder, sets):
            click.echo(f"{row.name}, {data} ...", err=True)
            rounds = EPOCHS.get(data, 12) if epochs is None else epochs
            results.append(evaluate(row, task, rounds, steps, data))
            click.echo("  " + "  ".join(str(v) for v in _line(results[-1])[3:]), err=True)
            if json_file is not None:
                json_file.write_text(json.dumps([asdict(r) for r in results], indent=2) + "\n")
    except edgernn.EdgernnError as error:
        raise click.ClickException(str(error)) from None
    click.echo(report(results))
    if save:
        records.save(kept(results, steps))
    if any(r.differing for r in results):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
