"""`edgernn sweep RECIPE`: one command for each recipe, made from the registry."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import click

from edgernn.commands.budget import LIMITS
from edgernn.commands.shared import FOLDER, RecipeGroup
from edgernn.commands.train import LAYERS, SETTINGS, configured, own_option, setting_option
from edgernn.recipes.registry import Entry, Option

SEARCHED: Final = ("cell", "hidden", "layers", "learning_rate", "dropout")
TAKEN: Final = ("target", *(limit.replace("-", "_") for limit, *_ in LIMITS))
CORE: Final = "cortex-m4"


@click.group(cls=RecipeGroup, make=lambda name, entry: _command(name, entry))
def sweep() -> None:
    """Search the networks that fit a device: accuracy against flash.

    \b
    edgernn sweep classify --demo --target nrf52840-dk --out sweep/
    edgernn sweep tag --data rooms.csv --flash 16KiB --ram 2KiB --step 1ms@64MHz --trials 50
    edgernn export sweep/best --int8 --to c

    What does not fit is not trained. Machines that name the same --storage share one study:

    \b
    edgernn sweep classify --data d.npz --storage postgresql://user@host/studies --study digits
    """


def _command(name: str, entry: Entry) -> click.Command:
    parameters: list[click.Parameter] = [
        click.Option(["--data"], metavar="PATH", help="As of `edgernn train`."),
        click.Option(["--demo"], is_flag=True, help="Data that needs nothing from outside."),
        click.Option(
            ["--out"], type=FOLDER, default=Path("sweep"), show_default=True, help="To write."
        ),
        click.Option(
            ["--target"], default=CORE, show_default=True, help="A board or a core, as of budget."
        ),
        click.Option(
            ["--boards"], multiple=True, type=click.Path(path_type=Path),
            help="A TOML file with devices of your own.",
        ),
        *(
            click.Option([f"--{limit}"], metavar=metavar, help=text)
            for limit, metavar, text in LIMITS
            if limit not in ("accuracy-drop", "instructions")
        ),
        click.Option(["--instructions"], type=click.IntRange(0), help="Of a step, or of a window."),
        click.Option(
            ["--trials"], type=click.IntRange(1), default=30, show_default=True,
            help="Networks to train, those of earlier calls and of other machines counted.",
        ),
        click.Option(
            ["--cells"], metavar="CELLS",
            help="Default: gru,lstm,mgu,fastgrnn; the same in both directions for recipes that "
            "read windows.",
        ),
        click.Option(["--hidden"], metavar="RANGE", help="hidden_size; default 4:128."),
        click.Option(["--layers"], metavar="RANGE", help="Layers; default 1:2."),
        click.Option(["--learning-rate"], metavar="RANGE", help="Default 0.001:0.02."),
        click.Option(["--dropout"], metavar="RANGE", help="Of inputs; default 0."),
        click.Option(
            ["--storage"], metavar="URL",
            help="Where Optuna keeps the study: sqlite:///study.db, or a database server for "
            "several machines; default: a file in --out.",
        ),
        click.Option(["--study"], default="edgernn", show_default=True, help="Its name there."),
        click.Option(["--resume"], is_flag=True, help="Go on with the sweep in --out."),
        *(own_option(_renamed(name, option)) for option in entry.options),
        *(setting_option(*one) for one in (*LAYERS, *SETTINGS) if one[0] not in SEARCHED),
        click.Option(["--stateful/--stateless"], default=None, help="As of `edgernn train`."),
        click.Option(["--json", "as_json"], is_flag=True, help="Print JSON instead of tables."),
    ]  # fmt: skip
    return click.Command(
        name,
        params=parameters,
        callback=lambda **values: _run(name, entry, values),
        help=f"Search networks that fit a device. {entry.help}",
        short_help=entry.help,
    )


def _renamed(recipe: str, option: Option) -> Option:
    """A recipe's option; with its name in front where the budget has one called so."""
    if option.name not in TAKEN:
        return option
    return replace(option, name=f"{recipe}_{option.name}")


def _run(name: str, entry: Entry, given: dict[str, Any]) -> None:
    import json

    from edgernn.budget import budget_for, parse_options
    from edgernn.console import table
    from edgernn.runtime.errors import InputError
    from edgernn.targets import device

    if (given["data"] is None) != given["demo"]:
        raise InputError("name the data with --data, or sweep over the recipe's own with --demo")
    if given["data"] is not None and not Path(given["data"]).exists():
        raise InputError(f"there is no {given['data']}; name an .npz, a .csv or a folder")
    names = [limit.replace("-", "_") for limit, *_ in LIMITS]
    limits = {n: given[n] for n in names if given.get(n) is not None}
    budget = budget_for(device(given["target"], given["boards"]), parse_options(limits, "sweep"))
    for option in entry.options:
        given[option.name] = given[_renamed(name, option).name]
    searched: dict[str, Any] = {key: given.pop(key) for key in ("cells", *SEARCHED) if key in given}
    recipe, config = configured(name, entry, given)

    from edgernn.sweep import sweep as search
    from edgernn.sweep.result import result_rows
    from edgernn.training.fit import Hardware

    result = search(
        recipe,
        config,
        given["data"],
        _space(searched, recipe),
        budget,
        given["trials"],
        given["out"],
        storage=given["storage"],
        name=given["study"],
        resume=given["resume"],
        hardware=Hardware("cpu", "1"),
        say=(lambda _: None) if given["as_json"] else click.echo,
    )
    if given["as_json"]:
        click.echo(json.dumps(result.as_json(), indent=1))
        return
    over = sum(f.over > 0 for f in result.found)
    click.echo(f"\n{table(*result_rows(result))}")
    click.echo(
        f"{len(result.trained)} networks trained, {over} left out as over the budget of "
        f"{result.target}; {given['out']}/sweep.svg shows them"
    )
    click.echo(_next(recipe, config, result, given))


def _space(searched: dict[str, Any], recipe: Any) -> Any:
    from edgernn.sweep.space import CELLS, Space, parse_range
    from edgernn.training.cells import parse

    chosen: dict[str, Any] = {}
    if parse(recipe.layers.cell).both:
        # The recipe reads windows, and may take nothing else.
        chosen["cells"] = tuple(f"bi{cell}" for cell in CELLS)
    for key, text in searched.items():
        if text is None:
            continue
        if key == "cells":
            chosen[key] = tuple(c.strip() for c in text.split(",") if c.strip())
        else:
            whole = key in ("hidden", "layers")
            chosen[key] = parse_range(text, key.replace("_", "-"), whole)
    return Space(**chosen)


def _next(recipe: Any, config: Any, result: Any, given: dict[str, Any]) -> str:
    """What to type for the best network: it lies here, or another machine trained it."""
    import json
    import shlex

    from edgernn.sweep.search import BEST
    from edgernn.sweep.space import with_values
    from edgernn.training.command_line import command_line

    best = given["out"] / BEST
    note = best / "metrics.json"
    if note.is_file() and json.loads(note.read_text()).get("trial") == result.best.number:
        export = shlex.join(["edgernn", "export", str(best), "--int8"])
        return f"the best, {result.best.name}, is in {best}\nnext: {export}"
    line = command_line(recipe, with_values(config, result.best.values), given["data"], "run/")
    return f"the best, {result.best.name}, was trained elsewhere; again here: {line}"
