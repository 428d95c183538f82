"""What several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from edgernn.recipes.registry import RECIPES, Entry

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


class RecipeGroup(click.Group):
    """A group with a command for each recipe, made when it is asked for.

    make: the name of a recipe and its entry in the registry -> its command.
    """

    def __init__(
        self, *args: Any, make: Callable[[str, Entry], click.Command], **settings: Any
    ) -> None:
        super().__init__(*args, **settings)
        self.make = make

    def list_commands(self, _: click.Context) -> list[str]:
        return list(RECIPES)

    def get_command(self, _: click.Context, name: str) -> click.Command | None:
        return self.make(name, RECIPES[name]) if name in RECIPES else None


def print_rows(rows: list[dict[str, Any]]) -> None:
    """The table of a verification."""
    from edgernn.console import table

    cells = [
        [r["engine"], r["compared"], r["differing"], r["first"] or r["note"] or "-"] for r in rows
    ]
    click.echo(table(["engine", "values compared", "differing", "first difference"], cells))
