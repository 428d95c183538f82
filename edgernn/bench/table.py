"""The figures of a benchmark as tables, and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np

from edgernn.bench.agreement import TOLERANCE
from edgernn.bench.engines import BASELINE, KINDS
from edgernn.bench.machine import described
from edgernn.bench.measure import Result, Row
from edgernn.bench.timing import Ratio
from edgernn.console import table

QUANTILES: Final = (0.1, 1, 5, 10, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 99.99)


def text(result: Result, machine: Mapping[str, Any]) -> str:
    """Tables of latency, then of memory and start-up; who was not there, and why."""
    there = [row for row in result.rows if row.summary is not None]
    parts = []
    if there:
        unit = "one step" if result.window is None else f"one window of {result.window} steps"
        parts += [_latency(there, unit), "", _memory(there)]
    absent = [row for row in result.rows if row.summary is None]
    if absent:
        parts += ["", *(f"{row.title}: {row.reason}" for row in absent)]
    notes = [(row.title, note) for row in there if row.start for note in row.start.notes]
    parts += ["", *(f"{title}: {note}" for title, note in notes)] if notes else []
    parts += ["", *_legend(result, there, machine)]
    return "\n".join(parts)


def _latency(rows: Sequence[Row], unit: str) -> str:
    header = [f"{unit}, microseconds", "median", "p99", "p99.9", "jitter", "worst"]
    header += [f"/ {KINDS[BASELINE].title}", "/ best"]
    cells = []
    for row in rows:
        s = row.summary
        assert s is not None
        times = [microseconds(v) for v in (s.median, s.p99, s.p999, s.jitter, s.worst)]
        cells.append([row.title, *times, ratio(row.ratio), ratio(row.best)])
    return right(header, cells)


def _memory(rows: Sequence[Row]) -> str:
    header = ["memory and start-up", "model bytes", "RSS, packages", "RSS, model"]
    header += ["import", "load", "first step", "version"]
    cells = []
    for row in rows:
        assert row.start is not None
        memory = [f"{value / 2**20:.1f} MiB" for value in row.start.bytes]
        times = [f"{value * 1e3:.1f} ms" for value in row.start.seconds]
        cells.append([row.title, f"{row.model_bytes:,}", *memory, *times, row.start.version])
    return right(header, cells, left=(0, len(header) - 1))


def _legend(result: Result, there: Sequence[Row], machine: Mapping[str, Any]) -> list[str]:
    lines = []
    if there:
        what = "steps" if result.window is None else "windows"
        lines += [
            f"{result.settings['steps']:,} {what} each, in {result.settings['rounds']} rounds in "
            "turns, one thread",
            "ratios: of the lower quartiles within a round; over the rounds, median and quartiles",
        ]
        timer = float(np.median([v for each in result.timings.timer.values() for v in each]))
        lines.append(f"taken off each: {timer:.0f} ns for reading the clock; jitter: p99 - median")
        taken = sum(row.preemptions for row in there)
        if taken:
            lines.append(
                f"other processes took the processor {taken:,} times: the tails are this machine's "
                "as much as the engines'; ratios are hardly moved by it"
            )
        exact = [row for row in there if KINDS[row.name].exact]
        compared = max((row.agreement.compared for row in exact if row.agreement), default=0)
        if exact:
            lines.append(
                f"checked before: engines of the integer program ({len(exact)}), the same bits in "
                f"{compared:,} values"
            )
        if len(exact) < len(there):
            share = f"{100 * TOLERANCE:g} %"
            lines.append(f"checked before: float engines, within {share} of the float reference")
        for row in there:
            if row.agreement is not None and row.agreement.error > TOLERANCE:
                off = f"{100 * row.agreement.error:.1f} % of the largest value"
                lines.append(f"{row.title} computes something else by design: up to {off} off")
    return [*lines, described(dict(machine))]


def right(header: Sequence[str], cells: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> str:
    """A table whose columns are aligned to the right, but for some."""
    widths = [max(len(r[i]) for r in [header, *cells]) for i in range(len(header))]
    padded = [
        [c if i in left else c.rjust(widths[i]) for i, c in enumerate(row)]
        for row in [header, *cells]
    ]
    return table(padded[0], padded[1:])


def microseconds(value: float) -> str:
    """Three digits or so."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def ratio(value: Ratio | None) -> str:
    """With its quartiles."""
    if value is None:
        return "-"
    digits = 3 if value.value < 0.1 else 2 if value.value < 10 else 1
    low, high = f"{value.low:.{digits}f}", f"{value.high:.{digits}f}"
    return f"{value.value:.{digits}f} ({low}..{high})"


def as_json(result: Result, machine: Mapping[str, Any]) -> dict[str, Any]:
    """Everything, for machines; times in microseconds, start-up in seconds."""
    return {
        "machine": dict(machine),
        "settings": dict(result.settings) | {"window": result.window},
        "engines": [_row(result, row) for row in result.rows],
    }


def _row(result: Result, row: Row) -> dict[str, Any]:
    found: dict[str, Any] = {"name": row.name, "title": row.title}
    if row.start is not None:
        names = ("import", "load", "first_step")
        found |= {
            "version": row.start.version,
            "notes": list(row.start.notes),
            "model_bytes": row.model_bytes,
            "rss_bytes": dict(zip(("packages", "model"), row.start.bytes, strict=True)),
            "startup_seconds": dict(zip(names, row.start.seconds, strict=True)),
        }
    if row.agreement is not None:
        found["agreement"] = asdict(row.agreement)
    if row.summary is None:
        return found | {"reason": row.reason}
    times = result.timings.times(row.name)
    quantiles = zip(QUANTILES, np.percentile(times, QUANTILES), strict=True)
    found["microseconds"] = asdict(row.summary) | {
        "jitter": row.summary.jitter,
        "preemptions": row.preemptions,
        "quantiles": {str(q): round(float(v), 4) for q, v in quantiles},
        "timer": float(np.median(result.timings.timer[row.name])) / 1e3,
    }
    for name, value in (("ratio_to_torch", row.ratio), ("ratio_to_best", row.best)):
        found[name] = None if value is None else asdict(value)
    return found
