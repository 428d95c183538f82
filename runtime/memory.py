"""The memory of a plan: where tensors lie, scratch, constants, and the list of calls."""

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

    calls: what a step executes, in order.
    """

    def __init__(self, program: Program, batch: int | None) -> None:
        self.batch = batch
        self.calls: list[Call] = []
        self._program = program
        self._layout = plan_layout(program)
        self._slots: dict[str, Slot] = {}
        self._homes: dict[str, tuple[Float64Array, int, int]] = {}
        self._scratch: dict[tuple[str, int], NDArray[Any]] = {}
        self._place()

    def _new(self, size: int, dtype: Any = np.float64) -> NDArray[Any]:
        return products.aligned((size,) if self.batch is None else (size, self.batch), dtype)

    def _shared(self, role: str, size: int, dtype: Any = np.float64) -> NDArray[Any]:
        """Scratch that lives within one operator, shared by all operators of that size."""
        if (role, size) not in self._scratch:
            self._scratch[role, size] = self._new(size, dtype)
        return self._scratch[role, size]

    def _constant(self, size: int, value: float, dtype: Any = np.float64) -> NDArray[Any]:
        """An operand full of one value: array operands cost half of what a Python float does."""
        return np.full((size,) if self.batch is None else (size, 1), value, dtype)

    def _place(self) -> None:
        """Lay out inputs and states; what a product reads has a 1 on either side."""
        tensors = self._program.tensors
        for chain in self._layout.chains:
            array = self._new(sum(tensors[name].size for name in chain) + len(chain) + 1)
            array[0] = 1.0
            end = 0
            for name in chain:
                begin, end = end + 1, end + 1 + tensors[name].size
                array[end] = 1.0
                self._homes[name] = (array, begin, end)
        for name in (*self._program.inputs, *(s.input for s in self._program.states)):
            self._slots[name] = Slot(self._target(name))

    def _home(self, name: str) -> str:
        return self._layout.aliases.get(name, name)

    def _target(self, name: str) -> Float64Array:
        """The array that a tensor is to be written to."""
        home = self._home(name)
        if home in self._homes:
            array, begin, end = self._homes[home]
            return array[begin:end]
        if home in self._slots:
            return self._slots[home].array
        return self._new(self._program.tensors[name].size)

    def _is_placed(self, name: str) -> bool:
        return self._home(name) in self._homes or name in self._layout.aliases

    def _call(self, function: Callable[..., object], *arguments: object) -> None:
        self.calls.append(partial(function, *arguments))

    def _copy(self, source: NDArray[Any], target: NDArray[Any]) -> None:
        # Also the cheapest cast between float64 and integers.
        self._call(setitem, target, ..., source)

    def _look_up(
        self, table: tables.Table, source: Float64Array, target: Float64Array, mode: str = "wrap"
    ) -> None:
        index = self._shared("index", len(source), np.intp)
        self._copy(source, index)
        self._call(table.take, index, None, target, mode)
