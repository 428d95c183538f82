"""Verification: every engine found, bit for bit, closed loop, against the NumPy engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from edgernn.distance import Distance
from edgernn.progress import Progress
from edgernn.runtime.engine import StepRuntime
from edgernn.runtime.errors import EdgernnError, MismatchError
from edgernn.runtime.operators import evaluate_step
from edgernn.runtime.program import Program
from edgernn.streams import Int16Array, Stream

STEPS: Final = 10_000

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
    """What a verification found; `ok` if at least the engines compared agree in every bit.

    how: what the steps were, in words.
    """

    steps: int
    rows: list[Row] = field(default_factory=list)
    distance: Distance | None = None
    distance_note: str = ""
    how: str = "closed loop, from the initial state and from a random one"

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
    runtime.state = {**runtime.state, **stream.states}
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
    states: Values = {s.name: s.initial for s in program.states} | dict(stream.states)
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
        values, _ = load_engine(path.suffix[1:], content, program).step(inputs, states)
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


def load_engine(suffix: str, content: bytes | Path, program: Program) -> Engine:
    """The engine of a .tflite or .onnx file, or of its content. suffix: "tflite" or "onnx"."""
    if suffix == "tflite":
        from edgernn.engines.tflite import TFLiteEngine

        return TFLiteEngine(content, program)
    from edgernn.engines.onnx import OnnxEngine

    return OnnxEngine(content, program)
