"""How far the integer program is from the float model: on the same data, step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from edgernn.graph import FloatArray
from edgernn.runtime.engine import StepRuntime, quantize
from edgernn.runtime.program import Program
from edgernn.runtime.window import Window
from edgernn.runtime.window_runtime import WindowRuntime

if TYPE_CHECKING:
    from edgernn.engines.onnx import FloatOnnx

DECADES: Final = (10, 100, 1_000, 10_000, 100_000)


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
    program: Program,
    float_model: Path,
    sample: list[dict[str, FloatArray]],
    max_steps: int,
) -> Distance:
    """Run program and float model side by side, each with its own state.

    float_model: a file of `edgernn.float_onnx`. MissingExtraError without ONNX Runtime.
    """
    from edgernn.engines.onnx import FloatOnnx

    model = FloatOnnx(float_model)
    runtime, first = StepRuntime(program), program.inputs[0]
    scales = {n: float(program.tensors[t].scale) for n, t in program.outputs.items()}
    scales |= {
        f"state_{s.name}_next": float(program.tensors[s.output].scale) for s in program.states
    }
    totals = {name: _Sums() for name in scales}
    decades: dict[str, dict[int, _Sums]] = {name: {} for name in scales}
    pairs = _Pairs(program, model, runtime)
    steps = sequences = 0
    for sequence in sample:
        length = min(len(next(iter(sequence.values()))), max_steps - steps)
        if length <= 0:
            break
        pairs.reset()
        for t in range(length):
            for name, (real, ints) in pairs.step({n: v[t] for n, v in sequence.items()}).items():
                totals[name].add(real, ints, scales[name])
        steps, sequences = steps + length, sequences + 1
    pairs.reset()
    stream = ({n: v[t] for n, v in s.items()} for s in sample for t in range(len(s[first])))
    for t, inputs in enumerate(islice(stream, max_steps)):
        decade = next((d for d in DECADES if t < d), DECADES[-1])
        for name, (real, ints) in pairs.step(inputs).items():
            decades[name].setdefault(decade, _Sums()).add(real, ints, scales[name])
    return Distance(steps, sequences, [_summary(n, totals[n], decades[n]) for n in scales])


def measure_window_distance(
    window: Window,
    float_model: Path,
    sample: Sequence[Mapping[str, FloatArray]],
    max_steps: int,
) -> Distance:
    """Outputs against those of the float model, window by window; at least one window.

    float_model: a file of `edgernn.float_onnx`. MissingExtraError without ONNX Runtime.
    """
    from edgernn.engines.onnx import FloatOnnx

    model, runtime, tensors = FloatOnnx(float_model), WindowRuntime(window), window.tensors()
    axis = 0 if window.metadata.get("batch_first", True) else 1
    totals = {name: _Sums() for name in window.outputs}
    steps = sequences = 0
    for sequence in sample:
        length = len(next(iter(sequence.values())))
        if sequences and steps + length > max_steps:
            break
        real = model.run({n: np.expand_dims(v, axis) for n, v in sequence.items()}, {})
        found = runtime.run_int(*(quantize(sequence[t.name], t) for t in window.inputs))
        listed = found if isinstance(found, tuple) else (found,)
        for (name, source), ints in zip(window.outputs.items(), listed, strict=True):
            scale = float(tensors[source.value].scale)
            totals[name].add(real[name].reshape(-1).astype(np.float64), ints.reshape(-1), scale)
        steps, sequences = steps + length, sequences + 1
    return Distance(steps, sequences, [_summary(n, sums, {}) for n, sums in totals.items()])


class _Pairs:
    """Program and float model side by side, each fed its own state."""

    def __init__(self, program: Program, model: FloatOnnx, runtime: StepRuntime) -> None:
        self._program, self._model, self._runtime = program, model, runtime
        self.reset()

    def reset(self) -> None:
        """Both back to the initial state."""
        self._runtime.reset()
        self._states = {
            s.name: (s.initial * float(self._program.tensors[s.input].scale)).astype(np.float32)[
                None
            ]
            for s in self._program.states
        }

    def step(
        self, inputs: Mapping[str, FloatArray]
    ) -> dict[str, tuple[NDArray[np.float64], NDArray[np.int16]]]:
        """Float and integer value (size,) of every output and next state."""
        real = self._model.run({n: v[None, None] for n, v in inputs.items()}, self._states)
        self._states = {s.name: real[f"state_{s.name}_next"] for s in self._program.states}
        ints = _step(self._runtime, inputs)
        return {n: (real[n].reshape(-1).astype(np.float64), v) for n, v in ints.items()}


def _step(
    runtime: StepRuntime, inputs: Mapping[str, NDArray[np.float32]]
) -> dict[str, NDArray[np.int16]]:
    program = runtime.program
    y = runtime.step_int(*(quantize(inputs[n], program.tensors[n]) for n in program.inputs))
    values = dict(zip(program.outputs, y if isinstance(y, tuple) else (y,), strict=True))
    return values | {f"state_{n}_next": v for n, v in runtime.state.items()}


def _summary(name: str, sums: _Sums, decades: dict[int, _Sums]) -> TensorDistance:
    # A program without error, or without signal, has no ratio: report the ends of a wide scale.
    ratio = sums.signal / sums.error if sums.error and sums.signal else 1e12 if sums.signal else 1.0
    growth = {d: float(np.sqrt(s.error / s.count)) for d, s in sorted(decades.items())}
    return TensorDistance(
        name, round(10.0 * float(np.log10(ratio)), 2), sums.largest, growth, sums.saturated
    )
