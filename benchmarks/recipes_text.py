"""The recipes on real data, and how far back cells remember, in RESULTS.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.recipes import Task, line_of, load_tasks, lower_is_better
from benchmarks.records import Record, Result
from benchmarks.text import Lines, grid

POINTS = 0.2
PERCENT = 1.0


def recipes(part: Result | None) -> Lines:
    """A row a task: float and int8, mean and deviation over the seeds, and what was to be
    reached."""
    assert part is not None
    runs = part["records"]
    rows, missed, apart = [], 0, 0
    for task in load_tasks():
        own = [r for r in runs if r["run"] == task.run]
        if not own:
            continue
        line = line_of(task, own)
        reached, far = _reached(task, line["float"]), _far(task, line["float"], line["int8"])
        missed += task.goal is not None and not reached
        apart += far
        goal = "" if task.goal is None else f"{task.goal:g}, {task.of}"
        baseline = _best(task, line["baselines"])
        difference = _difference(task, line["float"], line["int8"])
        rows.append(
            [
                task.name,
                task.recipe,
                _spread(line["float"]) if reached or task.goal is None
                else f"**{_spread(line['float'])}**",
                _spread(line["int8"]),
                f"**{difference}**" if far else difference,
                goal,
                baseline,
                f"{own[0]['parameters']:,}",
                f"{own[0]['flash'] / 1024:.1f}",
                f"{np.mean([r['seconds'] for r in own]):.0f}",
            ]
        )  # fmt: skip
    seeds = sorted({r["seed"] for r in runs})
    compared, differing = (sum(r[k] for r in runs) for k in ("compared", "differing"))
    header = ["data", "recipe", "float", "int8", "difference", "to reach", "best baseline here"]
    header += ["parameters", "flash, KiB", "s"]
    return [
        f"Mean and standard deviation over {len(seeds)} seeds on the test split; the epoch was "
        "chosen on the validation split. Bold: worse than what was to be reached, or int8 further",
        f"than {POINTS} points ({PERCENT:.0f} % of an error) from float. {missed} of {len(rows)} "
        f"miss, {apart} are further apart.",
        f"**Bits: {differing:,} of {compared:,} values differ** between the engines "
        "(operators one by one, LiteRT, ONNX Runtime, C), each run exported and verified.",
        "Flash: of the C step on a Cortex-M4. s: of training, beside other work on two cores.",
        "",
        *grid(header, rows, left=2),
        *_teachers(runs),
    ]


def memory(part: Result | None) -> Lines:
    """Scores by length, and what the cells cost."""
    assert part is not None
    records = part["records"]
    lengths = sorted({r["steps"] for r in records})
    lines: Lines = []
    said = {"recall": "accuracy (chance 0.125)", "adding": "mean square error (0.167 for always 1)"}
    for name, score in said.items():
        rows = []
        for cell in dict.fromkeys(r["cell"] for r in records):
            chosen = [r for r in records if r["task"] == name and r["cell"] == cell]
            cells = [_spread([r["score"] for r in chosen if r["steps"] == n]) for n in lengths]
            rows.append([cell, *cells])
        lines += [f"{name}: {score}", "", *grid(["", *(f"{n} steps" for n in lengths)], rows), ""]
    rows = [
        [
            cell,
            f"{c['parameters']:,}",
            f"{c['flash'] / 1024:.1f} KiB",
            f"{c['ram']:,} B",
            f"{c['instructions']:,}",
            f"{c['gradient_after_20']:.1e}",
            f"{c['gradient_after_80']:.1e}",
        ]
        for cell, c in part["costs"].items()
    ]
    header = ["32 units, 9 inputs", "parameters", "flash", "RAM", "instructions, M4"]
    return [*lines, *grid([*header, "gradient, lag 20", "lag 80"], rows)]


def _spread(values: Sequence[float]) -> str:
    if not len(values):
        return ""
    digits = 3 if abs(float(np.mean(values))) < 10 else 2
    return f"{np.mean(values):.{digits}f} ± {np.std(values):.{digits}f}"


def _reached(task: Task, values: Sequence[float]) -> bool:
    if task.goal is None:
        return True
    mean = float(np.mean(values))
    return mean <= task.goal if lower_is_better(task.score) else mean >= task.goal


def _change(task: Task, floats: Sequence[float], ints: Sequence[float]) -> float:
    """Points, or percent of an error."""
    change = float(np.mean(ints) - np.mean(floats))
    return 100 * change / float(np.mean(floats)) if lower_is_better(task.score) else 100 * change


def _difference(task: Task, floats: Sequence[float], ints: Sequence[float]) -> str:
    unit = "%" if lower_is_better(task.score) else "points"
    return f"{_change(task, floats, ints):+.2f} {unit}"


def _far(task: Task, floats: Sequence[float], ints: Sequence[float]) -> bool:
    limit = PERCENT if lower_is_better(task.score) else POINTS
    return abs(round(_change(task, floats, ints), 2)) > limit


def _best(task: Task, baselines: dict[str, float]) -> str:
    if not baselines:
        return ""
    choose = min if lower_is_better(task.score) else max
    name = choose(baselines, key=lambda n: baselines[n])
    return f"{baselines[name]:.3f}, {name}"


def _teachers(runs: Sequence[Record]) -> Lines:
    """How far students are from their teachers."""
    taught = [r for r in runs if r.get("teacher")]
    if not taught:
        return []
    rows: list[list[Any]] = []
    by_run: dict[str, list[Record]] = {}
    for r in taught:
        by_run.setdefault(r["run"], []).append(r)
    for own in by_run.values():
        for split in own[0]["scores"]:
            score = next(iter(own[0]["teacher"]["scores"][split]))
            teacher = [r["teacher"]["scores"][split][score] for r in own]
            student = [r["scores"][split]["float"][score] for r in own]
            rows.append([own[0]["run"].split(" --")[0], own[0]["teacher"]["cell"], split,
                         score.replace("_", " "), _spread(teacher), _spread(student)])  # fmt: skip
    header = ["run", "teacher", "split", "score", "teacher reaches", "student reaches"]
    return ["", "Teachers read the future; their students stream.", "", *grid(header, rows, left=4)]
