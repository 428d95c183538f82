"""An exported folder: which engines its files are for, and whether they are still sound."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgernn.distance import measure_distance
from edgernn.float_file import FLOAT_FILE, float_model_of
from edgernn.progress import Progress
from edgernn.runtime.errors import FileFormatError, MissingExtraError
from edgernn.runtime.file import load_any
from edgernn.runtime.library import library_path
from edgernn.runtime.program import Program
from edgernn.runtime.window import Window, window_of
from edgernn.sample import SAMPLE, read_sample
from edgernn.streams import verification_streams
from edgernn.verify import (
    STEPS,
    Engine,
    PlainEngine,
    Row,
    Values,
    Verification,
    load_engine,
    verify,
)

C_FOLDER: Final = "c"
Loaded = TypeVar("Loaded")


class FloatEdges:
    """An engine exported with float32 inputs and outputs, seen as an int16 one."""

    def __init__(self, engine: Engine, program: Program) -> None:
        self.name, self._engine = f"{engine.name}, float edges", engine
        self._in = {n: float(program.tensors[n].scale) for n in program.inputs}
        self._out = {n: float(program.tensors[t].scale) for n, t in program.outputs.items()}

    def step(self, inputs: Values, states: Values) -> tuple[Values, Values]:
        floats: Any = {n: (v * self._in[n]).astype(np.float32) for n, v in inputs.items()}
        outputs, following = self._engine.step(floats, states)
        return {
            n: (v.astype(np.float64) / self._out[n]).astype(np.int16) for n, v in outputs.items()
        }, following


def verify_folder(
    folder: Path,
    steps: int = STEPS,
    seed: int = 0,
    progress: Progress | None = None,
    sample: list[dict[str, NDArray[np.float32]]] | None = None,
    native: bool = False,
) -> Verification:
    """Verify an exported folder: every file in it whose engine is installed.

    sample: float sequences to use beside the random streams; by default those of the folder.
    native: also the library of `edgernn build`, which runs its code: for a folder of your own.
    FileFormatError if the folder holds no sound program.
    """
    if not (folder / "model.safetensors").is_file():
        raise FileFormatError(
            f"{folder} holds no model.safetensors; write one with `edgernn export --int8`"
        )
    options = export_options(folder)
    program = load_any(folder / "model.safetensors")
    if sample is None:
        names = [t.name for t in program.inputs] if isinstance(program, Window) else program.inputs
        sample = read_sample(folder / SAMPLE, names)
    if isinstance(program, Window):
        from edgernn.window_folder import verify_window_folder

        return verify_window_folder(folder, program, options, sample, steps, seed, progress)
    engines: list[tuple[Engine, Path | None]] = [(PlainEngine(program), None)]
    loaded, skipped = loaded_files(folder, lambda suffix, path: load_engine(suffix, path, program))
    for path, engine in loaded:
        engines.append((FloatEdges(engine, program) if options["float_io"] else engine, path))
    if (folder / C_FOLDER).is_dir():
        try:
            engines += [(engine, None) for engine in _c_engines(folder, program, options)]
        except MissingExtraError as error:
            skipped.append(Row("c", note=str(error)))
    library = library_path(folder / "model.safetensors")
    if native:
        from edgernn.engines.native import LibraryEngine

        engines.append((LibraryEngine(library, program), None))
    elif library.is_file():
        skipped.append(Row("native", note=f"{library.name} runs code: --native compares it too"))
    streams = verification_streams(program, sample, steps, seed)
    result = verify(program, engines, streams, options, progress)
    result.rows += skipped
    if (windowed := folder / "model.window.tflite").is_file():
        result.rows.append(_windows_row(windowed, program, sample, steps, seed))
    floats = folder / FLOAT_FILE
    if not sample:
        result.distance_note = f"no {SAMPLE} to measure the distance from float on"
    elif not floats.is_file():
        result.distance_note = f"no {FLOAT_FILE} to measure the distance from float with"
    else:
        graph = float_model_of(program, floats).graph
        result.distance = measure_distance(program, graph, sample, steps)
    return result


def _windows_row(
    path: Path,
    program: Program,
    sample: list[dict[str, NDArray[np.float32]]],
    steps: int,
    seed: int,
) -> Row:
    """The whole windows of a program that streams, against its steps."""
    from edgernn.window_folder import load_window_engine
    from edgernn.window_verify import verification_windows, verify_window

    window = window_of(program)
    try:
        engine = load_window_engine("tflite", path, window)
    except MissingExtraError as error:
        return Row(path.name, note=str(error))
    given = verification_windows(window, sample, steps, seed, engine.steps)
    row = verify_window(window, [engine], {engine.steps: given}).rows[-1]
    row.engine = f"{row.engine}, windows"
    return row


def _c_engines(folder: Path, program: Program, options: Mapping[str, Any]) -> list[Engine]:
    """The exported C, compiled here: plain, and with the kernels of this processor.

    A file from outside must not run, not even compiled first: what is compiled is what the program
    exports to, and the folder must hold exactly that. The example is the user's to change.
    """
    from edgernn.engines.native import PORTABLE, CEngine
    from edgernn.exporters.c import to_c
    from edgernn.native.compiler import Compiler

    files = to_c(program, c_name(folder, options))
    require_same_c(folder, files)
    engines: list[Engine] = [CEngine(program, files, PORTABLE)]
    native = CEngine(program, files, Compiler().native_flags())
    if native.kernels != "portable":
        engines.append(native)
    return engines


def loaded_files(
    folder: Path, load: Callable[[str, Path], Loaded]
) -> tuple[list[tuple[Path, Loaded]], list[Row]]:
    """What `load` makes of a folder's .tflite and .onnx, and a row for each that is not there or
    whose package is not."""
    loaded: list[tuple[Path, Loaded]] = []
    skipped: list[Row] = []
    for suffix in ("tflite", "onnx"):
        path = folder / f"model.{suffix}"
        if not path.is_file():
            skipped.append(Row(suffix, note=f"no {path.name} in this folder"))
            continue
        try:
            loaded.append((path, load(suffix, path)))
        except MissingExtraError as error:
            skipped.append(Row(suffix, note=str(error)))
    return loaded, skipped


def c_name(folder: Path, options: Mapping[str, Any]) -> str:
    """The name of the C model in a folder; FileFormatError if its report has none."""
    name = options.get("c_name")
    if not isinstance(name, str):
        raise FileFormatError(f"{folder} does not say how its C was named; export it again")
    return name


def require_same_c(folder: Path, files: Mapping[str, bytes]) -> None:
    """FileFormatError unless the folder holds these C files, examples left aside."""
    for file, content in files.items():
        path = folder / C_FOLDER / file
        if path.suffix not in (".c", ".h") or "example" in file:
            continue
        if not path.is_file() or path.read_bytes() != content:
            raise FileFormatError(
                f"{path} is missing, changed or of another version of edgernn: it is not what "
                "this program exports to; export it again"
            )


def export_options(folder: Path) -> dict[str, Any]:
    """The export options that report.json records; every file must be the one it records.

    The runtimes behind the engines do not check what they load. Of C, `_c_engines` takes care.
    """
    from edgernn.exporters.tflite import PRODUCTS

    options: dict[str, Any] = {"float_io": False, "tflite_op": "conv_2d"}
    path = folder / "report.json"
    if not path.is_file():
        return options
    try:
        report = json.loads(path.read_text())
        options |= {key: report["options"][key] for key in options}
        options["c_name"] = report["options"].get("c_name")
        recorded = {str(name): str(digest) for name, digest in report["sha256"].items()}
        sound = type(options["float_io"]) is bool and options["tflite_op"] in PRODUCTS
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        sound = False
    if not sound:
        raise FileFormatError(f"{path} is damaged; export the program again")
    for name, digest in recorded.items():
        file = folder / Path(name).name
        if (
            "/" not in name
            and file.is_file()
            and hashlib.sha256(file.read_bytes()).hexdigest() != digest
        ):
            raise FileFormatError(
                f"{file} is damaged or another one: its checksum is not that of {path.name}; "
                "export the program again"
            )
    return options
