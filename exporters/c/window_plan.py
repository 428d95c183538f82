"""Where the values of a window lie in C, and which of them share memory.

What the caller is given is computed in the caller's array. Of a value that is read at one end of
the window alone there is one row and no sequence. The rest is in the work buffer, from the stage
that writes it to the last one that reads it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from edgernn.exporters.c.scratch import allocate
from edgernn.runtime.window import Stage, Window

ENDS: Final = {"forward": ("first", "last"), "reverse": ("last", "first")}
"""Direction -> where in the window it begins and ends."""


@dataclass(eq=False)
class Array:
    """Rows of int16, one for each step of the window or a single one.

    area: "input" or "output", the caller's of that name, or "buffer". size: of a row. begin, end:
    the first and the last stage that it is needed in.
    """

    area: str
    name: str
    size: int
    every: bool
    begin: int = 0
    end: int = 0


@dataclass(frozen=True)
class Spot:
    """Rows of an array. at: "step", "first" or "last" row; "all" of them; or the "only" one."""

    array: Array
    at: str


@dataclass(frozen=True)
class Move:
    """A copy."""

    source: Spot
    target: Array


@dataclass(frozen=True)
class Run:
    """A stage. reads and writes: in the order of its program's inputs and outputs.

    kept: copies after its first step. returned: copies after its last one.
    """

    stage: Stage
    reads: tuple[Spot, ...]
    writes: tuple[Spot, ...]
    kept: tuple[Move, ...]
    returned: tuple[Move, ...]


@dataclass(frozen=True)
class Plan:
    """What the function of a window does.

    inputs: copies of inputs that are outputs. buffer: the arrays there -> offset; of sequences in
    units of the number of steps, of single rows behind all sequences. A buffer has
    per_step * steps + single elements.
    """

    inputs: tuple[Move, ...]
    runs: tuple[Run, ...]
    buffer: Mapping[Array, int]
    per_step: int
    single: int


def plan(window: Window) -> Plan:
    """Give every value of a valid window its place."""
    return _Planner(window).result()


class _Planner:
    def __init__(self, window: Window) -> None:
        self.window = window
        self.sizes = {name: tensor.size for name, tensor in window.tensors().items()}
        self.read = {(s.value, s.at) for stage in window.stages for s in stage.sources.values()}
        self.outputs: dict[tuple[str, str], list[str]] = defaultdict(list)
        for name, source in window.outputs.items():
            self.outputs[source.value, source.at].append(name)
        self.spots: dict[tuple[str, str], Spot] = {}
        self.buffer: list[Array] = []

    def result(self) -> Plan:
        for tensor in self.window.inputs:
            self._sequence(tensor.name, Array("input", tensor.name, tensor.size, every=True))
        inputs = [m for tensor in self.window.inputs for m in self._returned(tensor.name)]
        runs = [self._run(number, stage) for number, stage in enumerate(self.window.stages)]
        many, per_step = allocate([a for a in self.buffer if a.every])
        one, single = allocate([a for a in self.buffer if not a.every])
        return Plan(tuple(inputs), tuple(runs), many | one, per_step, single)

    def _run(self, number: int, stage: Stage) -> Run:
        sources = [stage.sources[name] for name in stage.program.inputs]
        reads = tuple(self.spots[s.value, s.at] for s in sources)
        for spot in reads:
            spot.array.end = number
        writes: list[Spot] = []
        kept: list[Move] = []
        returned: list[Move] = []
        for value in stage.program.outputs:
            if stage.direction == "once":
                writes.append(self._single(value, "step", number))
            elif self._is_wanted(value, "step"):
                array = self._array(value, "step", number, every=True)
                self._sequence(value, array)
                writes.append(Spot(array, "step"))
            else:
                # Every step writes the same row: what it holds at last is one end of the window.
                begin, end = ENDS[stage.direction]
                writes.append(self._single(value, end, number))
                if self._is_wanted(value, begin):
                    other = self._single(value, begin, number)
                    kept.append(Move(writes[-1], other.array))
            returned += self._returned(value)
        return Run(stage, reads, tuple(writes), tuple(kept), tuple(returned))

    def _is_wanted(self, value: str, at: str) -> bool:
        return (value, at) in self.read or bool(self.outputs[value, at])

    def _array(self, value: str, at: str, number: int, every: bool) -> Array:
        """The caller's, or one in the buffer."""
        names = self.outputs[value, at]
        name = value if at == "step" else f"{value}_{at}"
        area, name = ("output", names[0]) if names else ("buffer", name)
        array = Array(area, name, self.sizes[value], every, number, number)
        if area == "buffer":
            self.buffer.append(array)
        return array

    def _sequence(self, value: str, array: Array) -> None:
        for at in ("step", "first", "last"):
            self.spots[value, at] = Spot(array, at)

    def _single(self, value: str, at: str, number: int) -> Spot:
        spot = Spot(self._array(value, at, number, every=False), "only")
        self.spots[value, at] = spot
        return spot

    def _returned(self, value: str) -> list[Move]:
        """Copies to the outputs that the value was not computed in."""
        moves: list[Move] = []
        for at in ("step", "first", "last"):
            for name in self.outputs[value, at]:
                spot = self.spots[value, at]
                array = spot.array
                if (array.area, array.name) == ("output", name):
                    continue
                every = array.every and at == "step"
                source = Spot(array, "all") if every else spot
                moves.append(Move(source, Array("output", name, array.size, every)))
        return moves
