"""Data through a program or window program in float64, for several runs at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn.attribution.meaning import Float64Array, Meaning
from edgernn.attribution.sources import Run
from edgernn.attribution.stepper import Stepper, Values
from edgernn.runtime.engine import quantize
from edgernn.runtime.program import Program, Tensor
from edgernn.runtime.window import Source, Window

HELD: Final = 1 << 22
"""Numbers of one value that are held at a time, over all runs, streams and steps."""
Sequence_ = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Moment:
    """A step of a stage. values: tensor -> (runs, streams, size), in units of the tensor, which
    must be copied if they are kept. valid: (streams,) bool, which streams have this step. step: of
    the window. last: is it the window's last one?"""

    stage: int
    values: Values
    valid: NDArray[np.bool_]
    step: int
    last: bool


def trace(
    program: Program | Window,
    meanings: Sequence[Meaning],
    runs: Sequence[Run],
    sequences: Sequence[Sequence_],
) -> Iterator[Moment]:
    """Every step of every stage over sequences, input name -> (T, F); each from the start."""
    if isinstance(program, Window):
        yield from _windows(program, meanings, runs, sequences)
        return
    stepper = Stepper(program, meanings[0], runs)
    tensors = [program.tensors[name] for name in program.inputs]
    widest = max(t.size for t in program.tensors.values())
    most = max(1, HELD // 16 // (len(runs) * widest))
    order = sorted(sequences, key=_length, reverse=True)
    for begin in range(0, len(order), most):
        group = order[begin : begin + most]
        lengths = np.array([_length(s) for s in group])
        inputs = [_Input(tensor, runs, group) for tensor in tensors]
        states = stepper.start(len(group))
        for t in range(int(lengths[0])):
            values = stepper.step({x.name: x.at(t) for x in inputs}, states)
            states = stepper.following(values)
            yield Moment(0, values, t < lengths, t, False)


def _length(sequence: Sequence_) -> int:
    return len(next(iter(sequence.values())))


class _Input:
    """An input of several streams, padded to the longest, rounded in the runs where that is on."""

    def __init__(self, tensor: Tensor, runs: Sequence[Run], sequences: Sequence[Sequence_]) -> None:
        self.name = tensor.name
        self._on = np.array(
            [
                any(s.group == "input" and s.tensor == tensor.name for s in run if s.stage == 0)
                for run in runs
            ]
        )
        given = [s[tensor.name] for s in sequences]
        padded = np.zeros((len(given), max(map(len, given)), tensor.size), np.float32)
        for row, values in zip(padded, given, strict=True):
            row[: len(values)] = values
        self._rounded = quantize(padded, tensor).astype(np.float64)
        self._real = padded.astype(np.float64) / float(tensor.scale)

    def at(self, t: int) -> Float64Array:
        """(runs, streams, size)."""
        on = self._on[:, None, None]
        chosen: Float64Array = np.where(on, self._rounded[None, :, t], self._real[None, :, t])
        return chosen

    def whole(self) -> Float64Array:
        """(runs, streams, T, size)."""
        on = self._on[:, None, None, None]
        chosen: Float64Array = np.where(on, self._rounded[None], self._real[None])
        return chosen


def _windows(
    window: Window,
    meanings: Sequence[Meaning],
    runs: Sequence[Run],
    sequences: Sequence[Sequence_],
) -> Iterator[Moment]:
    """Windows of equal length together, stage by stage."""
    steppers = [
        Stepper(stage.program, meaning, runs, number)
        for number, (stage, meaning) in enumerate(zip(window.stages, meanings, strict=True))
    ]
    by_length: dict[int, list[Sequence_]] = {}
    for sequence in sequences:
        by_length.setdefault(_length(sequence), []).append(sequence)
    width = sum(t.size for t in window.tensors().values())
    for length, group in by_length.items():
        most = max(1, 4 * HELD // (len(runs) * length * width))
        for begin in range(0, len(group), most):
            now = group[begin : begin + most]
            values = {t.name: _Input(t, runs, now).whole() for t in window.inputs}
            for number, stepper in enumerate(steppers):
                yield from _stage(window, number, stepper, values, length)


def _stage(
    window: Window, number: int, stepper: Stepper, values: Values, length: int
) -> Iterator[Moment]:
    """One stage over whole windows; its outputs are added to values."""
    stage = window.stages[number]
    program = stage.program
    inputs = {name: _picked(values, source) for name, source in stage.sources.items()}
    if stage.direction == "once":
        inputs = {name: value[:, :, None] for name, value in inputs.items()}
        length = 1
    streams = next(iter(inputs.values())).shape[1]
    results = {
        name: np.empty((stepper.count, streams, length, program.tensors[tensor].size))
        for name, tensor in program.outputs.items()
    }
    states, every = stepper.start(streams), np.ones(streams, np.bool_)
    for t in reversed(range(length)) if stage.direction == "reverse" else range(length):
        step = stepper.step({name: value[:, :, t] for name, value in inputs.items()}, states)
        states = stepper.following(step)
        for name, tensor in program.outputs.items():
            results[name][:, :, t] = step[tensor]
        yield Moment(number, step, every, t, t == length - 1)
    for name, result in results.items():
        values[name] = result[:, :, 0] if stage.direction == "once" else result


def _picked(values: Values, source: Source) -> Float64Array:
    value = values[source.value]
    if source.at == "step":
        return value
    return value[:, :, 0 if source.at == "first" else -1]
