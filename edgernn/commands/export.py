"""`edgernn export`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from edgernn.commands.shared import FILE, FOLDER, checked_by_verification, print_rows

SCORES: Final = 7
"""Of a split, that are printed; recipe.json has all."""


@click.command()
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
    metavar="STEPS",
    type=click.IntRange(1, 65536),
    help="Also a .tflite that takes whole windows, of STEPS until resized; a model that reads "
    "backwards has no other.",
)
@checked_by_verification("files")
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
    """Export MODEL: a .pt2 file of torch.export, package.module:factory, or a folder that
    `edgernn train` wrote, which brings its own calibration data."""
    from edgernn.console import progress_bar, table
    from edgernn.exporting import FORMATS, export_float
    from edgernn.exporting import export as export_program
    from edgernn.quantization import quantize_graph
    from edgernn.runtime.errors import InputError

    wanted = [f for f in formats.replace(" ", "").split(",") if f]
    unknown = sorted(set(wanted) - set(FORMATS))
    if unknown or not wanted:
        raise InputError(f"--to takes {', '.join(FORMATS)}, not {formats!r}")
    run = _run_folder(model, weights, example)
    if ":" not in model and not Path(model).exists():
        raise InputError(f"there is no {model}; name a run folder, a .pt2 file or module:factory")
    if int8 and calib is None and run is None:
        raise InputError("--int8 needs calibration data: --calib calib.npz, float, (N, T, F)")
    tuned = _finetuned(run, feedback, heads, calib) if int8 and run is not None else None
    graph: Any = None
    if tuned is None:
        graph = _fed_back(_float_graph(run, model, weights, example or calib, heads), feedback)
    scores: list[Any] = []
    if not int8:
        report = export_float(graph, out)
    else:
        program = tuned
        if program is None:
            data = _calibration(run, calib, graph)
            with progress_bar("calibrating") as progress:
                program = quantize_graph(graph, data, calibration, rounding, progress)
        c_name = _c_name(model) if name is None else name
        extra: dict[str, bytes] = {}
        if run is not None:
            scores, extra = _scored(run, program, c_name if "c" in wanted else None)
        with progress_bar("verifying") as progress:
            report = export_program(
                program,
                out,
                wanted,
                float_io=float_io,
                tflite_op=tflite_op,
                name=c_name,
                window=window,
                verify_steps=verify_steps,
                seed=seed,
                progress=progress,
                extra=extra,
            )
    click.echo(table(["file", "bytes"], _file_rows(report["files"])))
    if report.get("unreturned"):
        click.echo(
            "the model also returns h_n or c_n, which a window program does not; to have them, "
            "return torch.cat([h[-2], h[-1]], dim=1)"
        )
    for output, head in report["heads"].items():
        way = "" if head == "log_softmax" else "; --heads integer makes it a part of the program"
        click.echo(f"{output} is what the model's {head} reads, which was left out{way}")
    if "c" in report:
        _print_footprint(report["c"]["targets"])
        if "steps" in report["c"]:
            click.echo(f"RAM includes the work buffer of a window of {report['c']['steps']} steps")
    if int8:
        print_rows(report["verification"]["rows"])
        click.echo(f"{verify_steps} steps verified; `edgernn verify {out}` runs more")
    _print_scores(scores)


def _run_folder(model: str, weights: Path | None, example: str | None) -> Any:
    """The run folder that MODEL is, if it is one."""
    from edgernn.runtime.errors import InputError

    folder = Path(model)
    if not folder.is_dir():
        return None
    from edgernn.training.run_folder import read_run

    if weights is not None or example is not None:
        raise InputError(
            "--weights and --example go with package.module:factory; a run has its own"
        )
    return read_run(folder)


def _finetuned(run: Any, feedback: tuple[str, ...], heads: Any, calib: str | None) -> Any:
    """The program that fine-tuning made of a run's network, if it did."""
    from edgernn.runtime.errors import InputError
    from edgernn.training.exported import finetuned

    tuned = finetuned(run)
    if tuned is not None and (feedback or heads != "logits" or calib is not None):
        raise InputError(
            f"{run.folder} was fine-tuned as one integer program, so --feedback, --heads and "
            "--calib come too late; train without --finetune to use them"
        )
    return tuned


def _float_graph(
    run: Any, model: str, weights: Path | None, example: str | None, heads: Any
) -> Any:
    if run is None:
        return _import(model, weights, example, heads)
    from edgernn.training.exported import imported

    return imported(run, heads)


def _calibration(run: Any, calib: str | None, graph: Any) -> dict[str, Any]:
    """That of --calib, or what a run kept."""
    if calib is not None:
        from edgernn.arrays import load_calibration

        return load_calibration(calib, graph)
    from edgernn.training.exported import calibration
    from edgernn.training.run_folder import CALIBRATION

    return calibration(run.split(CALIBRATION), graph)


def _scored(run: Any, program: Any, c_name: str | None) -> tuple[list[Any], dict[str, bytes]]:
    """The scores of both on what a run kept, and the files that go beside the program."""
    from edgernn.training.exported import beside, compared

    scores = compared(run, program)
    return scores, beside(run, scores, program, c_name)


def _print_scores(scores: list[Any]) -> None:
    """Float beside int8, for each split that a run kept."""
    from edgernn.console import table

    rows = []
    for one in scores:
        names = [n for n in one.float_scores if not n.startswith("_")][:SCORES]
        for name in names:
            real, whole = one.float_scores[name], one.int8_scores[name]
            figures = (f"{real:.4f}", f"{whole:.4f}", f"{whole - real:+.4f}")
            rows.append([one.split, name.replace("_", " "), *figures])
    if rows:
        click.echo(table(["split", "score", "float", "int8", "difference"], rows))


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
        from inspect import signature

        from edgernn.arrays import load_example

        needed = [p for p in signature(module.forward).parameters.values() if p.default is p.empty]
        return import_model(module, load_example(example, len(needed)), heads)
    if weights is not None:
        raise InputError("--weights goes with package.module:factory; a .pt2 file has its own")
    return import_model(load_pt2(model), heads=heads)
