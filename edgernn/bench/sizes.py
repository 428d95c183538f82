"""Latency against hidden size: models of random weights, every engine, in turns."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from edgernn.bench.engines import BASELINE, KINDS
from edgernn.bench.measure import Result, measure
from edgernn.bench.prepare import Model, prepare
from edgernn.bench.table import as_json, microseconds, ratio, right
from edgernn.bench.timing import Ratio
from edgernn.graph import Carried, Graph, Node, Output
from edgernn.progress import Progress
from edgernn.quantization import quantize_graph
from edgernn.runtime.errors import InputError
from edgernn.runtime.program import Program

CELLS: Final = {"gru": ("gru", 3), "lstm": ("lstm", 4), "rnn": ("rnn_tanh", 1)}
"""Cell -> its kind, and how many rows of weights a hidden unit has."""


@dataclass(frozen=True)
class Curve:
    """results: one for each of the sizes."""

    cell: str
    features: int
    sizes: tuple[int, ...]
    results: tuple[Result, ...]

    def medians(self) -> dict[str, list[float | None]]:
        """Engine -> microseconds at each size, None where it has no figure."""
        found: dict[str, list[float | None]] = {}
        for result in self.results:
            for row in result.rows:
                value = None if row.summary is None else row.summary.median
                found.setdefault(row.name, []).append(value)
        return {name: values for name, values in found.items() if any(values)}

    @property
    def ok(self) -> bool:
        """No engine computed anything else."""
        return all(result.ok for result in self.results)

    @property
    def timed(self) -> bool:
        """Was any engine there to be timed?"""
        return any(result.timed for result in self.results)


def parse_sizes(text: str) -> tuple[int, ...]:
    """Of 16,32,64, ascending. InputError for anything else."""
    try:
        sizes = sorted({int(part) for part in text.split(",")})
    except ValueError:
        sizes = []
    if not sizes or sizes[0] < 1 or sizes[-1] > 2048:
        raise InputError(
            f"--sizes takes hidden sizes of 1 to 2048, such as 16,64,256, not {text!r}"
        )
    return tuple(sizes)


def model_of(cell: str, hidden: int, features: int, seed: int = 0) -> Model:
    """One layer of random weights, uniform as torch.nn has them at first, and noise to read."""
    kind, gates = CELLS[cell]
    rng = np.random.default_rng([seed, hidden])
    bound = 1.0 / np.sqrt(hidden)

    def uniform(*shape: int) -> Any:
        return rng.uniform(-bound, bound, shape).astype(np.float32)

    rows = gates * hidden
    arrays = {"weight_ih": uniform(rows, features), "weight_hh": uniform(rows, hidden)}
    arrays |= {name: uniform(rows) for name in ("bias_ih", "bias_hh")}
    names = ("h", "c") if cell == "lstm" else ("h",)
    carried = tuple(Carried(name, name, np.zeros(hidden, np.float32)) for name in names)
    node = Node(kind, ("x",), names, arrays, carried)
    sizes = {"x": features} | dict.fromkeys(names, hidden)
    graph = Graph(sizes, ("x",), (Output("y", "h", last=False),), (node,))
    data = rng.standard_normal((4, 64, features)).astype(np.float32)
    program = quantize_graph(graph, data, rounding="nearest")
    assert isinstance(program, Program)
    return Model(program, graph, [{"x": sequence} for sequence in data])


def measure_sizes(
    sizes: Sequence[int],
    engines: Sequence[str],
    *,
    cell: str,
    features: int,
    steps: int,
    rounds: int,
    seed: int = 0,
    pythons: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Curve:
    """`measure` of a model for each size; steps, rounds: of each of them."""
    results = []
    for i, hidden in enumerate(sizes):
        with tempfile.TemporaryDirectory(prefix="edgernn-bench-") as folder:
            prepared = prepare(model_of(cell, hidden, features, seed), Path(folder), seed=seed)
            results.append(
                measure(
                    prepared,
                    engines,
                    steps=steps,
                    rounds=rounds,
                    starts=1,
                    seed=seed,
                    pythons=pythons,
                    progress=_part(progress, i, len(sizes)),
                )
            )
    return Curve(cell, features, tuple(sizes), tuple(results))


def _part(progress: Progress | None, index: int, parts: int) -> Callable[[int, int], None] | None:
    """The progress of one of several parts that take alike."""
    if progress is None:
        return None
    return lambda done, total: progress(index * total + done, parts * total)


def text(curve: Curve) -> str:
    """A table of medians, and one of ratios to PyTorch in float, a column for each size."""
    names = list(curve.medians())
    heading = [f"{curve.cell.upper()}, microseconds a step", *(str(s) for s in curve.sizes)]
    found = {(r.name, i): r for i, result in enumerate(curve.results) for r in result.rows}
    every = range(len(curve.sizes))

    def median(name: str, i: int) -> str:
        summary = found[name, i].summary
        return "-" if summary is None else microseconds(summary.median)

    parts = [right(heading, [[KINDS[n].title, *(median(n, i) for i in every)] for n in names])]
    if BASELINE in names:
        # The quartiles are in the JSON.
        cells = [[KINDS[n].title, *(_ratio(found[n, i].ratio) for i in every)] for n in names]
        header = [f"/ {KINDS[BASELINE].title}", *(str(size) for size in curve.sizes)]
        parts += ["", right(header, cells)]
    reasons = {r.title: r.reason for result in curve.results for r in result.rows if r.reason}
    parts += ["", *(f"{title}: {reason}" for title, reason in reasons.items())] if reasons else []
    steps = curve.results[0].settings["steps"]
    parts += ["", f"{curve.features} inputs, random weights, {steps:,} steps each, one thread"]
    return "\n".join(parts)


def _ratio(value: Ratio | None) -> str:
    return ratio(value).split(" ")[0]


def curve_json(curve: Curve, machine: Mapping[str, Any]) -> dict[str, Any]:
    """Everything, for machines."""
    models = [
        {"hidden": size, **{k: v for k, v in as_json(result, {}).items() if k != "machine"}}
        for size, result in zip(curve.sizes, curve.results, strict=True)
    ]
    settings = {"cell": curve.cell, "features": curve.features}
    return {"machine": dict(machine), "settings": settings, "sizes": models}
