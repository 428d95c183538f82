"""Does every engine compute the same? Asked before any is timed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgernn.bench.engines import KINDS
from edgernn.bench.prepare import Model, Prepared
from edgernn.float_engine import run_float
from edgernn.runtime.program import Program
from edgernn.runtime.window import Window
from edgernn.verify import PlainEngine
from edgernn.window_verify import PlainWindowEngine

STEPS: Final = 256
"""Closed loop, for engines of the integer program."""
FLOAT_STEPS: Final = 64
WINDOWS: Final = 8
TOLERANCE: Final = 1e-3
"""Of the largest value: what float32 sums in another order may differ by in a closed loop."""


@dataclass(frozen=True)
class Agreement:
    """compared, differing: values. error: the largest, as a part of the largest value; of engines
    of the integer program 0 or more than that. wrong: why the engine is not to be timed."""

    compared: int
    differing: int
    error: float
    wrong: str | None = None


class References:
    """What is right: the operators one by one, and the float engine."""

    def __init__(self, prepared: Prepared) -> None:
        self._job = prepared.job
        windows = prepared.job.window is not None
        self.counts = (WINDOWS, WINDOWS) if windows else (STEPS, FLOAT_STEPS)
        self._exact = self._integers(prepared.model)
        self._float = self._floats(prepared.model)

    def compare(self, engine: str, found: Sequence[NDArray[Any]]) -> Agreement:
        """found: what `Worker.check` gave for `count(engine)` items."""
        if KINDS[engine].exact:
            return _bits(found, self._exact)
        return _close(found, self._float, loose=engine == "torch-int8")

    def count(self, engine: str) -> int:
        """How many items of the stream are compared."""
        length = len(self._job.stream("int")[self._job.inputs[0]])
        return min(length, self.counts[0 if KINDS[engine].exact else 1])

    def _integers(self, model: Model) -> list[NDArray[Any]]:
        job, program = self._job, model.program
        stream = {n: v[: self.counts[0]] for n, v in job.stream("int").items()}
        items = [dict(zip(stream, values, strict=True)) for values in _rows(stream)]
        series: list[list[NDArray[Any]]] = []
        if isinstance(program, Window):
            whole = PlainWindowEngine(program)
            series = [[whole.run(item)[name] for name in job.outputs] for item in items]
        else:
            series = _stepped(program, items)
        return [np.stack(list(v)) for v in zip(*series, strict=True)]

    def _floats(self, model: Model) -> list[NDArray[Any]]:
        job, graph = self._job, model.graph
        if graph is None:
            return []
        stream = {n: v[: self.counts[1]] for n, v in job.stream("float").items()}
        if job.window is None:
            outputs, _ = run_float(graph, {n: v[None] for n, v in stream.items()})
            return [outputs[name][0] for name in job.outputs]
        outputs, _ = run_float(graph, stream)
        return [outputs[n][:, -1] if n in job.last else outputs[n] for n in job.outputs]


def _rows(stream: dict[str, NDArray[Any]]) -> list[tuple[NDArray[Any], ...]]:
    return list(zip(*stream.values(), strict=True))


def _stepped(program: Program, items: list[dict[str, NDArray[Any]]]) -> list[list[NDArray[Any]]]:
    engine = PlainEngine(program)
    states = {s.name: s.initial for s in program.states}
    series = []
    for item in items:
        outputs, following = engine.step(item, states)
        states = dict(following)
        series.append([outputs[name] for name in program.outputs])
    return series


def _bits(found: Sequence[NDArray[Any]], right: Sequence[NDArray[Any]]) -> Agreement:
    compared = sum(v.size for v in right)
    if [v.shape for v in found] != [v.shape for v in right]:
        return Agreement(compared, compared, 1.0, "its outputs have other shapes")
    differing = sum(int(np.count_nonzero(a != b)) for a, b in zip(found, right, strict=True))
    if not differing:
        return Agreement(compared, 0, 0.0)
    wrong = f"{differing} of {compared} values differ from the program's operators"
    return Agreement(compared, differing, _error(found, right), f"{wrong}; run `edgernn verify`")


def _close(
    found: Sequence[NDArray[Any]], right: Sequence[NDArray[Any]], *, loose: bool
) -> Agreement:
    compared = sum(v.size for v in right)
    if [v.shape for v in found] != [v.shape for v in right]:
        return Agreement(compared, compared, 1.0, "its outputs have other shapes")
    error = _error(found, right)
    differing = sum(int(np.count_nonzero(a != b)) for a, b in zip(found, right, strict=True))
    # PyTorch's int8 computes something else by design: it has only to compute something.
    if not np.isfinite(error) or (error > TOLERANCE and not loose):
        wrong = f"it is off the float reference by {error:.2g} of the largest value"
        return Agreement(compared, differing, error, wrong)
    return Agreement(compared, differing, error)


def _error(found: Sequence[NDArray[Any]], right: Sequence[NDArray[Any]]) -> float:
    pairs = list(zip(found, right, strict=True))
    largest = max(float(np.abs(b.astype(np.float64)).max()) for _, b in pairs)
    error = max(float(np.abs(a.astype(np.float64) - b).max()) for a, b in pairs)
    return error / largest if largest else error
