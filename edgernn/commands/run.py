"""`edgernn run`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource

from edgernn.commands.shared import FILE

ENGINES: Final = ("numpy", "native", "tflite", "onnx", "c", "float")

BELONGS: Final = {
    "raw": ("raw", "input"),
    "with_float": ("float", "text"),
    **{name: (name, "generate") for name in ("prompt", "temperature", "seed", "engine")},
}


@click.command()
@click.argument("program", type=click.Path(path_type=Path))
@click.option(
    "--input",
    "inputs",
    type=FILE,
    multiple=True,
    help=".npy, (T, F) or (N, T, F); once for each input.",
)
@click.option("--output", type=FILE, help=".npy, or .npz if the program has several outputs.")
@click.option("--raw", is_flag=True, help="int16 in and out: the raw bits, not floats.")
@click.option("--text", help="A text to classify, word by word; - reads it from stdin.")
@click.option("--float", "with_float", is_flag=True, help="With --text: the float network beside.")
@click.option("--audio", type=FILE, help=".wav, one channel, 16 bits: the words that are heard.")
@click.option(
    "--generate", type=click.IntRange(1), metavar="TOKENS", help="So many tokens of new text."
)
@click.option("--prompt", default="", help="With --generate: how the text begins.")
@click.option(
    "--temperature",
    type=click.FloatRange(0),
    default=1.0,
    show_default=True,
    help="With --generate: below 1 the likely gets likelier; 0 takes the likeliest.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="With --generate: of chance.")
@click.option(
    "--engine",
    type=click.Choice(ENGINES),
    default="numpy",
    show_default=True,
    help="With --generate: what runs the program; the text is the same.",
)
def run(
    program: Path,
    inputs: tuple[Path, ...],
    output: Path | None,
    raw: bool,
    text: str | None,
    with_float: bool,
    audio: Path | None,
    generate: int | None,
    **options: Any,
) -> None:
    """Run a program on recorded data with the NumPy engine, or one of text on what is typed.

    \b
    edgernn run build/model.safetensors --input x.npy --output y.npy
    edgernn run build/ --text "not bad at all"
    edgernn run build/ --audio kitchen.wav
    edgernn run build/ --generate 200 --prompt "The " --temperature 0.7 --seed 1
    """
    from edgernn.runtime.errors import InputError

    asked = [bool(inputs or output), text is not None, generate is not None, audio is not None]
    if sum(asked) != 1:
        raise InputError("say what to run: --input with --output, --text, --audio or --generate")
    source = click.get_current_context().get_parameter_source
    belongs = {"raw": asked[0], "with_float": asked[1], **dict.fromkeys(options, asked[2])}
    for name, (flag, to) in BELONGS.items():
        if source(name) is ParameterSource.COMMANDLINE and not belongs[name]:
            raise InputError(f"--{flag} goes with --{to}")
    if not program.exists():
        raise InputError(f"{program} is not there")
    if text is not None:
        _read_along(program, text, with_float)
    elif audio is not None:
        _listen(program, audio)
    elif generate is not None:
        _generate(program, generate, **options)
    elif not inputs or output is None:
        raise InputError("--input and --output go together")
    else:
        _recorded(program, inputs, output, raw)


def _recorded(program: Path, inputs: tuple[Path, ...], output: Path, raw: bool) -> None:
    from edgernn.arrays import load_array, save_arrays
    from edgernn.runtime import StepRuntime, WindowRuntime
    from edgernn.runtime.file import load_any
    from edgernn.runtime.window import Window

    loaded = load_any(program / "model.safetensors" if program.is_dir() else program)
    runtime = WindowRuntime(loaded) if isinstance(loaded, Window) else StepRuntime(loaded)
    arrays = [load_array(str(path)) for path in inputs]
    y = (runtime.run_int if raw else runtime.run)(*arrays)
    names = list(runtime.program.outputs)
    save_arrays(output, dict(zip(names, y if isinstance(y, tuple) else (y,), strict=True)))


def _read_along(folder: Path, text: str, with_float: bool) -> None:
    from edgernn.console import table
    from edgernn.recipes.text.reading_along import read_along, rows, verdict
    from edgernn.recipes.text.trained import read_trained

    if text == "-":
        text = sys.stdin.read()
    trained = read_trained(folder)
    if trained.recipe == "hierarchy":
        from edgernn.recipes.answered import answered

        for name, found in answered(trained, text, with_float).items():
            click.echo(table(["level", f"class, {name}", "p"], found))
        return
    reading = read_along(trained, text, with_float)
    click.echo(table(*rows(reading)))
    click.echo(verdict(reading))


def _listen(folder: Path, audio: Path) -> None:
    from edgernn.console import table
    from edgernn.recipes.audio.recordings import read_wav
    from edgernn.runtime.errors import InputError
    from edgernn.runtime.spotter import Spotter

    spotter = Spotter.load(folder)
    rates: dict[int, str] = {}
    samples = read_wav(audio, rates)
    wanted = spotter.front.settings.sample_rate
    if wanted not in rates:
        raise InputError(
            f"{audio} has {next(iter(rates)):,} samples a second, {folder} hears {wanted:,}; "
            "convert it"
        )
    heard = spotter.push(samples)
    rows = [(f"{h.time:.2f}", h.word, f"{h.score:.2f}") for h in heard]
    click.echo(table(["s", "word", "score"], rows))
    click.echo(f"{len(heard)} words in {len(samples) / wanted:.1f} s")


def _generate(
    folder: Path, count: int, prompt: str, temperature: float, seed: int, engine: str
) -> None:
    from edgernn.recipes.text.generation import continued, generated, prompt_ids
    from edgernn.recipes.text.sampling import Sampler
    from edgernn.recipes.text.streams import stream_of
    from edgernn.recipes.text.trained import read_trained
    from edgernn.recipes.text.vocabulary import MARKS

    trained = read_trained(folder)
    first = prompt_ids(trained, prompt)
    stream = stream_of(trained, engine)
    sampler = Sampler(stream.scale, temperature, seed, len(MARKS))
    ids = list(generated(stream, first, count, sampler))
    click.echo(continued(trained.vocabulary, prompt, ids))
