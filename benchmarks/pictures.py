"""The pictures of the README, drawn from the raw results."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from benchmarks.board_text import CELLS, macs, peers
from benchmarks.records import Record, Result, find, load
from benchmarks.subjects import MIDDLE, NATIVE, NUMPY, SIZES
from edgernn.footprint import load_targets
from edgernn.pictures import LIGHT, bare, figure, save
from firmware_tests.table import kept

CORES: Final = ("cortex-m3", "cortex-m4", "cortex-m55")
"""Those that the peers have figures of."""
LABEL: Final = 1.35
"""Labels nearer to each other than this ratio would overlap."""


def draw(folder: Path, target: Path) -> list[Path]:
    """Write every picture whose results are there; returns their paths.

    A picture is a function (result, path) -> whether the result had what it shows.
    """
    target.mkdir(parents=True, exist_ok=True)
    written = []
    for name, (question, make) in PICTURES.items():
        found = load(question, folder)
        if found is None and question != "instructions":
            continue
        path = target / f"{name}.svg"
        if make(found, path):
            written.append(path)
    return written


def colour(engine: str) -> str:
    """Ours stand out; every engine has one colour in all pictures."""
    order = (NATIVE, NUMPY, "LiteRT", "ONNX Runtime float", "PyTorch float")
    more = ("ONNX Runtime int8", "PyTorch dynamic int8")
    listed = (*order, *more)
    return LIGHT.series[listed.index(engine)] if engine in listed else LIGHT.muted


def latency(found: Result, path: Path) -> bool:
    """Microseconds of a step of a GRU against hidden units, a line an engine."""
    records = [find(found, cell="GRU", hidden=hidden) for hidden, _ in SIZES]
    chosen: list[Record] = [r for r in records if r is not None]
    if not chosen:
        return False
    hidden = [r["key"]["hidden"] for r in chosen]
    with figure(7.0, 4.2) as (picture, axes):
        ends = {}
        for engine in chosen[-1]["values"]:
            times = [r["values"][engine][0] for r in chosen]
            ours = engine in (NATIVE, NUMPY)
            axes.plot(
                hidden, times, marker="o", color=colour(engine), ms=4.5, lw=2.6 if ours else 1.4
            )
            ends[engine] = times[-1]
        axes.set(xscale="log", yscale="log", xlabel="hidden units", ylabel="µs")
        axes.set_title("One step of a GRU, batch 1, one thread")
        axes.set_xticks(hidden, [str(h) for h in hidden])
        axes.minorticks_off()
        _plain(axes.yaxis)
        for engine, height in _apart(ends).items():
            bold = "bold" if engine in (NATIVE, NUMPY) else "normal"
            label = f"edgernn, {engine}" if engine in (NATIVE, NUMPY) else engine
            axes.annotate(
                label, (hidden[-1], height), (8, 0), textcoords="offset points", va="center",
                color=colour(engine), fontsize=9, weight=bold, annotation_clip=False,
            )  # fmt: skip
        bare(axes)
        save(picture, path)
    return True


def _apart(ends: dict[str, float]) -> dict[str, float]:
    """Heights of labels, moved up until none lies on another."""
    placed: dict[str, float] = {}
    least = 0.0
    for engine, height in sorted(ends.items(), key=lambda item: item[1]):
        placed[engine] = max(height, least)
        least = LABEL * placed[engine]
    return placed


def _plain(axis: Any) -> None:
    """1, 10 and 100 instead of powers."""
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def slowest(found: Result, path: Path) -> bool:
    """Median and 99th percentile of a step, a row an engine."""
    record = find(found, cell="GRU", hidden=MIDDLE[0])
    if record is None:
        return False
    names = sorted(record["values"], key=lambda n: -record["values"][n][0])
    with figure(7.0, 3.2) as (picture, axes):
        for row, name in enumerate(names):
            median, late = record["values"][name][0], record["p99"][name]
            axes.plot([median, late], [row, row], color=colour(name), lw=3, alpha=0.45)
            axes.plot(median, row, "o", color=colour(name), ms=7)
            axes.plot(late, row, "|", color=colour(name), ms=13, mew=2.4)
        axes.set(xscale="log", xlabel="µs: median (dot) and 99th percentile (bar)")
        axes.set_title("How late a step can be: GRU, 64 hidden units")
        axes.set_yticks(range(len(names)), [_ours(name) for name in names])
        axes.tick_params(axis="y", length=0, labelcolor=LIGHT.ink)
        axes.set_ylim(-0.6, len(names) - 0.4)
        _plain(axes.xaxis)
        bare(axes, "x")
        save(picture, path)
    return True


def memory(found: Result, path: Path) -> bool:
    """Most memory of a process that loads a model and makes a step, a bar an engine."""
    record = find(found, what="memory")
    if record is None:
        return False
    names = sorted(record["values"], key=lambda n: -record["values"][n][0])
    values = [record["values"][name][0] for name in names]
    with figure(7.0, 3.0) as (picture, axes):
        axes.barh(range(len(names)), values, color=[colour(n) for n in names], height=0.62)
        for row, value in enumerate(values):
            axes.annotate(
                f"{value:.0f}", (value, row), (4, 0), textcoords="offset points", va="center"
            )
        axes.set_yticks(range(len(names)), [_ours(name) for name in names])
        axes.tick_params(axis="y", length=0, labelcolor=LIGHT.ink)
        axes.set(xlabel="MiB, Python included")
        axes.set_title("Memory of a process that runs a GRU, 64 hidden units")
        bare(axes, "x")
        save(picture, path)
    return True


def _ours(name: str) -> str:
    return f"edgernn, {name}" if name in (NATIVE, NUMPY) else name


def accuracy(found: Result, path: Path) -> bool:
    """What int8 changes on each real set, a dot a trained network."""
    records = found["records"]
    names = list(dict.fromkeys(r["data"] for r in records))[::-1]
    with figure(7.0, 3.2) as (picture, axes):
        axes.axvline(0, color=LIGHT.muted, lw=1)
        for row, name in enumerate(names):
            chosen = [r for r in records if r["data"] == name]
            # Less error is better, more accuracy is better: to the right is better.
            sign = 1 if chosen[0]["metric"] == "accuracy %" else -1
            values = [sign * r["difference"] for r in chosen]
            # No minus before nothing.
            worst = round(min(values), 2) + 0.0
            spread = [row + 0.13 * (i - (len(values) - 1) / 2) for i in range(len(values))]
            axes.plot(values, spread, "o", color=LIGHT.series[0], ms=6, alpha=0.75)
            unit = "points" if sign > 0 else "% of its error"
            axes.annotate(
                f"worst {worst:+.2f} {unit}", (1.01, row), xycoords=("axes fraction", "data"),
                va="center", color=LIGHT.muted, fontsize=9, annotation_clip=False,
            )  # fmt: skip
        axes.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
        axes.tick_params(axis="y", length=0, labelcolor=LIGHT.ink)
        limit = max(0.5, 1.1 * max(abs(r["difference"]) for r in records))
        axes.set(xlim=(-limit, limit), ylim=(-0.6, len(names) - 0.4))
        axes.set(xlabel="better than float to the right, worse to the left")
        axes.set_title("What int8 changes in the metric, a dot for each trained network")
        bare(axes, "x")
        save(picture, path)
    return True


def instructions(_: Result | None, path: Path) -> bool:
    """Instructions per MAC on each core, ours beside the peers'."""
    table, work, cores = kept(), macs(), load_targets()
    rows: list[tuple[float, str, dict[str, float]]] = []
    height = 0.0
    for cell, model in CELLS.items():
        own = {target: costs[model]["instructions"] for target, costs in table.items()}
        listed = {f"edgernn, int16, {cell.upper()}": own}
        listed |= {f"{name}, {cell.upper()}": counts for name, counts in peers()[cell].items()}
        for label, counts in listed.items():
            rows.append((height, label, {t: n / work[model] for t, n in counts.items()}))
            height -= 1
        height -= 0.6
    with figure(8.0, 3.8, 1, len(CORES), sharex=True, sharey=True) as (picture, panels):
        for axes, target in zip(panels, CORES, strict=True):
            for row, label, values in rows:
                value, ours = values.get(target), label.startswith("edgernn")
                if value is not None:
                    shade = LIGHT.series[0] if ours else LIGHT.muted
                    axes.barh(row, value, color=shade, alpha=1.0 if ours else 0.6, height=0.7)
                axes.annotate(
                    "not counted" if value is None else f"{value:.2f}", (value or 0, row), (3, 0),
                    textcoords="offset points", va="center", fontsize=8.5,
                    weight="bold" if ours else "normal",
                    color=LIGHT.muted if value is None else LIGHT.ink,
                )  # fmt: skip
            axes.set_yticks([row for row, _, _ in rows], [label for _, label, _ in rows])
            axes.tick_params(axis="y", length=0, labelcolor=LIGHT.ink, labelsize=9)
            axes.set_title(cores[target].core)
            bare(axes, "x")
        most = max(value for _, _, values in rows for value in values.values())
        panels[0].set(xlim=(0, 1.22 * most), ylim=(height + 1.1, 0.7))
        picture.supxlabel(
            "instructions per multiplication, 64 hidden units, 32 inputs", fontsize=10
        )
        save(picture, path)
    return True


PICTURES: Final[dict[str, tuple[str, Callable[[Any, Path], bool]]]] = {
    "latency": ("step", latency),
    "p99": ("step", slowest),
    "memory": ("startup", memory),
    "accuracy": ("accuracy", accuracy),
    "instructions": ("instructions", instructions),
}
