"""`edgernn report`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from edgernn.commands.shared import FILE, FOLDER


@click.command()
@click.argument("folder", type=FOLDER)
@click.option("--out", type=FILE, help="The file to write; by default report.html in the folder.")
@click.option("--data", default="", metavar="FILE[:KEY]", help="Data to measure on.")
@click.option("--labels", default="", metavar="KEY", help="Labels in it; `y` if there is one.")
@click.option("--target", "targets", multiple=True, help="A board or a core; may be repeated.")
@click.option("--boards", multiple=True, type=FILE, help="A TOML file with devices of your own.")
@click.option("--file", "budgets", type=FILE, help="Targets and limits, as of `edgernn budget`.")
@click.option(
    "--steps",
    type=click.IntRange(10, 10_000_000),
    default=100_000,
    show_default=True,
    help="Of the stream without a reset, for error over time.",
)
@click.option("--json", "as_json", is_flag=True, help="Also print everything as JSON.")
def report(
    folder: Path,
    out: Path | None,
    data: str,
    labels: str,
    targets: tuple[str, ...],
    boards: tuple[Path, ...],
    budgets: Path | None,
    steps: int,
    as_json: bool,
) -> None:
    """One HTML file about an exported model, to read offline and to pass on.

    \b
    edgernn report build/
    edgernn report build/ --data test.npz --labels y --target nrf52840-dk

    The network, where bytes and instructions go, ranges, where the error against float comes from
    and how it grows, accuracy and confusion with labels, engines, and what fits where.
    """
    # Products of this size only wait for each other's threads; read when NumPy is loaded.
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    from edgernn.console import progress_bar
    from edgernn.report.facts import Wishes, collect
    from edgernn.report.page import page, require_printable
    from edgernn.runtime.errors import InputError
    from edgernn.runtime.file import write_atomically

    # Before the minutes that it takes to have something to print.
    require_printable()
    if out is not None and not out.parent.is_dir():
        raise InputError(f"there is no folder {out.parent}; make it, or name another with --out")
    wishes = Wishes(data, labels, targets, boards, budgets, steps)
    facts, subject = collect(folder, wishes, progress_bar)
    target = out or folder / "report.html"
    content = page(facts, subject).encode()
    write_atomically(target, content)
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    for sentence in (*facts["notes"], *facts.get("attribution", {}).get("advice", ())):
        click.echo(sentence)
    click.echo(f"{target}: {len(content) / 1e6:.2f} MB")
