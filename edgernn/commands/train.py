"""`edgernn train RECIPE`: one command for each recipe, made from the registry."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from edgernn.commands.shared import FOLDER, RecipeGroup
from edgernn.recipes.registry import Entry, Option

SETTINGS: Final = (
    ("epochs", click.IntRange(1), "Epochs of training."),
    ("batch_size", click.IntRange(1), "Sequences, or windows, in a batch."),
    ("learning_rate", click.FloatRange(0, min_open=True), "Highest learning rate, of AdamW."),
    ("weight_decay", click.FloatRange(0), "Weight decay of AdamW."),
    ("clip", click.FloatRange(0), "Largest norm of the gradient; 0 for any."),
    ("warmup", click.IntRange(0), "Epochs of linear warm-up."),
    ("schedule", click.Choice(["cosine", "plateau", "constant"]), "After the warm-up."),
    ("patience", click.IntRange(0), "Stop after so many epochs without a better validation score."),
    ("window", click.IntRange(0), "Steps of truncated back-propagation; 0 for whole sequences."),
    ("seed", click.IntRange(0), "Of everything random; the same seed gives the same network."),
)
LAYERS: Final = (
    ("cell", click.STRING, "gru, lstm, rnn, fastgrnn, bigru:gate, conv+gru, twingru, ..."),
    ("hidden", click.IntRange(1), "hidden_size of each layer."),
    ("layers", click.IntRange(1), "Layers, one on the other."),
    ("pool", click.Choice(["last", "mean", "max", "attention"]), "How many steps become one."),
    ("dropout", click.FloatRange(0, 1, max_open=True), "Of inputs; one mask for all steps."),
    ("recurrent_dropout", click.FloatRange(0, 1, max_open=True), "Of the state, likewise."),
    ("embedding", click.IntRange(1), "Size of a token's vector."),
)


@click.group(cls=RecipeGroup, make=lambda name, entry: _command(name, entry))
def train() -> None:
    """Train a network for a task and write run/, ready for `edgernn export run/ --int8`.

    \b
    edgernn train classify --demo --out run/
    edgernn train tag --data sensors.csv --label occupied --out run/
    edgernn export run/ --int8
    """


def _command(name: str, entry: Entry) -> click.Command:
    parameters: list[click.Parameter] = [
        click.Option(
            ["--data"], metavar="PATH", help="A file or a folder; see docs/data.md, docs/text.md."
        ),
        click.Option(["--demo"], is_flag=True, help="Data that needs nothing from outside."),
        click.Option(
            ["--out"], type=FOLDER, default=Path("run"), show_default=True, help="Folder to write."
        ),
        *(own_option(option) for option in entry.options),
        *(setting_option(*one) for one in (*LAYERS, *SETTINGS)),
        click.Option(
            ["--stateful/--stateless"],
            default=None,
            help="Whether windows follow one another and the state goes on.",
        ),
        click.Option(
            ["--teacher"],
            default="",
            metavar="CELL",
            help="Train this first, such as bigru, and have the network come close to it.",
        ),
        click.Option(
            ["--side"],
            type=click.FloatRange(0),
            help="Weight of the teacher's, or a twin's, loss.",
        ),
        click.Option(
            ["--finetune"],
            type=click.IntRange(0),
            default=0,
            metavar="EPOCHS",
            help="Quantization-aware epochs afterwards; `edgernn export` then gives their bits.",
        ),
        click.Option(
            ["--compare"],
            metavar="CELLS",
            help="Train each of these cells with --seeds seeds instead, and compare them.",
        ),
        click.Option(
            ["--seeds"], type=click.IntRange(1), default=5, show_default=True,
            help="Of --compare.",
        ),
        click.Option(["--resume"], is_flag=True, help="Go on with an interrupted run in --out."),
        click.Option(["--accelerator"], default="cpu", show_default=True, help="cpu, gpu, auto."),
        click.Option(["--devices"], default="1", show_default=True, help="How many."),
        click.Option(["--nodes"], type=click.IntRange(1), default=1, help="Machines, each of which "
                     "runs this command with Lightning's environment variables."),
        click.Option(["--strategy"], default="auto", help="Of several devices: ddp, ..."),
        click.Option(["--json", "as_json"], is_flag=True, help="Print the metrics as JSON."),
    ]  # fmt: skip
    return click.Command(
        name,
        params=parameters,
        callback=lambda **values: _run(name, entry, values),
        help=entry.help,
        short_help=entry.help,
    )


def own_option(option: Option) -> click.Option:
    """A recipe's own option, for the command line."""
    flag = f"--{option.name.replace('_', '-')}"
    if isinstance(option.default, bool):
        return click.Option([flag], is_flag=True, default=option.default, help=option.help)
    kind: Any = option.kind if option.default is None else type(option.default)
    if option.choices:
        kind = click.Choice(option.choices)
    elif option.least is not None or option.most is not None:
        bounds: Any = click.IntRange if kind is int else click.FloatRange
        kind = bounds(option.least, option.most)
    return click.Option(
        [flag],
        type=kind,
        default=option.default,
        show_default=option.default is not None,
        help=option.help,
    )


