"""The memory of a plan: where tensors lie, scratch, operands, and the list of calls.

What compiles an operator (`arithmetic`, `lookups`, `moves`, `plan`) asks here for the slots of its
inputs and the target of its output, appends calls, and enters a slot for its output.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from operator import setitem
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgernn.runtime import products, tables
from edgernn.runtime.layout import plan_layout
from edgernn.runtime.program import Program
from edgernn.runtime.readers import Readers

Float64Array = NDArray[np.float64]
Call = Callable[[], object]


@dataclass(frozen=True, eq=False)
class Slot:
    """A tensor in memory: its integers are array / unit, or what is noted here.

    wide: not clamped to int16 yet. raised: the integers are floor(array) - 32768. tau: TAU is
    added. positive: no integer is negative. index: the integers + 32768 before they were clamped,
    where a table can still be read at them.
    """

    array: Float64Array
    unit: float = 1.0
    wide: bool = False
    raised: bool = False
    tau: bool = False
    positive: bool = False
    index: NDArray[np.intp] | None = None


class Memory:
    """Buffers for one stream, (size,), or for `batch` streams, (size, batch); allocated once.

    calls: what a step executes, in order. slots: every tensor that is computed by then. homes: of
    what a product reads, its array and where it begins and ends in it.
    """

    def __init__(self, program: Program, batch: int | None) -> None:
        self.batch = batch
        self.program = program
        self.readers = Readers(program)
        self.calls: list[Call] = []
        self.layout = plan_layout(program)
        self.slots: dict[str, Slot] = {}
        self.homes: dict[str, tuple[Float64Array, int, int]] = {}
        self._scratch: dict[tuple[str, int], NDArray[Any]] = {}
        self._place()

    def new(self, size: int, dtype: Any = np.float64) -> NDArray[Any]:
        """Memory of its own for so many elements of every stream."""
        return products.aligned((size,) if self.batch is None else (size, self.batch), dtype)

    def shared(self, role: str, size: int, dtype: Any = np.float64) -> NDArray[Any]:
        """Scratch that lives within one operator, shared by all operators of that size."""
        if (role, size) not in self._scratch:
            self._scratch[role, size] = self.new(size, dtype)
        return self._scratch[role, size]

    def filled(self, size: int, value: float, dtype: Any = np.float64) -> NDArray[Any]:
        """An operand full of one value: array operands cost half of what a Python float does."""
        return np.full((size,) if self.batch is None else (size, 1), value, dtype)

    def _place(self) -> None:
        """Lay out inputs, states and constants; what a product reads has a 1 on either side."""
        tensors = self.program.tensors
        for chain in self.layout.chains:
            array = self.new(sum(tensors[name].size for name in chain) + len(chain) + 1)
            array[0] = 1.0
            end = 0
            for name in chain:
                begin, end = end + 1, end + 1 + tensors[name].size
                array[end] = 1.0
                self.homes[name] = (array, begin, end)
        for name in (*self.program.inputs, *(s.input for s in self.program.states)):
            self.slots[name] = Slot(self.target(name))
        for name, values in self.program.constants.items():
            # Written once: no operator and no state may take this memory over.
            array = self.target(name)
            array[...] = values if self.batch is None else values[:, None]
            self.slots[name] = Slot(array, positive=bool(values.min() >= 0))

    def home(self, name: str) -> str:
        """The tensor whose place this one takes: the state it will be, or itself."""
        return self.layout.aliases.get(name, name)

    def target(self, name: str) -> Float64Array:
        """The array that a tensor is to be written to."""
        home = self.home(name)
        if home in self.homes:
            array, begin, end = self.homes[home]
            return array[begin:end]
        if home in self.slots:
            return self.slots[home].array
        return self.new(self.program.tensors[name].size)

    def is_placed(self, name: str) -> bool:
        """Must this tensor lie at its target, and not where its operator finds it?"""
        return self.home(name) in self.homes or name in self.layout.aliases

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Append a call."""
        self.calls.append(partial(function, *arguments))

    def copy(self, source: NDArray[Any], target: NDArray[Any]) -> None:
        """target = source, cast and broadcast."""
        # Also the cheapest cast between float64 and integers.
        self.call(setitem, target, ..., source)

    def look_up(
        self, table: tables.Table, source: Float64Array, target: Float64Array, mode: str = "wrap"
    ) -> None:
        """target = table[source], by default of a wrapped table."""
        index = self.shared("index", len(source), np.intp)
        self.copy(source, index)
        self.call(table.take, index, None, target, mode)
