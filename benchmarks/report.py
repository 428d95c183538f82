"""RESULTS.md, made of the raw results in `benchmarks/results` and the notes in `benchmarks/notes`.

Figures come from the results alone, so that text and figures cannot disagree; the notes say how to
read them, and what was looked into by hand, with its date.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from benchmarks.accuracy_text import accuracy, family, rounding
from benchmarks.board_text import instructions
from benchmarks.recipes_text import memory, recipes
from benchmarks.records import KEPT, QUESTIONS, RESULTS, Record, Result, find, load
from benchmarks.text import Lines, grid, per_size, shown
from edgernn.runtime.errors import FileFormatError

NOTES: Final = Path(__file__).parent / "notes"
HEADINGS: Final = {
    "step": "Latency of one step",
    "native": "The native engine",
    "throughput": "Many steps in one call",
    "instructions": "Microcontrollers: instructions of one step",
    "accuracy": "Accuracy: int8 against float",
    "rounding": "Rounding",
    "family": "The whole family on real data",
    "recipes": "The recipes on real data",
    "memory": "How far back a cell remembers",
    "export": "Export: time and memory",
    "startup": "Start-up and memory",
}
WITHIN: Final = ("rounding", "family")
"""Parts of the section before them."""


def markdown(folder: Path = RESULTS) -> str:
    """RESULTS.md. FileFormatError for results that are none."""
    found = {question: load(question, folder) for question in (*QUESTIONS, *KEPT)}
    if not any(found.values()):
        raise FileFormatError(f"{folder} has no results; run `make bench`")
    lines = [*front_matter(found), "# Results", "", INTRODUCTION]
    for question, heading in HEADINGS.items():
        part = found[question]
        if part is None and question != "instructions":
            continue
        lines += ["", f"{'###' if question in WITHIN else '##'} {heading}", ""]
        if part is not None:
            lines += [_origin(part), ""]
        lines += SECTIONS[question](part)
        lines += _note(question)
        if question == "family":
            lines += ["", "### Data", "", *_note("data")[1:]]
    return "\n".join(lines) + "\n"


INTRODUCTION: Final = """\
Written by `make bench`; do not edit. One thread, engines in turns within every round; a figure is
the median over the rounds, a ratio the median of the ratios within the rounds. Microseconds depend
on the machine: compare the ratios. A / B is hidden units / inputs."""


def front_matter(found: dict[str, Result | None]) -> Lines:
    """YAML: machine, versions and date of the latest measurement."""
    latest = max(
        (r for r in found.values() if r), key=lambda r: (r["date"], r["question"] == "step")
    )
    head = {
        "machine": f"{latest['system']} {latest['architecture']}",
        "processor": latest["processor"],
        "cores": latest["cores"],
        **latest["versions"],
        "date": latest["date"],
    }
    # JSON's strings are YAML's too, whatever a processor is called.
    return ["---", *(f"{name}: {json.dumps(value)}" for name, value in head.items()), "---", ""]


def _origin(part: Result) -> str:
    """When and where a part was measured."""
    versions = part["versions"]
    listed = ", ".join(f"{name} {versions[name]}" for name in versions if name != "gcc")
    return f"Measured {part['date']} on {part['processor']}, {part['cores']} cores; {listed}."


def _note(name: str) -> Lines:
    path = NOTES / f"{name}.md"
    return ["", path.read_text(encoding="utf-8").rstrip()] if path.is_file() else []


def step(part: Result | None) -> Lines:
    """Ratios of both engines, then microseconds, then the slowest of a hundred."""
    records = _records(part)
    return [
        *per_size("NumPy to", records, _ratios("NumPy")),
        "",
        *per_size("Native to", records, _ratios("native")),
        "",
        *per_size("Microseconds", records, _values),
        "",
        *per_size("99th percentile, microseconds", records, lambda r: dict(r["p99"])),
    ]


def native(part: Result | None) -> Lines:
    """Ratios of the three forms of a step, then microseconds."""
    records = _records(part)
    lines: Lines = []
    for name in ("step_int", "step_int, out=", "C alone"):
        lines += [*per_size(f"{name} to", records, _ratios(name)), ""]
    return [*lines, *per_size("Microseconds", records, _values)]


def throughput(part: Result | None) -> Lines:
    """Ratios, then microseconds of a step of one stream."""
    records = _records(part)
    return [
        *per_size("NumPy to", records, _ratios("NumPy")),
        "",
        *per_size("Native to", records, _ratios("native")),
        "",
        *per_size("Microseconds a step of one stream", records, _values),
    ]


def export(part: Result | None) -> Lines:
    """Seconds, memory and the sizes of the files."""
    records = _records(part)
    lines: Lines = []
    for what, heading in (
        ("seconds", "Seconds"),
        ("peak", "Peak memory, MiB, after"),
        ("files", "Bytes"),
    ):
        chosen = [r for r in records if r["key"]["what"] == what]
        lines += [*per_size(heading, chosen, _values), ""]
    return lines[:-1]


def startup(part: Result | None) -> Lines:
    """Engines by rows: the phases, and memory."""
    records = _records(part)
    whole = find(part, what="whole process")
    assert whole is not None
    rows = []
    for engine in whole["values"]:
        cells = [engine]
        for ours in ("NumPy", "native"):
            against = whole["ratios"].get(f"{ours} / {engine}")
            cells.append("" if against is None else shown(against[0]))
        rows.append([*cells, *(shown(r["values"][engine][0]) for r in records)])
    names = [f"{r['key']['what']}, {r['unit']}" for r in records]
    return grid(["engine", "NumPy to it", "native to it", *names], rows)


def _records(part: Result | None) -> list[Record]:
    assert part is not None
    return list(part["records"])


def _ratios(ours: str) -> Callable[[Record], dict[str, float]]:
    def chosen(record: Record) -> dict[str, float]:
        return dict(_of(record["ratios"], ours))

    return chosen


def _of(ratios: dict[str, Any], ours: str) -> Iterator[tuple[str, float]]:
    for name, values in ratios.items():
        ahead, behind = name.split(" / ")
        if ahead == ours:
            yield behind, values[0]


def _values(record: Record) -> dict[str, float]:
    return {name: values[0] for name, values in record["values"].items()}


SECTIONS: Final[dict[str, Callable[[Result | None], Lines]]] = {
    "step": step,
    "native": native,
    "throughput": throughput,
    "instructions": instructions,
    "accuracy": accuracy,
    "rounding": rounding,
    "family": family,
    "recipes": recipes,
    "memory": memory,
    "export": export,
    "startup": startup,
}
