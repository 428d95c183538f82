"""What the terminal shows: tables and progress bars."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click

from edgernn.progress import Progress


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns aligned: text left, numbers right."""
    cells = [[str(c) for c in row] for row in rows]
    widths = [max(len(r[i]) for r in [list(header), *cells]) for i in range(len(header))]
    numeric = [
        bool(rows) and all(isinstance(row[i], int | float) for row in rows)
        for i in range(len(header))
    ]

    def line(row: Sequence[str]) -> str:
        parts = [
            c.rjust(w) if right else c.ljust(w)
            for c, w, right in zip(row, widths, numeric, strict=True)
        ]
        return "  ".join(parts).rstrip()

    return "\n".join([line(header), "  ".join("-" * w for w in widths), *map(line, cells)])


@contextmanager
def progress_bar(label: str) -> Iterator[Progress | None]:
    """A bar on a terminal; in a pipe, nothing."""
    if not sys.stderr.isatty():
        yield None
        return
    bars: list[click._termui_impl.ProgressBar[int]] = []

    def advance(done: int, total: int) -> None:
        if not bars:
            bar: click._termui_impl.ProgressBar[int] = click.progressbar(
                length=total, label=label, file=sys.stderr
            )
            bar.__enter__()
            bars.append(bar)
        bars[0].update(done - bars[0].pos)

    try:
        yield advance
    finally:
        for bar in bars:
            bar.__exit__(None, None, None)
