"""`edgernn verify`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from edgernn.commands.shared import FOLDER, print_rows


@click.command()
@click.argument("folder", type=FOLDER)
@click.option(
    "--steps",
    type=click.IntRange(1),
    default=10_000,
    show_default=True,
    help="Closed-loop steps for each engine.",
)
@click.option(
    "--calib", metavar="FILE[:KEY]", help="Data to use instead of the sample in the folder."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the random streams.")
@click.option(
    "--native",
    is_flag=True,
    help="Also the library of `edgernn build`; it runs that code, so only in a folder of yours.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def verify(
    folder: Path, steps: int, calib: str | None, seed: int, native: bool, as_json: bool
) -> None:
    """Compare every engine found, bit for bit, and measure the distance from float.

    Exit code 1 if one bit differs.
    """
    from edgernn.console import progress_bar, table
    from edgernn.folder import verify_folder

    sample = None
    if calib is not None:
        from edgernn.arrays import load_sequences
        from edgernn.float_file import FLOAT_FILE, float_model_of
        from edgernn.runtime.file import load_any

        program, floats = load_any(folder / "model.safetensors"), folder / FLOAT_FILE
        graph = float_model_of(program, floats).graph if floats.is_file() else None
        sample = load_sequences(calib, program, graph)
    with progress_bar("verifying") as progress:
        result = verify_folder(folder, steps, seed, progress, sample, native)
    if as_json:
        click.echo(json.dumps(result.as_json(), indent=2))
    else:
        print_rows(result.as_json()["rows"])
        click.echo(f"{result.steps} steps, {result.how}")
        if result.distance is None:
            click.echo(f"distance from float: {result.distance_note}")
        else:
            d = result.distance
            click.echo(f"\ndistance from float, {d.sequences} sequences, {d.steps} steps")
            decades = sorted({k for t in d.tensors for k in t.growth})
            header = ["tensor", "SNR dB", "max error", "saturated"]
            rows = [
                [t.name, t.snr_db, f"{t.max_error:.3g}", t.saturated]
                + [f"{t.growth[k]:.2g}" if k in t.growth else "" for k in decades]
                for t in d.tensors
            ]
            click.echo(table([*header, *(f"rms to step {k}" for k in decades)], rows))
    if not result.ok:
        sys.exit(1)
