"""How far the integer program is from the float model: on the same data, step by step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn.float_engine import run_float
from edgernn.graph import FloatArray, Graph
from edgernn.runtime.engine import StepRuntime, quantize
from edgernn.runtime.program import Program
from edgernn.runtime.window import Window
from edgernn.runtime.window_runtime import WindowRuntime

DECADES: Final = (10, 100, 1_000, 10_000, 100_000)
PIECE: Final = 1024


@dataclass
class TensorDistance:
    """One output or state against float.

    snr_db: signal power over error power. max_error: largest |error|, in the tensor's unit.
    saturated: values at the rails of int16. These three start every sequence anew.
    growth: root mean square error up to step 10, from there to step 100, to 1,000 ..., all
    sequences run through as one stream, without a reset.
    """

    name: str
    snr_db: float
    max_error: float
    growth: dict[int, float]
    saturated: int


@dataclass
class Distance:
    """All outputs and states, and how many steps and sequences they were measured on."""

    steps: int
    sequences: int
    tensors: list[TensorDistance]


@dataclass
class _Sums:
    signal: float = 0.0
    error: float = 0.0
    largest: float = 0.0
    saturated: int = 0
    count: int = 0

    def add(self, real: NDArray[np.float64], ints: NDArray[np.int16], scale: float) -> None:
        error = real - ints * scale
        self.signal += float(real @ real)
        self.error += float(error @ error)
        self.largest = max(self.largest, float(np.abs(error).max()))
        self.count += error.size
        self.saturated += int(np.count_nonzero((ints == 32767) | (ints == -32768)))


def measure_distance(
    program: Program, graph: Graph, sample: Sequence[Mapping[str, FloatArray]], max_steps: int
) -> Distance:
    """Run the program and the float network it was made from side by side, each with its own
    state; at most max_steps steps for each of the two ways."""
    runtime, first = StepRuntime(program), program.inputs[0]
    scales = {n: float(program.tensors[t].scale) for n, t in program.outputs.items()}
    scales |= {
        f"state_{s.name}_next": float(program.tensors[s.output].scale) for s in program.states
    }
    totals = {name: _Sums() for name in scales}
    decades: dict[str, dict[int, _Sums]] = {name: {} for name in scales}
    steps = sequences = 0
    for sequence in sample:
        length = min(len(sequence[first]), max_steps - steps)
        if length <= 0:
            break
        runtime.reset()
        piece = {name: v[:length] for name, v in sequence.items()}
        real, ints = _real(graph, piece, {})[0], _integers(runtime, piece)
        for name, scale in scales.items():
            totals[name].add(real[name].reshape(-1), ints[name].reshape(-1), scale)
        steps, sequences = steps + length, sequences + 1
    runtime.reset()
    states: Mapping[str, FloatArray] = {}
    done = 0
    for piece in _pieces(sample, first, max_steps):
        real, states = _real(graph, piece, states)
        ints = _integers(runtime, piece)
        for begin, end, decade in _by_decade(done, len(piece[first])):
            for name, scale in scales.items():
                sums = decades[name].setdefault(decade, _Sums())
                sums.add(
                    real[name][begin:end].reshape(-1), ints[name][begin:end].reshape(-1), scale
                )
        done += len(piece[first])
    return Distance(steps, sequences, [_summary(n, totals[n], decades[n]) for n in scales])


def measure_window_distance(
    window: Window, graph: Graph, sample: Sequence[Mapping[str, FloatArray]], max_steps: int
) -> Distance:
    """Outputs against those of the float network, window by window; at least one window."""
    runtime, tensors = WindowRuntime(window), window.tensors()
    once = {output.name for output in graph.outputs if output.last}
    totals = {name: _Sums() for name in window.outputs}
    steps = sequences = 0
    for sequence in sample:
        length = len(next(iter(sequence.values())))
        if sequences and steps + length > max_steps:
            break
        real, _ = run_float(graph, {n: v[None] for n, v in sequence.items()})
        found = runtime.run_int(*(quantize(sequence[t.name], t) for t in window.inputs))
        listed = found if isinstance(found, tuple) else (found,)
        for (name, source), ints in zip(window.outputs.items(), listed, strict=True):
            scale = float(tensors[source.value].scale)
            values = real[name][0, -1:] if name in once else real[name][0]
            totals[name].add(values.reshape(-1).astype(np.float64), ints.reshape(-1), scale)
        steps, sequences = steps + length, sequences + 1
    return Distance(steps, sequences, [_summary(n, sums, {}) for n, sums in totals.items()])


def _pieces(
    sample: Sequence[Mapping[str, FloatArray]], first: str, max_steps: int
) -> Iterator[dict[str, FloatArray]]:
    """The sequences one after the other, in pieces that do not take much memory."""
    left = max_steps
    for sequence in sample:
        for begin in range(0, len(sequence[first]), PIECE):
            if left <= 0:
                return
            piece = {n: v[begin : min(begin + PIECE, begin + left)] for n, v in sequence.items()}
            left -= len(piece[first])
            yield piece


def _by_decade(done: int, length: int) -> Iterator[tuple[int, int, int]]:
    """The steps from `done` on, cut where a decade ends: begin, end, and the decade's last step."""
    begin = 0
    while begin < length:
        decade = next((d for d in DECADES if done + begin < d), DECADES[-1])
        last = decade - done if done + begin < decade else length
        yield begin, min(last, length), decade
        begin = min(last, length)


def _real(
    graph: Graph, inputs: Mapping[str, FloatArray], states: Mapping[str, FloatArray]
) -> tuple[dict[str, NDArray[np.float64]], Mapping[str, FloatArray]]:
    """Every output and next state (T, size) of the float network, and its states at the end."""
    followed = {state.value for state in graph.states}
    traced: dict[str, list[FloatArray]] = {value: [] for value in followed}

    def observe(name: str, value: FloatArray) -> None:
        if name in followed:
            traced[name].append(value[0].copy())

    batch = {name: np.asarray(v, np.float32)[None] for name, v in inputs.items()}
    outputs, final = run_float(graph, batch, states, observe)
    real = {name: value[0].astype(np.float64) for name, value in outputs.items()}
    for state in graph.states:
        steps = np.concatenate(traced[state.value])
        real[f"state_{state.name}_next"] = steps.astype(np.float64)
    return real, final


def _integers(
    runtime: StepRuntime, inputs: Mapping[str, FloatArray]
) -> dict[str, NDArray[np.int16]]:
    """The same of the program: every output and next state (T, size), from its state on."""
    program = runtime.program
    quantized = [quantize(inputs[n], program.tensors[n]) for n in program.inputs]
    found: dict[str, list[NDArray[np.int16]]] = {}
    for row in zip(*quantized, strict=True):
        y = runtime.step_int(*row)
        values = dict(zip(program.outputs, y if isinstance(y, tuple) else (y,), strict=True))
        values |= {f"state_{n}_next": v for n, v in runtime.state.items()}
        for name, value in values.items():
            found.setdefault(name, []).append(value)
    return {name: np.stack(values) for name, values in found.items()}


def _summary(name: str, sums: _Sums, decades: dict[int, _Sums]) -> TensorDistance:
    # A program without error, or without signal, has no ratio: report the ends of a wide scale.
    ratio = sums.signal / sums.error if sums.error and sums.signal else 1e12 if sums.signal else 1.0
    growth = {d: float(np.sqrt(s.error / s.count)) for d, s in sorted(decades.items())}
    return TensorDistance(
        name, round(10.0 * float(np.log10(ratio)), 2), sums.largest, growth, sums.saturated
    )
