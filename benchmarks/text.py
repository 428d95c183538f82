"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from benchmarks.records import Record

Lines = list[str]


def grid(header: Sequence[str], rows: Sequence[Sequence[object]], left: int = 1) -> Lines:
    """The first columns left, the others right."""
    rule = "|" + "---|" * left + "--:|" * (len(header) - left)
    body = [f"| {' | '.join(str(c) for c in row)} |" for row in rows]
    return [f"| {' | '.join(header)} |", rule, *body]


def shown(value: float) -> str:
    """Three digits, or a whole number with its thousands."""
    if value == int(value) and abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) >= 99.95:
        return f"{value:.0f}"
    return f"{value:.2f}" if abs(value) < 9.995 else f"{value:.1f}"


def label(key: Mapping[str, object]) -> str:
    """GRU, 64 / 32, 16 x 100: cell, hidden units / inputs, streams x steps."""
    parts = [str(key["cell"]), f"{key['hidden']} / {key['features']}"]
    if "streams" in key:
        parts.append(f"{key['streams']} x {key['steps']}")
    return ", ".join(parts)


def per_size(
    heading: str,
    records: Sequence[Record],
    values: Callable[[Record], Mapping[str, float]],
) -> Lines:
    """A row for each record, a column for each name that any of them has."""
    found = [(label(r["key"]), values(r)) for r in records]
    names = list(dict.fromkeys(name for _, row in found for name in row))
    rows = [
        [title, *(shown(row[name]) if name in row else "" for name in names)]
        for title, row in found
    ]
    return grid([heading, *names], rows)
