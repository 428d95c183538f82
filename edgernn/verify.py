"""Verification: every engine found, bit for bit, closed loop, against the NumPy engine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from edgernn.distance import Distance, measure_distance
from edgernn.progress import Progress
from edgernn.runtime.engine import StepRuntime
from edgernn.runtime.errors import EdgernnError, FileFormatError, MismatchError, MissingExtraError
from edgernn.runtime.file import load_program
from edgernn.runtime.operators import evaluate_step
from edgernn.runtime.program import Program
from edgernn.streams import Int16Array, Stream, data_streams, random_streams

STEPS: Final = 10_000
SAMPLE: Final = "model.sample.npz"

Values = Mapping[str, NDArray[np.int16]]


class Engine(Protocol):
    """What an engine under test offers."""

    name: str

    def step(self, inputs: Values, states: Values) -> tuple[Values, Values]:
        """(outputs, next states) of one step; arrays (size,) int16 by name."""


@dataclass
class Row:
    """One engine's result. `first`: where the first difference is, in words; `note`: why the
    engine was not compared, if it was not."""

    engine: str
    compared: int = 0
    differing: int = 0
    first: str = ""
    note: str = ""


@dataclass
class Verification:
    """What a verification found; `ok` if at least the engines compared agree in every bit."""

    steps: int
    rows: list[Row] = field(default_factory=list)
    distance: Distance | None = None
    distance_note: str = ""

    @property
    def ok(self) -> bool:
        """No differing value."""
        return not any(row.differing for row in self.rows)

    def as_json(self) -> dict[str, Any]:
        """For report.json and machines."""
        return {"ok": self.ok, **asdict(self)}


class PlainEngine:
    """The operators one by one in int64, as their rules are written."""

    def __init__(self, program: Program) -> None:
        self.name = f"operators, NumPy {np.__version__}"
        self._program = program

    def step(self, inputs: Values, states: Values) -> tuple[Values, Values]:
        wide = [{k: v.astype(np.int64) for k, v in group.items()} for group in (inputs, states)]
        values = evaluate_step(self._program, *wide)
        outputs = {k: values[v].astype(np.int16) for k, v in self._program.outputs.items()}
        return outputs, {s.name: values[s.output].astype(np.int16) for s in self._program.states}


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
) -> Verification:
    """Verify an exported folder: every file in it whose engine is installed.

    sample: float sequences to use beside the random streams; by default those of the folder.
    FileFormatError if the folder holds no sound program.
    """
    if not (folder / "model.safetensors").is_file():
        raise FileFormatError(
            f"{folder} holds no model.safetensors; write one with `edgernn export --int8`"
        )
    options = _options(folder)
    program = load_program(folder / "model.safetensors")
    if sample is None:
        sample = read_sample(folder / SAMPLE, program)
    engines: list[tuple[Engine, Path | None]] = [(PlainEngine(program), None)]
    skipped: list[Row] = []
    for suffix in ("tflite", "onnx"):
        path = folder / f"model.{suffix}"
        if not path.is_file():
            skipped.append(Row(suffix, note=f"no {path.name} in this folder"))
            continue
        try:
            engine = _load(suffix, path, program)
        except MissingExtraError as error:
            skipped.append(Row(suffix, note=str(error)))
            continue
        engines.append((FloatEdges(engine, program) if options["float_io"] else engine, path))
    streams = data_streams(program, sample, steps // 2)
    streams += random_streams(program, steps - sum(s.steps for s in streams), seed)
    result = verify(program, engines, streams, options, progress)
    result.rows += skipped
    floats = folder / "model.float.onnx"
    if not sample:
        result.distance_note = f"no {SAMPLE} to measure the distance from float on"
    elif not floats.is_file():
        result.distance_note = "no model.float.onnx to measure the distance from float with"
    else:
        try:
            result.distance = measure_distance(program, floats, sample, steps)
        except MissingExtraError as error:
            result.distance_note = str(error)
    return result


def verify(
    program: Program,
    engines: Sequence[tuple[Engine, Path | None]],
    streams: Sequence[Stream],
    options: Mapping[str, Any],
    progress: Progress | None = None,
) -> Verification:
    """Drive every engine closed loop (its own state fed back) and compare each step's bits.

    engines: with the file each was loaded from, if any. options: of the export, for finding the
    operator at fault.
    """
    runtime = StepRuntime(program)
    reference = Row(f"numpy {np.__version__}", note="reference")
    result = Verification(sum(s.steps for s in streams), [reference])
    total, done = result.steps * len(engines), 0
    rows = [Row(engine.name) for engine, _ in engines]
    for stream in streams:
        expected = _reference(runtime, stream)
        for row, (engine, path) in zip(rows, engines, strict=True):
            _compare(program, engine, path, stream, expected, options, row)
            done += stream.steps
            if progress:
                progress(done, total)
        reference.compared += sum(v.size for group in expected for v in group.values())
    result.rows += rows
    return result


def require(result: Verification) -> None:
    """MismatchError naming the first difference, unless every bit agrees."""
    for row in result.rows:
        if row.differing:
            raise MismatchError(
                f"{row.engine} differs from the NumPy engine in {row.differing} of "
                f"{row.compared} values, first at {row.first}"
            )


def _reference(
    runtime: StepRuntime, stream: Stream
) -> tuple[dict[str, Int16Array], dict[str, Int16Array]]:
    """Outputs and states after every step, (T, size) each, by name."""
    runtime.reset()
    program = runtime.program
    outputs = {
        n: np.empty((stream.steps, program.tensors[t].size), np.int16)
        for n, t in program.outputs.items()
    }
    states = {s.name: np.empty((stream.steps, len(s.initial)), np.int16) for s in program.states}
    for t in range(stream.steps):
        y = runtime.step_int(*(stream.inputs[n][t] for n in program.inputs))
        for target, value in zip(
            outputs.values(), y if isinstance(y, tuple) else (y,), strict=True
        ):
            target[t] = value
        for name, value in runtime.state.items():
            states[name][t] = value
    return outputs, states


def _compare(
    program: Program,
    engine: Engine,
    path: Path | None,
    stream: Stream,
    expected: tuple[Mapping[str, Int16Array], Mapping[str, Int16Array]],
    options: Mapping[str, Any],
    row: Row,
) -> None:
    states: Values = {s.name: s.initial for s in program.states}
    for t in range(stream.steps):
        inputs = {n: np.ascontiguousarray(v[t]) for n, v in stream.inputs.items()}
        outputs, following = engine.step(inputs, states)
        for got, wanted in zip((outputs, following), expected, strict=True):
            for name, values in wanted.items():
                row.compared += values.shape[1]
                count = int(np.count_nonzero(got[name] != values[t]))
                row.differing += count
                if count and not row.first:
                    where = _operator_at_fault(program, engine, path, inputs, states, options)
                    row.first = f"{stream.name}, step {t}, {name}{where}"
        states = following


def _operator_at_fault(
    program: Program,
    engine: Engine,
    path: Path | None,
    inputs: Values,
    states: Values,
    options: Mapping[str, Any],
) -> str:
    """The first operator whose result differs in this very step, from the same state."""
    if path is None:
        return ""
    names = [name for op in program.operators for name in op.outputs]
    try:
        content = _exposed(path.suffix, program, names, options)
        values, _ = _load(path.suffix[1:], content, program).step(inputs, states)
    except EdgernnError as error:
        return f" (operator not found: {error})"
    wide = [{k: v.astype(np.int64) for k, v in group.items()} for group in (inputs, states)]
    right = evaluate_step(program, *wide)
    for op in program.operators:
        for name in op.outputs:
            if not np.array_equal(values[f"tensor_{name}"], right[name]):
                return f", operator {op.name} ({op.kind})"
    return f"; a fresh export agrees: {path.name} is not this program's file"


def _exposed(
    suffix: str, program: Program, names: Sequence[str], options: Mapping[str, Any]
) -> bytes:
    if suffix == ".tflite":
        from edgernn.exporters.tflite import to_tflite

        return to_tflite(program, product=options["tflite_op"], expose=names)
    from edgernn.exporters.onnx_step import to_onnx

    return to_onnx(program, expose=names)


def _load(suffix: str, content: bytes | Path, program: Program) -> Engine:
    if suffix == "tflite":
        from edgernn.engines.tflite import TFLiteEngine

        return TFLiteEngine(content, program)
    from edgernn.engines.onnx import OnnxEngine

    return OnnxEngine(content, program)


def _options(folder: Path) -> dict[str, Any]:
    """The export options that report.json records; every file must be the one it records.

    The runtimes behind the engines do not check what they load.
    """
    from edgernn.exporters.tflite import PRODUCTS

    options = {"float_io": False, "tflite_op": "conv_2d"}
    path = folder / "report.json"
    if not path.is_file():
        return options
    try:
        report = json.loads(path.read_text())
        options |= {key: report["options"][key] for key in options}
        recorded = {str(name): str(digest) for name, digest in report["sha256"].items()}
        sound = type(options["float_io"]) is bool and options["tflite_op"] in PRODUCTS
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        sound = False
    if not sound:
        raise FileFormatError(f"{path} is damaged; export the program again")
    for name, digest in recorded.items():
        file = folder / Path(name).name
        if file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() != digest:
            raise FileFormatError(
                f"{file} is damaged or another one: its checksum is not that of {path.name}; "
                "export the program again"
            )
    return options


def write_sample(sequences: list[dict[str, NDArray[np.float32]]]) -> bytes:
    """Sequences as .npz content: arrays <input>_<i>."""
    import io

    stream = io.BytesIO()
    arrays = {f"{n}_{i}": v for i, s in enumerate(sequences) for n, v in s.items()}
    np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


def read_sample(path: Path, program: Program) -> list[dict[str, NDArray[np.float32]]]:
    """The sequences of a sample file; none if there is no such file."""
    if not path.is_file():
        return []
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as data:
            count = len(data.files) // len(program.inputs)
            return [{n: data[f"{n}_{i}"] for n in program.inputs} for i in range(count)]
    except Exception as error:
        # A damaged zip raises what zipfile, zlib and numpy please.
        raise FileFormatError(f"{path} is damaged ({type(error).__name__}); export again") from None
