"""Float against int8 on real data: train small networks, quantize them, compare on the test split.

    python -m benchmarks.accuracy --data FOLDER [--only NAME,...] [--seeds 0,1,2] [--save]

The float model is PyTorch, the int8 model the integer program in NumPy; every other engine gives
the same bits. Calibration sees the training split only. Classifiers are read at the last valid
step of a recording; streams run from their first step to their last without a reset.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray

import edgernn
from benchmarks import records
from benchmarks.accuracy_text import accuracy
from benchmarks.datasets import FloatArray, Split, Task, load
from benchmarks.training import RECIPES, Recurrent, predict, train
from edgernn.calibrate import METHODS
from edgernn.quantization import DEFAULT_ROUNDING
from edgernn.rounding import STRATEGIES
from edgernn.runtime import StepRuntime
from edgernn.runtime.program import Program

CLOSE = 0.01
"""Two predictions of a regression agree within this share of the target's standard deviation."""


@dataclass(frozen=True)
class Result:
    """One quantized model against its float model.

    floating, int8: accuracy in %, or RMSE. difference: int8 - float in points, or in % of RMSE.
    agreement: % of predictions with the same class, or closer than CLOSE to each other.
    correlation: of the two models' predictions, of the target that has the lowest; regressions
    only. snr_db: variance of the float outputs over the mean squared difference.
    """

    data: str
    model: str
    seed: int
    rounding: str
    calibration: str
    metric: str
    floating: float
    int8: float
    difference: float
    agreement: float
    correlation: float | None
    snr_db: float
    n: int


def run_int8(program: Program, task: Task, split: Split) -> list[FloatArray]:
    """The outputs of the integer program, (T, O) per sequence, each from the initial state."""
    runtime = StepRuntime(program)
    if task.stream:
        results = []
        for x in split.x:
            runtime.reset()
            results.append(runtime.run(x))
        return results
    longest = max(len(x) for x in split.x)
    padded = np.zeros((len(split.x), longest, split.x[0].shape[1]), np.float32)
    for row, x in zip(padded, split.x, strict=True):
        row[: len(x)] = x
    outputs = runtime.run(padded)
    return [y[: len(x)] for y, x in zip(outputs, split.x, strict=True)]


def compare(
    task: Task, split: Split, floats: list[FloatArray], ints: list[FloatArray]
) -> dict[str, Any]:
    """The numbers of a `Result`, from the outputs of both models."""
    if task.stream:
        f, q, y = (np.concatenate(v).astype(float) for v in (floats, ints, split.y))
    else:
        f, q = (np.stack([v[-1] for v in outputs]).astype(float) for outputs in (floats, ints))
        y = np.array(split.y)
    numbers: dict[str, Any] = {
        "snr_db": 10 * float(np.log10(np.var(f, axis=0).sum() / ((f - q) ** 2).mean(0).sum())),
        "n": len(f),
        "correlation": None,
    }
    if task.classes:
        score = [100 * float(np.mean(p.argmax(1) == y)) for p in (f, q)]
        same = f.argmax(1) == q.argmax(1)
        return numbers | {
            "metric": "accuracy %",
            "floating": score[0],
            "int8": score[1],
            "difference": score[1] - score[0],
            "agreement": 100 * float(same.mean()),
        }
    error = [_rmse(task, p, y) for p in (f, q)]
    pairs = zip(f.T, q.T, strict=True)
    return numbers | {
        "metric": "RMSE" if f.shape[1] == 1 else "RMSE / sd",
        "floating": error[0],
        "int8": error[1],
        "difference": 100 * (error[1] / error[0] - 1),
        # The target has unit variance here.
        "agreement": 100 * float(np.mean(np.abs(f - q) <= CLOSE)),
        "correlation": min(float(np.corrcoef(a, b)[0, 1]) for a, b in pairs),
    }


def _rmse(task: Task, p: NDArray[np.float64], y: NDArray[Any]) -> float:
    """In the target's unit; of several targets the mean, each over its standard deviation."""
    per_target = np.sqrt(np.nanmean((p - y) ** 2, axis=0))
    if len(per_target) == 1 and task.unit is not None:
        per_target = per_target * task.unit
    return float(per_target.mean())


