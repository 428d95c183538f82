"""What several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)


def print_rows(rows: list[dict[str, Any]]) -> None:
    """The table of a verification."""
    from edgernn.console import table

    cells = [
        [r["engine"], r["compared"], r["differing"], r["first"] or r["note"] or "-"] for r in rows
    ]
    click.echo(table(["engine", "values compared", "differing", "first difference"], cells))
