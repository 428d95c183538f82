"""The input streams that a verification drives every engine with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from edgernn.runtime.engine import quantize
from edgernn.runtime.program import Program, Scale, Tensor

Int16Array = NDArray[np.int16]
WHOLE = Scale(1, 0)
"""The scale of what is no quantity: masks and token ids."""


@dataclass(frozen=True, eq=False)
class Stream:
    """Inputs of consecutive steps: input name -> (T, F) int16.

    states: name -> (size,) int16, where they start; those not given, at their initial value.
    """

    name: str
    inputs: Mapping[str, Int16Array]
    states: Mapping[str, Int16Array] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        """Number of time steps."""
        return len(next(iter(self.inputs.values())))


def random_streams(inputs: Sequence[Tensor], steps: int, seed: int) -> list[Stream]:
    """Full-range noise, small noise, and a slow walk that dwells at the rails; `steps` in all.

    Masks and token ids are mostly small integers, sometimes none that they should be.
    """
    rng = np.random.default_rng(seed)
    counts = [steps - 2 * (steps // 3), steps // 3, steps // 3]

    def noise(count: int, size: int) -> Int16Array:
        return rng.integers(-32768, 32768, (count, size)).astype(np.int16)

    def small(count: int, size: int) -> Int16Array:
        return rng.integers(-256, 257, (count, size)).astype(np.int16)

    def walk(count: int, size: int) -> Int16Array:
        moves = rng.integers(-4096, 4097, (count, size)).cumsum(axis=0)
        walked: Int16Array = np.clip(moves, -32768, 32767).astype(np.int16)
        return walked

    def marks(count: int, size: int) -> Int16Array:
        # Of every magnitude alike, so that a table of any size gets ids within it and beyond.
        bits = rng.integers(2, 16, (count, size))
        most = np.where(rng.random((count, size)) < 0.5, 2, 1 << bits)
        values = rng.integers(0, 32768, (count, size)) % most
        return np.where(rng.random((count, size)) < 0.04, ~values, values).astype(np.int16)

    makers = {"full-range noise": noise, "small noise": small, "walk to the rails": walk}
    return [
        Stream(name, {t.name: (marks if t.scale == WHOLE else make)(count, t.size) for t in inputs})
        for (name, make), count in zip(makers.items(), counts, strict=True)
        if count
    ]


def data_streams(
    program: Program, sequences: list[dict[str, NDArray[np.float32]]], steps: int
) -> list[Stream]:
    """Float sequences, quantized, at most `steps` steps in all."""
    streams: list[Stream] = []
    for sequence in sequences:
        left = steps - sum(s.steps for s in streams)
        if left <= 0:
            break
        inputs = {n: quantize(sequence[n][:left], program.tensors[n]) for n in program.inputs}
        streams.append(Stream(f"calibration sequence {len(streams)}", inputs))
    return streams


def verification_streams(
    program: Program, sample: list[dict[str, NDArray[np.float32]]], steps: int, seed: int
) -> list[Stream]:
    """Streams of `steps` steps in all: up to half of them of the sample, the others random.

    The last one starts from a random state: some memories never leave their initial one.
    """
    streams = data_streams(program, sample, steps // 2)
    inputs = [program.tensors[name] for name in program.inputs]
    streams += random_streams(inputs, steps - sum(s.steps for s in streams), seed)
    if len(streams) < 2 or not program.states:
        return streams
    rng = np.random.default_rng(seed)
    states = {
        s.name: rng.integers(-32768, 32768, len(s.initial)).astype(np.int16) for s in program.states
    }
    name = f"{streams[-1].name}, from a random state"
    return [*streams[:-1], replace(streams[-1], name=name, states=states)]