def setting_option(name: str, kind: Any, text: str) -> click.Option:
    """One of SETTINGS or LAYERS, for the command line."""
    return click.Option([f"--{name.replace('_', '-')}"], type=kind, help=text)


def _run(name: str, entry: Entry, given: dict[str, Any]) -> None:
    import json
    import shlex

    from edgernn.console import table
    from edgernn.runtime.errors import InputError

    if (given["data"] is None) != given["demo"]:
        raise InputError("name the data with --data, or train on the recipe's own with --demo")
    if given["data"] is not None and not Path(given["data"]).exists():
        raise InputError(f"there is no {given['data']}; name an .npz, a .csv or a folder")
    recipe, config = configured(name, entry, given)
    hardware = _hardware(given)
    say = (lambda _: None) if given["as_json"] else click.echo
    if given["compare"]:
        from edgernn.compare import compare_command

        compare_command(recipe, config, given["data"], given["compare"], given, hardware)
        return
    from edgernn.training.train import Plan, score_tables, train

    trained = train(
        recipe,
        config,
        given["data"],
        given["out"],
        plan=Plan(given["teacher"], given["finetune"]),
        resume=given["resume"],
        hardware=hardware,
        say=say,
    )
    if not trained.fitted.main:
        return
    if given["as_json"]:
        click.echo(json.dumps(trained.metrics, indent=1))
        return
    for header, rows in score_tables(trained.metrics):
        click.echo(table(header, rows))
    click.echo(
        f"{trained.fitted.parameters:,} parameters, best epoch {trained.fitted.best_epoch} of "
        f"{len(trained.fitted.history)}, {trained.fitted.seconds:.0f} s; {given['out']}/README.md "
        f"is the model card\nnext: {shlex.join(['edgernn', 'export', str(given['out']), '--int8'])}"
    )


def configured(name: str, entry: Entry, given: dict[str, Any]) -> tuple[Any, Any]:
    """The recipe, and its configuration as the command line changes it."""
    from edgernn.recipes.registry import load_recipe
    from edgernn.runtime.errors import MissingExtraError

    try:
        import torch

        import edgernn.training.base as base

        recipe = load_recipe(name)
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"training needs {error.name}; install it with: pip install 'edgernn[train]'"
        ) from None
    from dataclasses import replace

    from edgernn.training.cells import parse

    # Small steps of small layers: several threads wait for one another.
    torch.set_num_threads(1)
    chosen = {k: v for k, v in given.items() if v is not None}
    settings = replace(
        recipe.settings,
        **{n: chosen[n] for n in (*(s[0] for s in SETTINGS), "stateful", "side") if n in chosen},
    )
    layers = replace(recipe.layers, **{n: chosen[n] for n, *_ in LAYERS if n in chosen})
    parse(layers.cell)
    options = {option.name: given[option.name] for option in entry.options}
    return recipe, base.Config(name, settings, layers, options)


def _hardware(given: dict[str, Any]) -> Any:
    from edgernn.training.fit import Hardware

    return Hardware(given["accelerator"], given["devices"], given["nodes"], given["strategy"])