def evaluate(
    task: Task,
    model: Recurrent,
    seed: int,
    part: str,
    rounding: Sequence[str],
    calibration: Sequence[Any],
) -> list[Result]:
    """Quantize one trained model in every wanted way and compare each with it."""
    split: Split = getattr(task, part)
    floats = predict(model, split)
    # A few steps: torch.export takes time for every one, and the length is no property of a model.
    example = torch.from_numpy(task.train.x[0][None, :4])
    results = []
    for method in calibration:
        for strategy in rounding:
            program = edgernn.quantize(
                model, (example,), calibration=task.train.x, method=method, rounding=strategy
            )
            assert isinstance(program, Program)
            numbers = compare(task, split, floats, run_int8(program, task, split))
            recipe = str(RECIPES[task.name])
            results.append(Result(task.name, recipe, seed, strategy, method, **numbers))
    return results


def report(results: Sequence[Result]) -> str:
    """A table per strategy: every data set, mean over the seeds and the worst of them."""
    parts = []
    for key in dict.fromkeys((r.calibration, r.rounding) for r in results):
        chosen = [r for r in results if (r.calibration, r.rounding) == key]
        lines = accuracy({"records": [asdict(r) for r in chosen]})
        summary = (
            f"agreement {np.mean([r.agreement for r in chosen]):.2f} % on average, "
            f"{min(r.agreement for r in chosen):.2f} % at worst; "
            f"SNR {np.mean([r.snr_db for r in chosen]):.1f} dB on average"
        )
        parts.append(
            "\n".join([f"calibration {key[0]}, rounding {key[1]}", "", *lines, "", summary])
        )
    return "\n\n\n".join(parts)


def _names(context: click.Context, option: click.Parameter, value: str | None) -> list[str]:
    """Comma-separated names, each one the option knows; none given means all of them."""
    known: Sequence[str] = {
        "only": tuple(RECIPES),
        "rounding": tuple(STRATEGIES),
        "calibration": METHODS,
    }[str(option.name)]
    chosen = list(known) if value is None else value.split(",")
    for name in chosen:
        if name not in known:
            raise click.BadParameter(f"{name!r} is none of {', '.join(known)}")
    return chosen


@click.command()
@click.option(
    "--data",
    "folder",
    required=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder with the data sets, one .npz file each.",
)
@click.option("--only", callback=_names, help="Data sets, comma-separated; default: all.")
@click.option("--seeds", default="0", show_default=True, help="Of the training, comma-separated.")
@click.option(
    "--json",
    "json_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write every result here.",
)
@click.option(
    "--rounding",
    callback=_names,
    default=DEFAULT_ROUNDING,
    show_default=True,
    help=f"Strategies to compare, out of {','.join(STRATEGIES)}.",
)
@click.option(
    "--calibration",
    callback=_names,
    default="minmax",
    show_default=True,
    help=f"Methods to compare, out of {','.join(METHODS)}.",
)
@click.option("--split", type=click.Choice(["val", "test"]), default="test", show_default=True)
@click.option("--save", is_flag=True, help="Keep it as the table of roundings of RESULTS.md.")
def main(
    folder: Path,
    only: list[str],
    seeds: str,
    json_file: Path | None,
    rounding: list[str],
    calibration: list[str],
    split: str,
    save: bool,
) -> None:
    """Compare int8 with float on real data."""
    try:
        numbers = [int(seed) for seed in seeds.split(",")]
    except ValueError:
        raise click.BadParameter(f"{seeds!r} is not a list of integers such as 0,1,2") from None
    results: list[Result] = []
    try:
        for name in only:
            task = load(name, folder)
            for seed in numbers:
                click.echo(f"{name}: training {RECIPES[name]}, seed {seed}", err=True)
                model = train(task, RECIPES[name], seed)
                results += evaluate(task, model, seed, split, rounding, calibration)
    except edgernn.EdgernnError as error:
        raise click.ClickException(str(error)) from None
    click.echo(report(results))
    if json_file is not None:
        json_file.write_text(json.dumps([asdict(r) for r in results], indent=1) + "\n")
    if save:
        records.save(records.result("rounding", [asdict(r) for r in results], seeds=numbers))


if __name__ == "__main__":
    main()
