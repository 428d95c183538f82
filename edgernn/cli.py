"""The command line. Heavy packages are imported by the commands that need them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from edgernn.version import __version__

FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)
BROKEN_PIPE = 141


class Commands(click.Group):
    """A group whose commands report an EdgernnError as one sentence and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except BrokenPipeError:
            sys.stderr.close()
            ctx.exit(BROKEN_PIPE)
        except Exception as error:
            # Imported here because --help must not wait for NumPy.
            from edgernn.runtime.errors import EdgernnError

            if not isinstance(error, EdgernnError):
                raise
            raise click.ClickException(str(error)) from None


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="edgernn")
def main() -> None:
    """Recurrent networks from PyTorch as one int8 integer program, the same bits on every engine.

    \b
    edgernn export model.pt2 --int8 --calib calib.npz --out build/
    edgernn verify build/
    edgernn build build/
    edgernn run build/model.safetensors --input x.npy --output y.npy
    edgernn inspect build/model.safetensors
    """


@main.command()
@click.argument("model")
@click.option(
    "--int8", is_flag=True, help="Quantize; without it only the float reference is written."
)
@click.option(
    "--calib", metavar="FILE[:KEY]", help="Calibration data, .npz or .npy; needed by --int8."
)
@click.option(
    "--out",
    type=FOLDER,
    default=Path("build"),
    show_default=True,
    help="Folder to write.",
)
@click.option(
    "--weights",
    type=FILE,
    help="State dict (.safetensors, or .pt without code) for package.module:factory.",
)
@click.option(
    "--example",
    metavar="FILE[:KEY]",
    help="Example input for package.module:factory; default: the calibration data.",
)
@click.option(
    "--to",
    "formats",
    default="numpy,tflite,onnx",
    show_default=True,
    help="Formats, comma-separated: numpy (always), tflite, onnx, c.",
)
@click.option("--name", help="Name of the model in C, prefix of its symbols; default: the file's.")
@click.option(
    "--calibration",
    type=click.Choice(["minmax", "percentile", "mse"]),
    default="minmax",
    show_default=True,
)
@click.option(
    "--rounding",
    type=click.Choice(["nearest", "search", "compensated"]),
    default="compensated",
    show_default=True,
    help="How weights are rounded.",
)
@click.option(
    "--heads",
    type=click.Choice(["logits", "integer"]),
    default="logits",
    show_default=True,
    help="A softmax, sigmoid or softplus at the model's end: left to the application, or a part.",
)
@click.option(
    "--feedback",
    metavar="OUTPUT:INPUT",
    multiple=True,
    help="The next step reads the output as input wherever the added input `given` is 0.",
)
@click.option("--float-io", is_flag=True, help="float32 inputs and outputs in .tflite and .onnx.")
@click.option(
    "--tflite-op",
    type=click.Choice(["conv_2d", "fully_connected"]),
    default="conv_2d",
    show_default=True,
)
@click.option(
    "--window",
    type=click.IntRange(1, 65536),
    help="Steps of the .tflite's windows, for models that read backwards; default: those of the "
    "longest calibration sequence.",
)
@click.option(
    "--verify-steps",
    type=click.IntRange(1),
    default=1000,
    show_default=True,
    help="Steps of the check that the files must pass.",
)
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Of the random streams in that check."
)
def export(
    model: str,
    int8: bool,
    calib: str | None,
    out: Path,
    weights: Path | None,
    example: str | None,
    formats: str,
    name: str | None,
    calibration: Any,
    rounding: str,
    feedback: tuple[str, ...],
    heads: Any,
    float_io: bool,
    tflite_op: str,
    window: int | None,
    verify_steps: int,
    seed: int,
) -> None:
    """Export MODEL: a .pt2 file of torch.export, or package.module:factory."""
    from edgernn.console import progress_bar, table
    from edgernn.exporting import FORMATS, export_float
    from edgernn.exporting import export as export_program
    from edgernn.quantization import quantize_graph
    from edgernn.runtime.errors import InputError

    wanted = [f for f in formats.replace(" ", "").split(",") if f]
    unknown = sorted(set(wanted) - set(FORMATS))
    if unknown or not wanted:
        raise InputError(f"--to takes {', '.join(FORMATS)}, not {formats!r}")
    if int8 and calib is None:
        raise InputError("--int8 needs calibration data: --calib calib.npz, float, (N, T, F)")
    graph = _fed_back(_import(model, weights, example or calib, heads), feedback)
    if not int8:
        report = export_float(graph, out)
    else:
        from edgernn.arrays import load_calibration

        data = load_calibration(str(calib), graph)
        with progress_bar("calibrating") as progress:
            program = quantize_graph(graph, data, calibration, rounding, progress)
        with progress_bar("verifying") as progress:
            report = export_program(
                program,
                out,
                wanted,
                float_io=float_io,
                tflite_op=tflite_op,
                name=_c_name(model) if name is None else name,
                window=window,
                verify_steps=verify_steps,
                seed=seed,
                progress=progress,
            )
    click.echo(table(["file", "bytes"], _file_rows(report["files"])))
    for output, head in report["heads"].items():
        way = "" if head == "log_softmax" else "; --heads integer makes it a part of the program"
        click.echo(f"{output} is what the model's {head} reads, which was left out{way}")
    if "c" in report:
        _print_footprint(report["c"]["targets"])
        if "steps" in report["c"]:
            click.echo(f"RAM includes the work buffer of a window of {report['c']['steps']} steps")
    if int8:
        _print_rows(report["verification"]["rows"])
        click.echo(f"{verify_steps} steps verified; `edgernn verify {out}` runs more")


