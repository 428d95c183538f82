"""Every recipe on real data, as `edgernn train` and `edgernn export` run it: float, int8, bits.

    python -m benchmarks.recipes --data FOLDER [--only TEXT ...] [--seeds 0,1,2] [--save]

The tasks are in `recipes.toml`. Tasks that train the same network share it. With --save the runs go
into `results/recipes.json` one by one; those that are there already are not trained again.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from benchmarks import records
from edgernn.console import table
from edgernn.toml_file import read_toml

TASKS: Final = Path(__file__).parent / "recipes.toml"
FORMATS: Final = "tflite,onnx,c"
CORE: Final = "Cortex-M4"
STEPS: Final = 1000


@dataclass(frozen=True)
class Task:
    """One line of the table; see recipes.toml."""

    name: str
    recipe: str
    data: str
    score: str
    split: str = "test"
    goal: float | None = None
    of: str = ""
    arguments: tuple[str, ...] = ()
    export: tuple[str, ...] = ()

    @property
    def run(self) -> str:
        """What is trained: the same for tasks that only read another score of it."""
        return " ".join([self.recipe, self.data, *self.arguments, *self.export])


def load_tasks(path: Path = TASKS) -> list[Task]:
    """The tasks of a file."""
    found = []
    for entry in read_toml(path, "tasks")["task"]:
        for key in ("arguments", "export"):
            if key in entry:
                entry[key] = tuple(str(a) for a in entry[key])
        found.append(Task(**entry))
    return found


def measure(task: Task, seed: int, folder: Path) -> dict[str, Any]:
    """Train and export with the command line, each in a process of its own; the record of a run."""
    with tempfile.TemporaryDirectory() as made:
        run, build = f"{made}/run", f"{made}/build"
        # A task may read several files; each name that is in the folder stands for its path.
        given = [str(folder / a) if (folder / a).is_file() else a for a in task.arguments]
        began = time.perf_counter()
        _edgernn("train", task.recipe, "--data", str(folder / task.data), "--out", run,
                 "--seed", str(seed), *given)  # fmt: skip
        seconds = time.perf_counter() - began
        _edgernn("export", run, "--int8", "--out", build, "--to", FORMATS,
                 "--verify-steps", str(STEPS), *task.export)  # fmt: skip
        metrics = json.loads(Path(run, "metrics.json").read_text())
        report = json.loads(Path(build, "report.json").read_text())
        scores = json.loads(Path(build, "recipe.json").read_text())["scores"]
    rows = [r for r in report["verification"]["rows"] if r["note"] != "reference"]
    costs = next(t for t in report["c"]["targets"].values() if t["core"] == CORE)
    return {
        "run": task.run,
        "seed": seed,
        "scores": scores,
        "baselines": metrics["baselines"],
        "teacher": metrics.get("teacher"),
        "finetuned": metrics.get("finetuned"),
        "parameters": metrics["parameters"],
        "best_epoch": metrics["best_epoch"],
        "seconds": round(seconds, 1),
        "flash": costs["flash_bytes"],
        "instructions": costs["instructions_per_step"],
        "engines": len(rows),
        "compared": sum(r["compared"] for r in rows),
        "differing": sum(r["differing"] for r in rows),
    }


def _edgernn(*arguments: str) -> None:
    command = [str(Path(sys.executable).parent / "edgernn"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise click.ClickException(
            f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )


def line_of(task: Task, runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A task's figures over the seeds: float, int8 and what int8 changed."""
    floats, ints = (
        [float(r["scores"][task.split][kind][task.score]) for r in runs]
        for kind in ("float", "int8")
    )
    return {
        "task": task,
        "float": floats,
        "int8": ints,
        "runs": list(runs),
        "baselines": {
            name: float(scores[task.score])
            for name, scores in runs[0]["baselines"].items()
            if task.split == "test" and task.score in scores
        },
    }


def lower_is_better(score: str) -> bool:
    """Whether a score is an error."""
    return any(word in score for word in ("mse", "error", "bits", "nll"))


@click.command()
@click.option(
    "--data", "folder", required=True, type=click.Path(path_type=Path, exists=True, file_okay=False)
)
@click.option("--only", multiple=True, help="Tasks whose name has this; repeat it for more.")
@click.option("--seeds", default="0,1,2", show_default=True)
@click.option("--save", is_flag=True, help="Keep the runs for RESULTS.md.")
def main(folder: Path, only: tuple[str, ...], seeds: str, save: bool) -> None:
    """Train, export and score; exit code 1 if one bit differs."""
    tasks = [t for t in load_tasks() if not only or any(o in t.name for o in only)]
    kept = (records.load("recipes") or {"records": []})["records"] if save else []
    runs: dict[tuple[str, int], dict[str, Any]] = {(r["run"], r["seed"]): r for r in kept}
    wanted = [int(s) for s in seeds.split(",")]
    for task in tasks:
        for seed in wanted:
            if (task.run, seed) in runs:
                continue
            click.echo(f"{task.name}, seed {seed} ...", err=True)
            runs[task.run, seed] = measure(task, seed, folder)
            if save:
                # Another process may have saved others in the meantime.
                there = (records.load("recipes") or {"records": []})["records"]
                runs = {(r["run"], r["seed"]): r for r in there} | runs
                records.save(records.result("recipes", list(runs.values())))
    lines = [line_of(t, [runs[t.run, s] for s in wanted]) for t in tasks]
    rows = [
        [
            line["task"].name,
            *(f"{sum(line[k]) / len(line[k]):.4f}" for k in ("float", "int8")),
            line["task"].goal if line["task"].goal is not None else "",
            ", ".join(f"{n} {v:.4f}" for n, v in line["baselines"].items()),
        ]
        for line in lines
    ]
    click.echo(table(["task", "float", "int8", "goal", "baselines"], rows))
    differing = sum(r["differing"] for line in lines for r in line["runs"])
    if differing:
        raise click.ClickException(f"{differing} values differ between engines")


if __name__ == "__main__":
    main()
