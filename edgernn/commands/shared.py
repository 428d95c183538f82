"""What several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])
FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)


def checked_by_verification(what: str) -> Callable[[Command], Command]:
    """The options --verify-steps and --seed, of the check that `what` must pass."""

    def add(command: Command) -> Command:
        seed = click.option(
            "--seed",
            type=int,
            default=0,
            show_default=True,
            help="Of the random streams in that check.",
        )
        steps = click.option(
            "--verify-steps",
            type=click.IntRange(1),
            default=1000,
            show_default=True,
            help=f"Steps of the check that the {what} must pass.",
        )
        return steps(seed(command))

    return add


def print_rows(rows: list[dict[str, Any]]) -> None:
    """The table of a verification."""
    from edgernn.console import table

    cells = [
        [r["engine"], r["compared"], r["differing"], r["first"] or r["note"] or "-"] for r in rows
    ]
    click.echo(table(["engine", "values compared", "differing", "first difference"], cells))
