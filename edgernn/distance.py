"""How far the integer program is from the float model: on the same data, step by step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn.runtime.engine import StepRuntime, quantize
from edgernn.runtime.program import Program

DECADES: Final = (10, 100, 1_000, 10_000, 100_000)


@dataclass
class TensorDistance:
    """One output or state against float.

    snr_db: signal power over error power. max_error: largest |error|, in the tensor's unit.
    growth: root mean square error over the steps up to 10, to 100, to 1,000 ... of a sequence.
    saturated: values at the rails of int16.
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

    def add(self, real: NDArray[np.float64], ints: NDArray[np.int16], scale: float) -> None:
        error = real - ints * scale
        self.signal += float(real @ real)
        self.error += float(error @ error)
        self.largest = max(self.largest, float(np.abs(error).max()))
        self.saturated += int(np.count_nonzero((ints == 32767) | (ints == -32768)))


def measure_distance(
    program: Program,
    float_model: Path,
    sample: list[dict[str, NDArray[np.float32]]],
    max_steps: int,
) -> Distance:
    """Run program and float model side by side, each with its own state.

    float_model: a file of `edgernn.float_onnx`. MissingExtraError without ONNX Runtime.
    """
    from edgernn.engines.onnx import FloatOnnx

    model = FloatOnnx(float_model)
    runtime = StepRuntime(program)
    scales = {n: float(program.tensors[t].scale) for n, t in program.outputs.items()}
    scales |= {f"state_{s.name}_next": float(program.tensors[s.output].scale)
               for s in program.states}
    totals = {name: _Sums() for name in scales}
    decades: dict[str, dict[int, tuple[float, int]]] = {name: {} for name in scales}
    steps = sequences = 0
    for sequence in sample:
        length = min(len(next(iter(sequence.values()))), max_steps - steps)
        if length <= 0:
            break
        sequences += 1
        runtime.reset()
        states = {
            s.name: (s.initial * float(program.tensors[s.input].scale)).astype(np.float32)[None]
            for s in program.states
        }
        for t in range(length):
            step = {n: v[t] for n, v in sequence.items()}
            real = model.run({n: v[None, None] for n, v in step.items()}, states)
            states = {s.name: real[f"state_{s.name}_next"] for s in program.states}
            ints = _step(runtime, step)
            decade = next((d for d in DECADES if t < d), DECADES[-1])
            for name, scale in scales.items():
                flat = real[name].reshape(-1).astype(np.float64)
                totals[name].add(flat, ints[name], scale)
                error = flat - ints[name] * scale
                old, count = decades[name].get(decade, (0.0, 0))
                decades[name][decade] = (old + float(error @ error), count + error.size)
        steps += length
    return Distance(steps, sequences, [_summary(n, totals[n], decades[n]) for n in scales])


def _step(
    runtime: StepRuntime, inputs: Mapping[str, NDArray[np.float32]]
) -> dict[str, NDArray[np.int16]]:
    program = runtime.program
    y = runtime.step_int(*(quantize(inputs[n], program.tensors[n]) for n in program.inputs))
    values = dict(zip(program.outputs, y if isinstance(y, tuple) else (y,), strict=True))
    return values | {f"state_{n}_next": v for n, v in runtime.state.items()}


def _summary(name: str, sums: _Sums, decades: dict[int, tuple[float, int]]) -> TensorDistance:
    # A program without error, or without signal, has no ratio: report the ends of a 16-bit scale.
    ratio = sums.signal / sums.error if sums.error and sums.signal else 1e12 if sums.signal else 1.0
    growth = {d: float(np.sqrt(total / count)) for d, (total, count) in sorted(decades.items())}
    return TensorDistance(
        name, round(10.0 * float(np.log10(ratio)), 2), sums.largest, growth, sums.saturated
    )
