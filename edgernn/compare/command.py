"""`edgernn train RECIPE --compare CELLS`: what the command prints."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click
import numpy as np

from edgernn.compare.comparison import Comparison, Entry, compare
from edgernn.compare.trials import config_for
from edgernn.console import table
from edgernn.runtime.errors import InputError
from edgernn.training.base import Config, Recipe
from edgernn.training.command_line import command_line
from edgernn.training.fit import Hardware


def compare_command(
    recipe: Recipe,
    config: Config,
    source: str | None,
    cells: str,
    given: Mapping[str, Any],
    hardware: Hardware,
) -> None:
    """Compare, and print the table. given: the options of the command."""
    for option in ("teacher", "finetune"):
        if given[option]:
            raise InputError(f"--compare trains networks by themselves; leave out --{option}")
    if hardware.devices not in ("1", "auto") or hardware.nodes > 1:
        raise InputError("--compare trains one network after the other; use one device")
    say = (lambda _: None) if given["as_json"] else click.echo
    found = compare(
        recipe,
        config,
        source,
        [cell.strip() for cell in cells.split(",") if cell.strip()],
        given["seeds"],
        given["out"],
        resume=given["resume"],
        hardware=hardware,
        say=say,
    )
    if given["as_json"]:
        click.echo(json.dumps(found.as_json(), indent=1))
        return
    click.echo(f"\n{table(*comparison_rows(found))}")
    for test in found.tests:
        click.echo(test.sentence())
    best = found.entries[0].cell
    again = command_line(recipe, config_for(config, best, config.settings.seed), source, "run/")
    click.echo(
        f"{given['out']}/comparison.svg shows it; best on the validation split: {best}\n"
        f"next: {again}"
    )


def comparison_rows(found: Comparison) -> tuple[list[str], list[list[Any]]]:
    """Header and rows, best first by the validation split, then the baselines."""
    score = found.headline
    header = ["", *(f"{score.replace('_', ' ')}, {split}" for split in found.splits)]
    header += ["parameters", "min", "best epoch", "int8 flash, M4"]
    rows: list[list[Any]] = []
    for entry in found.entries:
        rows.append(
            [
                entry.cell,
                *(_spread(entry, split, score) for split in found.splits),
                f"{entry.trials[0].parameters:,}",
                f"{np.mean([t.seconds for t in entry.trials]) / 60:.2f}",
                f"{np.mean([t.best_epoch for t in entry.trials]):.0f}",
                "-" if entry.flash is None else f"{entry.flash / 1024:.1f} KiB",
            ]
        )
    for name, scores in found.baselines.items():
        if score in scores:
            shown = [f"{scores[score]:.4f}" if split == "test" else "-" for split in found.splits]
            rows.append([name, *shown, "-", "-", "-", "-"])
    return header, rows


def _spread(entry: Entry, split: str, score: str) -> str:
    deviation = entry.deviation(split, score)
    after = "" if deviation is None else f" +- {deviation:.4f}"
    return f"{entry.mean(split, score):.4f}{after}"
