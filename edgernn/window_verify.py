"""Verification of window programs: whole windows through every engine, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from edgernn.progress import Progress
from edgernn.runtime.engine import quantize
from edgernn.runtime.operators import evaluate_step
from edgernn.runtime.window import Source, Stage, Window
from edgernn.runtime.window_runtime import WindowRuntime
from edgernn.streams import random_streams
from edgernn.verify import Row, Verification

Int16Array = NDArray[np.int16]
Values = Mapping[str, Int16Array]
LONGEST: Final = 64
"""Steps of a random window, where the engine takes any length."""


class WindowEngine(Protocol):
    """What an engine under test offers."""

    @property
    def name(self) -> str:
        """For the table of results."""

    @property
    def steps(self) -> int | None:
        """The only length of a window that it takes; None for any."""

    def run(self, inputs: Values) -> Values:
        """Inputs (T, F) int16 by name -> outputs by name, (T, O) or (O,) int16."""


class PlainWindowEngine:
    """The operators of every stage one by one in int64, as their rules are written."""

    steps = None

    def __init__(self, window: Window) -> None:
        self.name = f"operators, NumPy {np.__version__}"
        self._window = window

    def run(self, inputs: Values) -> Values:
        values: dict[str, Int16Array] = dict(inputs)
        for stage in self._window.stages:
            values.update(_plain_stage(stage, values))
        return {name: _picked(values, source) for name, source in self._window.outputs.items()}


def _picked(values: Values, source: Source) -> Int16Array:
    value = values[source.value]
    picked: Int16Array = value if source.at == "step" else value[0 if source.at == "first" else -1]
    return picked


def _plain_stage(stage: Stage, values: Values) -> dict[str, Int16Array]:
    program = stage.program
    inputs = {name: _picked(values, source) for name, source in stage.sources.items()}
    if stage.direction == "once":
        inputs = {name: value[None] for name, value in inputs.items()}
    length = len(next(iter(inputs.values())))
    states = {s.name: s.initial.astype(np.int64) for s in program.states}
    results = {
        name: np.empty((length, program.tensors[tensor].size), np.int16)
        for name, tensor in program.outputs.items()
    }
    for t in reversed(range(length)) if stage.direction == "reverse" else range(length):
        now = {name: value[t].astype(np.int64) for name, value in inputs.items()}
        step = evaluate_step(program, now, states)
        states = {s.name: step[s.output] for s in program.states}
        for name, tensor in program.outputs.items():
            results[name][t] = step[tensor]
    if stage.direction == "once":
        return {name: value[0] for name, value in results.items()}
    return results


@dataclass(frozen=True, eq=False)
class GivenWindow:
    """A window to compare on: input name -> (T, F) int16."""

    name: str
    inputs: Values


def verification_windows(
    window: Window,
    sample: Sequence[Mapping[str, NDArray[np.float32]]],
    steps: int,
    seed: int,
    length: int | None = None,
) -> list[GivenWindow]:
    """Windows of `steps` steps in all: up to half of the sample, the others random.

    length: the only one allowed; else random windows have 1 to LONGEST steps.
    """
    result: list[GivenWindow] = []
    for sequence in sample:
        cut = {t.name: quantize(sequence[t.name], t) for t in window.inputs}
        whole = len(next(iter(cut.values())))
        if sum(map(_steps, result)) + whole > steps // 2:
            break
        if length in (None, whole):
            result.append(GivenWindow(f"calibration window {len(result)}", cut))
    rng = np.random.default_rng(seed)
    streams = _random_inputs(window, seed)
    while (done := sum(map(_steps, result))) < steps:
        count = length or min(int(rng.integers(1, LONGEST + 1)), steps - done)
        name, inputs = next(streams)
        repeats = -(-count // LONGEST)
        result.append(
            GivenWindow(name, {k: np.tile(v, (repeats, 1))[:count] for k, v in inputs.items()})
        )
    return result


def _random_inputs(window: Window, seed: int) -> Iterator[tuple[str, Values]]:
    """Endless windows of LONGEST steps: noise, small noise, walks; masks are 0 or 1."""
    while True:
        for stream in random_streams(window.inputs, 3 * LONGEST, seed):
            yield stream.name, stream.inputs
        seed += 1


def _steps(window: GivenWindow) -> int:
    return len(next(iter(window.inputs.values())))


def verify_window(
    window: Window,
    engines: Sequence[WindowEngine],
    windows: Mapping[int | None, Sequence[GivenWindow]],
    progress: Progress | None = None,
) -> Verification:
    """Every engine against the NumPy engine. windows: by the length that engines take."""
    runtime = WindowRuntime(window)
    steps = max(sum(map(_steps, group)) for group in windows.values())
    reference = Row(f"numpy {np.__version__}", note="reference")
    result = Verification(steps, [reference], how="in whole windows")
    total, done = steps * len(engines), 0
    for engine in engines:
        row = Row(engine.name)
        for given in windows[engine.steps]:
            found = runtime.run_int(*(given.inputs[t.name] for t in window.inputs))
            wanted = found if isinstance(found, tuple) else (found,)
            got = engine.run(given.inputs)
            for name, right in zip(window.outputs, wanted, strict=True):
                _compare(row, f"{given.name}, ", name, got[name], right)
            done += _steps(given)
            if progress:
                progress(min(done, total), total)
        result.rows.append(row)
        reference.compared = max(reference.compared, row.compared)
    return result


def _compare(row: Row, where: str, name: str, got: Int16Array, right: Int16Array) -> None:
    row.compared += right.size
    differing = got != right
    count = int(np.count_nonzero(differing))
    row.differing += count
    if count and not row.first:
        place = f"step {int(np.argwhere(differing)[0][0])}, " if right.ndim == 2 else ""
        row.first = f"{where}{place}{name}"
