"""`edgernn bench`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

import click

from edgernn.commands.shared import FILE, FOLDER

_OF_LIVE: Final = ("rate", "speed", "layout", "native")
_OF_SIZES: Final = ("cell", "features")
_OF_A_FOLDER: Final = ("window", "starts", "model", "weights")
_OF_TURNS: Final = ("steps", "rounds", "engines", "tflite_python", "seed", "plot")


@click.command()
@click.argument("folder", type=FOLDER, required=False)
@click.option(
    "--steps", type=click.IntRange(1), help="Of each engine; default: 100,000, of --sizes 10,000."
)
@click.option(
    "--rounds",
    type=click.IntRange(1),
    help="In which they take turns; default: 100, of --sizes 50.",
)
@click.option("--engines", metavar="NAME,...", help="Some of those above only.")
@click.option(
    "--window",
    metavar="STEPS",
    type=click.IntRange(1, 65536),
    help="Whole windows; a model that reads backwards has no other.",
)
@click.option("--starts", type=click.IntRange(1), default=3, show_default=True,
              help="Fresh processes to measure start-up and memory with.")  # fmt: skip
@click.option(
    "--tflite-python", metavar="PATH", help="The Python of an environment with tflite-runtime."
)
@click.option(
    "--model",
    metavar="MODEL",
    help="model.pt2 or package.module:factory, if FOLDER does not hold the float model.",
)
@click.option("--weights", type=FILE, help="State dict for package.module:factory.")
@click.option("--sizes", metavar="H,...", help="Models of random weights instead of FOLDER.")
@click.option("--cell", type=click.Choice(["gru", "lstm", "rnn"]), default="gru",
              show_default=True, help="Of --sizes.")  # fmt: skip
@click.option("--features", type=click.IntRange(1, 4096), default=16, show_default=True,
              help="Inputs of the models of --sizes.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Of the order of turns.")
@click.option("--plot", type=click.Path(path_type=Path), metavar="FILE|FOLDER",
              help="Also pictures: an .svg, a .png, or a folder.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.option("--live", metavar="SOURCE",
              help="Follow a stream: - (stdin), a .wav or a .csv.")  # fmt: skip
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), metavar="HZ",
              help="Steps a second of the --live stream.")  # fmt: skip
@click.option("--speed", default="1", show_default=True, metavar="FACTOR|max",
              help="How much faster than its rate a file is replayed.")  # fmt: skip
@click.option("--format", "layout", type=click.Choice(["csv", "int16", "float32"]),
              default="csv", show_default=True, help="Of --live -.")  # fmt: skip
@click.option("--native", is_flag=True,
              help="--live: the library of `edgernn build`; it runs that code.")  # fmt: skip
def bench(folder: Path | None, **options: Any) -> None:
    """Time every engine present on the same stream, in turns, or follow a stream live.

    Engines: numpy, native, litert, tflite-runtime, onnx, onnx-float, torch, torch-int8. Each is
    checked before it is timed; one that is not there is named with the way to have it. Ratios are
    taken within a round, so that load on the machine hits both sides.

    Exit code 1 if an engine computes anything else, or none is there to be timed.
    """
    from edgernn.runtime.errors import InputError

    _require_fitting(options)
    if options["plot"] is not None:
        from edgernn.bench.plot import require_drawable

        # Before the minutes that it takes to have something to draw.
        require_drawable(options["plot"])
    if options["sizes"] is not None:
        if folder is not None or options["live"] is not None:
            raise InputError("--sizes makes models of its own; leave out FOLDER and --live")
        ok = _sizes(options)
    elif folder is None:
        raise InputError("name an exported folder, as in `edgernn bench build/`, or give --sizes")
    elif options["live"] is not None:
        ok = _live(folder, options)
    else:
        ok = _compare(folder, options)
    if not ok:
        sys.exit(1)


def _require_fitting(options: dict[str, Any]) -> None:
    """InputError for an option that would have no effect."""
    from click.core import ParameterSource

    from edgernn.runtime.errors import InputError

    context = click.get_current_context()
    names = {p.name: p.opts[0] for p in context.command.params}
    live, sizes = options["live"] is not None, options["sizes"] is not None
    without = [
        (_OF_LIVE, not live, "goes with --live"),
        (_OF_SIZES, not sizes, "goes with --sizes"),
        ((*_OF_A_FOLDER, *_OF_TURNS), live, "says nothing about --live"),
        (_OF_A_FOLDER, sizes, "says nothing about --sizes"),
        (("weights",), options["model"] is None, "goes with --model"),
    ]
    for parts, applies, why in without:
        for name in parts if applies else ():
            if context.get_parameter_source(name) == ParameterSource.COMMANDLINE:
                raise InputError(f"{names[name]} {why}; leave it out")


def _compare(folder: Path, options: dict[str, Any]) -> bool:
    import tempfile

    from edgernn.bench.machine import machine
    from edgernn.bench.measure import chosen, measure
    from edgernn.bench.prepare import prepare, read_folder
    from edgernn.bench.table import as_json, text
    from edgernn.console import progress_bar
    from edgernn.runtime.window import Window

    engines = chosen(options["engines"])
    model = read_folder(folder)
    if options["model"] is not None:
        from edgernn.bench.floats import graph_of

        example = model.sample[0] if model.sample else None
        model = read_folder(folder, graph_of(options["model"], options["weights"], example))
    found = machine()
    with tempfile.TemporaryDirectory(prefix="edgernn-bench-") as scratch:
        with progress_bar("preparing"):
            native = "native" in engines
            prepared = prepare(model, Path(scratch), options["window"], native, options["seed"])
        windows = isinstance(prepared.model.program, Window)
        # So many windows as have the steps that are asked for.
        steps = options["steps"] or 100_000
        count = max(1, steps // (prepared.job.window or 1)) if windows else steps
        with progress_bar("measuring") as progress:
            result = measure(
                prepared,
                engines,
                steps=count,
                rounds=options["rounds"],
                starts=options["starts"],
                seed=options["seed"],
                pythons=_pythons(options),
                progress=progress,
            )
    if options["as_json"]:
        click.echo(json.dumps(as_json(result, found), indent=2))
    else:
        click.echo(text(result, found))
    if options["plot"] is not None:
        from edgernn.bench.plot import draw

        _say_written(draw(result, options["plot"]), options)
    return result.ok and result.timed


def _sizes(options: dict[str, Any]) -> bool:
    from edgernn.bench import sizes
    from edgernn.bench.machine import described, machine
    from edgernn.bench.measure import chosen
    from edgernn.console import progress_bar

    found = machine()
    with progress_bar("measuring") as progress:
        curve = sizes.measure_sizes(
            sizes.parse_sizes(options["sizes"]),
            chosen(options["engines"]),
            cell=options["cell"],
            features=options["features"],
            steps=options["steps"] or 10_000,
            rounds=options["rounds"] or 50,
            seed=options["seed"],
            pythons=_pythons(options),
            progress=progress,
        )
    if options["as_json"]:
        click.echo(json.dumps(sizes.curve_json(curve, found), indent=2))
    else:
        click.echo(f"{sizes.text(curve)}\n{described(found)}")
    if options["plot"] is not None:
        from edgernn.bench.plot import draw_sizes

        title = f"{options['cell'].upper()}, {options['features']} inputs, one thread"
        paths = draw_sizes(curve.medians(), curve.sizes, title, options["plot"])
        _say_written(paths, options)
    return curve.ok and curve.timed


def _live(folder: Path, options: dict[str, Any]) -> bool:
    from edgernn.bench.live.follow import follow_folder

    summary = follow_folder(
        folder,
        options["live"],
        rate=options["rate"],
        speed=options["speed"],
        layout=options["layout"],
        native=options["native"],
        quiet=options["as_json"],
    )
    if options["as_json"]:
        click.echo(json.dumps(summary.as_json(), indent=2))
    else:
        click.echo(summary.text())
    return True


def _pythons(options: dict[str, Any]) -> dict[str, str]:
    python = options["tflite_python"]
    return {} if python is None else {"tflite-runtime": python}


def _say_written(paths: list[Path], options: dict[str, Any]) -> None:
    click.echo(f"written: {', '.join(map(str, paths))}", err=options["as_json"])
