"""`edgernn budget`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from edgernn.budget import Drop, Settings, Subject, Verdict

ANY = click.Path(path_type=Path)
LIMITS = (
    ("flash", "SIZE", "Flash that the model may take: 64KiB; else all that the board has."),
    ("ram", "SIZE", "RAM that the model may take, its arrays for inputs and outputs included."),
    ("reserve-flash", "SIZE", "Flash that the rest of the firmware takes of the board's."),
    ("reserve-ram", "SIZE", "RAM that the rest of the firmware takes of the board's."),
    ("step", "TIME", "Time of a step, or of a window: 2ms, or 2ms@80MHz."),
    ("clock", "FREQUENCY", "Another clock than the board's: 80MHz."),
    ("instructions", "N", "Instructions of a step, or of a window."),
    ("rate", "FREQUENCY", "Samples a second, 100Hz: shows the load, which may be 100 % at most."),
    ("period", "TIME", "Or the time between two samples: 10ms."),
    ("accuracy-drop", "POINTS", "Accuracy that int8 may lose against float, percentage points."),
)


class Unanswered(click.ClickException):
    """An error; exit code 1 says that something is over, and nothing else."""

    exit_code = 2


def _limits(command: Any) -> Any:
    for name, metavar, text in reversed(LIMITS):
        kind = {"N": click.IntRange(0), "POINTS": click.FloatRange(0, 100)}.get(metavar)
        command = click.option(f"--{name}", metavar=metavar, type=kind, help=text)(command)
    return command


@click.command()
@click.argument("model", type=ANY, required=False)
@click.option("--target", "names", multiple=True, help="A board or a core; may be repeated.")
@click.option("--targets", "list_targets", is_flag=True, help="List the boards and cores.")
@click.option("--boards", multiple=True, type=ANY, help="A TOML file with devices of your own.")
@click.option("--file", "file", type=ANY, help="Targets and limits from edgernn.toml, for CI.")
@_limits
@click.option("--data", help="An .npz, or FILE:KEY,KEY, to measure the accuracy drop on.")
@click.option("--labels", help="Key of the labels in it; `y` if there is one.")
@click.option("--window", type=click.IntRange(1), help="Steps of a window; else the model's own.")
@click.option("--advise", is_flag=True, help="What would help, even if everything fits.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def budget(
    model: Path | None,
    names: tuple[str, ...],
    list_targets: bool,
    boards: tuple[Path, ...],
    file: Path | None,
    data: str | None,
    labels: str | None,
    window: int | None,
    advise: bool,
    as_json: bool,
    **limits: Any,
) -> None:
    """Does the model fit? Flash, RAM, time and energy of an exported folder on a device.

    \b
    edgernn budget build/ --target nrf52840-dk
    edgernn budget build/ --target cortex-m4 --flash 64KiB --ram 4KiB --step 2ms@80MHz
    edgernn budget build/ --file edgernn.toml

    A file says the same for several targets, edgernn.toml or, under [tool.edgernn.budget], a
    pyproject.toml; keys are the options' names with underscores:

    \b
    [budget]                  # defaults; also data, labels, window, targets = ["mine.toml"]
    rate = "100 Hz"
    [[budget.target]]
    device = "nrf52840-dk"
    flash = "64 KiB"          # the model's share; or reserve_flash
    step = "2 ms"
    accuracy_drop = 0.2

    Exit code 0 if all fits, 1 if something is over, 2 if the question makes no sense.
    """
    given = {key: value for key, value in limits.items() if value is not None}
    if list_targets:
        _list_targets(boards, as_json)
        return
    if model is None:
        raise click.UsageError("name the folder that `edgernn export` wrote")
    if file is not None and (names or boards or given):
        raise click.UsageError("--file says targets and limits itself; give one or the other")
    if given and not names:
        raise click.UsageError("limits need a --target; `edgernn budget --targets` lists them")
    from edgernn.runtime.errors import EdgernnError

    try:
        settings = _settings(file, names, boards, given)
        fits = _run(model, settings, data, labels, window, advise, as_json)
    except EdgernnError as error:
        raise Unanswered(str(error)) from None
    if not fits:
        click.get_current_context().exit(1)


def _settings(
    file: Path | None, names: Sequence[str], boards: Sequence[Path], given: dict[str, Any]
) -> Settings:
    from edgernn.budget import Settings, budget_for, load_settings, parse_options
    from edgernn.targets import device, load_devices

    if file is not None:
        return load_settings(file)
    options = parse_options(given, "budget")
    if names:
        return Settings(tuple(budget_for(device(name, boards), options) for name in names))
    built_in = load_devices()
    # The cores, and what the user describes.
    devices = load_devices(boards).values()
    shown = (d for d in devices if d.family == "core" or d.name not in built_in)
    return Settings(tuple(budget_for(d, {}) for d in shown))


def _run(
    path: Path,
    settings: Settings,
    data: str | None,
    labels: str | None,
    window: int | None,
    advise: bool,
    as_json: bool,
) -> bool:
    """Print the verdicts; does the model fit every target?"""
    from edgernn.budget import check, load_subject

    subject = load_subject(path, window or settings.window)
    drop = _drop(subject, settings, data, labels)
    verdicts = [check(subject, budget, drop) for budget in settings.budgets]
    wanted = [advise or not verdict.fits for verdict in verdicts]
    if as_json:
        click.echo(json.dumps(_as_json(subject, verdicts, wanted, drop), indent=2))
    else:
        _print(subject, verdicts, wanted, drop)
    return all(verdict.fits for verdict in verdicts)


def _drop(
    subject: Subject, settings: Settings, data: str | None, labels: str | None
) -> Drop | None:
    """The accuracy drop, if it is asked for."""
    from edgernn.budget import accuracy_drop
    from edgernn.runtime.errors import InputError

    spec = data or settings.data
    limited = any(budget.accuracy_drop is not None for budget in settings.budgets)
    if not spec:
        if labels or settings.labels:
            raise InputError("labels are an array of the file of data; give `--data FILE` too")
        return accuracy_drop(subject, subject.sample) if limited else None
    from edgernn.budget.labelled import load_labelled

    key = labels or settings.labels
    sequences, found = load_labelled(spec, key, subject.program, subject.graph)
    return accuracy_drop(subject, sequences, found, spec)


def _print(
    subject: Subject, verdicts: list[Verdict], wanted: list[bool], drop: Drop | None
) -> None:
    from edgernn.budget import advise, text

    click.echo(text.title(subject))
    if len(verdicts) > 1:
        click.echo(f"\n{text.summary(verdicts)}")
    limited = any(line.limit is not None for v in verdicts for line in v.lines)
    for verdict, more in zip(verdicts, wanted, strict=True):
        if len(verdicts) > 1 and not limited and not more:
            continue
        click.echo(f"\n{text.device_line(verdict)}")
        click.echo(text.verdict_table(verdict, subject.is_window))
        click.echo(text.parts(verdict))
        for remark in text.remarks(verdict):
            click.echo(remark)
        click.echo(text.conclusion(verdict))
        if more:
            click.echo(f"\n{text.advice_text(advise(subject, verdict.budget, drop), verdict)}")
    if drop is not None:
        click.echo(f"\n{drop.sentence()}.")


def _as_json(
    subject: Subject, verdicts: list[Verdict], wanted: list[bool], drop: Drop | None
) -> dict[str, Any]:
    from edgernn.budget import advise

    targets = []
    for verdict, more in zip(verdicts, wanted, strict=True):
        entry = verdict.as_json()
        if more:
            entry["advice"] = advise(subject, verdict.budget, drop).as_json()
        targets.append(entry)
    return {
        "model": subject.name,
        "window": subject.steps if subject.is_window else None,
        "fits": all(verdict.fits for verdict in verdicts),
        "targets": targets,
        "accuracy": None if drop is None else drop.as_json(),
    }


def _list_targets(boards: Sequence[Path], as_json: bool) -> None:
    from edgernn.targets import load_devices

    devices = list(load_devices(boards).values())
    if as_json:
        click.echo(json.dumps([device.to_json() for device in devices], indent=2))
        return
    from edgernn.budget.text import targets_table

    click.echo(targets_table(devices))
