"""`edgernn inspect`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from edgernn.commands.shared import FILE


@click.command()
@click.argument("file", type=FILE)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.option("--svg", type=FILE, help="Also draw the network of a .safetensors program here.")
def inspect(file: Path, as_json: bool, svg: Path | None) -> None:
    """Show what is in a .safetensors, .tflite or .onnx file."""
    from edgernn.console import table
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
