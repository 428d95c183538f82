"""What every tensor of a program holds on data: range, saturation, and its error against float."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from edgernn.attribution.meaning import Float64Array, Meaning
from edgernn.attribution.measure import decibels, excerpt
from edgernn.attribution.sources import Source, sources_of, stages_of
from edgernn.attribution.trace import Moment, Sequence_, trace
from edgernn.progress import Progress
from edgernn.runtime.fixedpoint import INT16_MAX, INT16_MIN
from edgernn.runtime.program import Program
from edgernn.runtime.window import Window

STEPS: Final = 4_000
BEYOND: Final = 32768.0 * 1.001
"""A sigmoid at its end is 32768 units and loses nothing at 32767."""


@dataclass(frozen=True)
class TensorStatistics:
    """A tensor of a stage, on data.

    low, high: of its values, in its unit. used: the largest magnitude as a share of what int16
    reaches at this scale. saturated: values at the rails, of count; clipped: those among them that
    lie beyond the rails in the float network. rms: root mean square error against float, in its
    unit; snr_db: signal to error, None without one of them.
    """

    name: str
    stage: int
    layer: str
    size: int
    scale: str
    low: float
    high: float
    used: float
    saturated: int
    count: int
    clipped: int
    rms: float
    snr_db: float | None


@dataclass
class _Sums:
    low: float = np.inf
    high: float = -np.inf
    saturated: int = 0
    clipped: int = 0
    count: int = 0
    signal: float = 0.0
    error: float = 0.0

    def add(self, values: Float64Array, first: bool) -> None:
        real, ints = values
        self.low, self.high = min(self.low, float(ints.min())), max(self.high, float(ints.max()))
        rails = (ints >= INT16_MAX) | (ints <= INT16_MIN)
        self.saturated += int(np.count_nonzero(rails))
        if not first:
            self.clipped += int(np.count_nonzero(rails & (np.abs(real) > BEYOND)))
        self.count += ints.size
        self.signal += float(np.vdot(real, real))
        self.error += float(np.sum(np.square(ints - real)))


def statistics(
    program: Program | Window,
    meanings: Sequence[Meaning],
    sequences: Sequence[Sequence_],
    progress: Progress | None = None,
) -> list[TensorStatistics]:
    """Of every tensor, in execution order, on up to 4,000 steps of float data.

    The integer program and the float network run side by side, each with its own state.
    """
    given = excerpt(sequences, STEPS, isinstance(program, Window))
    runs = [frozenset[Source](), frozenset(sources_of(program, meanings))]
    stages = stages_of(program)
    sums = [{name: _Sums() for name in stage.tensors} for stage in stages]
    total = sum(len(next(iter(s.values()))) for s in given) * len(stages)
    # A maximum starts at the least there is: what the first step then holds is not clipped.
    low = [any((s.initial == INT16_MIN).any() for s in stage.states) for stage in stages]
    done = 0
    for moment in trace(program, meanings, runs, given):
        first = low[moment.stage] and _is_first(program, moment)
        for name, own in sums[moment.stage].items():
            if name in moment.values:
                own.add(_valid(moment, name), first)
        done += int(np.count_nonzero(moment.valid))
        if progress:
            progress(min(done, total), total)
    found = []
    for number, (stage, meaning) in enumerate(zip(stages, meanings, strict=True)):
        layers = {n: meaning.layers.get(op.name, "") for op in stage.operators for n in op.outputs}
        for name, own in sums[number].items():
            if not own.count:
                continue
            tensor = stage.tensors[name]
            unit = float(tensor.scale)
            found.append(
                TensorStatistics(
                    name=name,
                    stage=number,
                    layer=layers.get(name, ""),
                    size=tensor.size,
                    scale=str(tensor.scale),
                    low=own.low * unit,
                    high=own.high * unit,
                    used=min(max(abs(own.low), abs(own.high)) / INT16_MAX, 1.0),
                    saturated=own.saturated,
                    count=own.count,
                    clipped=own.clipped,
                    rms=float(np.sqrt(own.error / own.count)) * unit,
                    snr_db=decibels(own.signal, own.error),
                )
            )
    return found


def _is_first(program: Program | Window, moment: Moment) -> bool:
    """Is this the first step that a stage computes?"""
    if isinstance(program, Window) and program.stages[moment.stage].direction == "reverse":
        return moment.last
    return moment.step == 0


def _valid(moment: Moment, name: str) -> Float64Array:
    values = moment.values[name]
    # A constant has one stream, which stands for all.
    return values if values.shape[1] != len(moment.valid) else values[:, moment.valid]
