"""`edgernn run`."""

from __future__ import annotations

from pathlib import Path

import click

from edgernn.commands.shared import FILE


@click.command()
@click.argument("program", type=FILE)
@click.option(
    "--input",
    "inputs",
    type=FILE,
    multiple=True,
    required=True,
    help=".npy, (T, F) or (N, T, F); once for each input.",
)
@click.option(
    "--output", type=FILE, required=True, help=".npy, or .npz if the program has several outputs."
)
@click.option("--raw", is_flag=True, help="int16 in and out: the raw bits, not floats.")
def run(program: Path, inputs: tuple[Path, ...], output: Path, raw: bool) -> None:
    """Run a program on recorded data with the NumPy engine."""
    from edgernn.arrays import load_array, save_arrays
    from edgernn.runtime import StepRuntime, WindowRuntime
    from edgernn.runtime.file import load_any
    from edgernn.runtime.window import Window

    loaded = load_any(program)
    runtime = WindowRuntime(loaded) if isinstance(loaded, Window) else StepRuntime(loaded)
    arrays = [load_array(str(path)) for path in inputs]
    y = (runtime.run_int if raw else runtime.run)(*arrays)
    names = list(runtime.program.outputs)
    save_arrays(output, dict(zip(names, y if isinstance(y, tuple) else (y,), strict=True)))
