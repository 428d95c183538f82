"""`edgernn build`."""

from __future__ import annotations

from pathlib import Path

import click

from edgernn.commands.shared import FOLDER, checked_by_verification, print_rows


@click.command()
@click.argument("folder", type=FOLDER)
@click.option("--cc", help="C compiler, or a cross compiler; default: $CC, cc, gcc or clang.")
@click.option(
    "--march", metavar="NAME", help="Processor to compile for; default: that of this machine."
)
@click.option(
    "--portable", is_flag=True, help="Plain C for any processor of the architecture instead."
)
@click.option("--flags", default="", help="More flags for the compiler, in one string.")
@checked_by_verification("library")
def build(
    folder: Path,
    cc: str | None,
    march: str | None,
    portable: bool,
    flags: str,
    verify_steps: int,
    seed: int,
) -> None:
    """Compile the program in FOLDER into a library, for StepRuntime.load(..., engine="native")."""
    from edgernn.building import build as build_library
    from edgernn.console import progress_bar, table

    with progress_bar("verifying") as progress:
        built = build_library(
            folder,
            cc,
            march=march,
            portable=portable,
            flags=flags,
            verify_steps=verify_steps,
            seed=seed,
            progress=progress,
        )
    rows = [[built.path.name, built.path.stat().st_size, built.compiler, " ".join(built.flags)]]
    click.echo(table(["file", "bytes", "compiler", "flags"], rows))
    if built.verification is None or built.microseconds is None:
        click.echo(f"made for {built.tag}, and so neither verified nor timed here")
        return
    print_rows(built.verification.as_json()["rows"])
    times = [[name, f"{value:.2f}"] for name, value in built.microseconds.items()]
    click.echo(table(["engine", "us per step"], times))
    click.echo(f"{verify_steps} steps verified; {built.kernels} kernels, called as {built.binding}")
