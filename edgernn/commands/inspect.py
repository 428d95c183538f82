"""`edgernn inspect`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from edgernn.commands.shared import FILE


@click.command()
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE | RUN/")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.option("--svg", type=FILE, help="Also draw the network of a .safetensors program here.")
@click.option(
    "--gradients",
    is_flag=True,
    help="Of a run that `edgernn train` wrote: how far back the gradient reaches, beside a simple "
    "RNN, an LSTM and a GRU.",
)
@click.option(
    "--out", type=FILE, help="Picture of --gradients, .svg or .png.  [default: RUN/gradients.svg]"
)
def inspect(file: Path, as_json: bool, svg: Path | None, gradients: bool, out: Path | None) -> None:
    """Show what is in a .safetensors, .tflite or .onnx file, or how far a run's gradients reach."""
    from edgernn.console import table
    from edgernn.runtime.errors import InputError

    if gradients:
        _gradients(file, out or file / "gradients.svg", as_json)
        return
    if file.is_dir():
        raise InputError(
            f"{file} is a folder; name a file in it, or add --gradients for a run of edgernn train"
        )
    from edgernn.inspection import draw_file, inspect_file

    found = inspect_file(file)
    if svg is not None:
        from edgernn.runtime.file import write_atomically

        write_atomically(svg, draw_file(file).encode())
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    click.echo(f"{file}: {found['kind']}, {found['bytes']} bytes")
    if "drawing" in found:
        click.echo(f"\nnetwork\n{found['drawing']}")
    for title, rows in found["tables"].items():
        if rows:
            click.echo(f"\n{title}")
            click.echo(table(list(rows[0]), [list(row.values()) for row in rows]))


def _gradients(folder: Path, out: Path, as_json: bool) -> None:
    from edgernn.bench.plot import require_drawable
    from edgernn.console import table
    from edgernn.runtime.errors import MissingExtraError

    try:
        from edgernn.training.gradient_picture import draw_gradients, gradient_rows
        from edgernn.training.gradients import run_gradients
        from edgernn.training.run_folder import read_run
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"gradients need {error.name}; install it with: pip install 'edgernn[train]'"
        ) from None
    run = read_run(folder)
    require_drawable(out)
    curves = run_gradients(run)
    title = f"How far back the gradient reaches: {run.config.recipe} on {run.data.get('name')}"
    draw_gradients(curves, out, title, run.config.settings.window)
    if as_json:
        click.echo(json.dumps({"run": str(folder), "curves": [c.as_json() for c in curves]}))
        return
    click.echo(table(*gradient_rows(curves)))
    click.echo(f"gradient of the loss at the last step, k steps back, relative to k = 0: {out}")