def _fed_back(graph: Any, pairs: tuple[str, ...]) -> Any:
    from edgernn.feedback import feed_back
    from edgernn.runtime.errors import InputError

    for pair in pairs:
        output, colon, fed = pair.partition(":")
        if not colon:
            raise InputError(f"--feedback takes OUTPUT:INPUT, such as y:x, not {pair!r}")
        graph = feed_back(graph, output, fed)
    return graph


def _file_rows(files: dict[str, int]) -> list[tuple[str, int]]:
    """One row a file, but one for a folder."""
    rows: dict[str, list[int]] = {}
    for name, size in files.items():
        folder, slash, _ = name.partition("/")
        rows.setdefault(f"{folder}/" if slash else name, []).append(size)
    return [(n if len(v) == 1 else f"{n} ({len(v)} files)", sum(v)) for n, v in rows.items()]


def _print_footprint(targets: dict[str, dict[str, Any]]) -> None:
    from edgernn.console import table

    header = ["target", "flash bytes", "RAM bytes", "instructions per step", "note"]
    columns = ("flash_bytes", "ram_bytes", "instructions_per_step")
    rows = [
        [t["core"], *(t[c] for c in columns), "" if t["measured_loops"] else "loops not measured"]
        for t in targets.values()
    ]
    click.echo(table(header, rows))


def _c_name(model: str) -> str:
    """The C name of a model: from its file, or from the factory that makes it."""
    from edgernn.exporters.c.identifiers import model_name_of

    factory = model.rpartition(":")[2] if not Path(model).exists() else ""
    return model_name_of(factory or Path(model).stem)


def _import(model: str, weights: Path | None, example: str | None, heads: Any) -> Any:
    from edgernn.importer import import_model, load_factory, load_pt2
    from edgernn.runtime.errors import InputError

    if ":" in model and not Path(model).exists():
        module = load_factory(model, weights)
        if example is None:
            raise InputError(f"{model} needs an example input: --example x.npy, or --calib")
        from edgernn.arrays import load_example

        return import_model(module, load_example(example), heads)
    if weights is not None:
        raise InputError("--weights goes with package.module:factory; a .pt2 file has its own")
    return import_model(load_pt2(model), heads=heads)


@main.command()
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
        from edgernn.runtime.file import load_any

        sample = load_sequences(calib, load_any(folder / "model.safetensors"))
    with progress_bar("verifying") as progress:
        result = verify_folder(folder, steps, seed, progress, sample, native)
    if as_json:
        click.echo(json.dumps(result.as_json(), indent=2))
    else:
        _print_rows(result.as_json()["rows"])
        click.echo(f"{result.steps} steps, closed loop, from the initial state")
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


def _print_rows(rows: list[dict[str, Any]]) -> None:
    from edgernn.console import table

    cells = [
        [r["engine"], r["compared"], r["differing"], r["first"] or r["note"] or "-"] for r in rows
    ]
    click.echo(table(["engine", "values compared", "differing", "first difference"], cells))


@main.command()
@click.argument("folder", type=FOLDER)
@click.option("--cc", help="C compiler, or a cross compiler; default: $CC, cc, gcc or clang.")
@click.option(
    "--march", metavar="NAME", help="Processor to compile for; default: that of this machine."
)
@click.option(
    "--portable", is_flag=True, help="Plain C for any processor of the architecture instead."
)
@click.option("--flags", default="", help="More flags for the compiler, in one string.")
@click.option(
    "--verify-steps",
    type=click.IntRange(1),
    default=1000,
    show_default=True,
    help="Steps of the check that the library must pass.",
)
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Of the random streams in that check."
)
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
    _print_rows(built.verification.as_json()["rows"])
    times = [[name, f"{value:.2f}"] for name, value in built.microseconds.items()]
    click.echo(table(["engine", "us per step"], times))
    click.echo(f"{verify_steps} steps verified; {built.kernels} kernels, called as {built.binding}")


@main.command()
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


@main.command()
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
