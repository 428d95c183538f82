"""The step of the NumPy engine: the program compiled into a list of array operations.

Integers are held in float64, where sums and products below 2^53 are exact, because NumPy has no
fast integer matrix product; every result is the same integer that the int64 rules give. All
buffers are allocated here, once; a call in the list allocates nothing. Arrays are (size,) for one
stream and (size, batch) for several.

What makes it short:
- A product's multiplier * 2^-shift is folded into its weights, its bias and the rounding half into
  one more column: requantizing is a floor.
- A value that only reaches a table need not be clamped or rounded first: the table is longer.
- Bounds known at compile time drop clamps that cannot act.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgernn.runtime import fixedpoint
from edgernn.runtime.activation import full_table
from edgernn.runtime.layout import Layout, plan_layout
from edgernn.runtime.program import Matrix, Operator, Program

Float64Array = NDArray[np.float64]
Call = Callable[[], object]

LOW, HIGH = fixedpoint.INT16_MIN, fixedpoint.INT16_MAX
Q15: Final = 2.0**-15
HALF_OFFSET: Final = 65600
_TABLES: Final = ("logistic", "tanh")
# One stacked product beats two while the zero blocks it drags along fit the first-level cache.
_STACKED_ELEMENTS: Final = 6000
# ties of (h - n) / 2 go away from zero: a nudge far below the distance to the next tie.
_HALF_AWAY: Final = 0.5 * (1.0 + 2.0**-18)

# The clip ufunc alone costs a fifth of np.clip; its home moved in NumPy 2.
_umath = (np._core if hasattr(np, "_core") else np.core).umath  # type: ignore[attr-defined]
_clip = _umath.clip


@dataclass(frozen=True, eq=False)
class Slot:
    """A tensor in memory. Its integers are floor(array / unit + offset), offset 1/2 if `half`.

    low, high: bounds of the integers; beyond int16 only where every reader clamps by itself.
    """

    array: Float64Array
    low: int = LOW
    high: int = HIGH
    unit: float = 1.0
    half: bool = False


class Plan:
    """A compiled step. Fill `inputs` and `states`, call every entry of `calls`, read `outputs`.

    inputs, outputs and states: name -> float64 view holding integers; states are updated in place.
    """

    def __init__(self, program: Program, batch: int | None = None) -> None:
        self._program = program
        self.batch = batch
        self._layout: Layout = plan_layout(program)
        self._slots: dict[str, Slot] = {}
        self._scratch: dict[tuple[str, int], NDArray[Any]] = {}
        self._homes: dict[str, tuple[Float64Array, int, int]] = {}
        self.calls: list[Call] = []
        self._place()
        skip: set[str] = set()
        for op in program.operators:
            if op.name not in skip:
                skip |= self._emit(op)
        self.inputs = {name: self._slots[name].array for name in program.inputs}
        self.outputs = {k: self._slots[v].array for k, v in program.outputs.items()}
        self.states = {s.name: self._slots[s.input].array for s in program.states}
        moved = [s for s in program.states if s.output not in self._layout.aliases]
        # A state whose next value is computed from a state that has already moved on must be
        # read first: copy through buffers of their own.
        stores = []
        for s in moved:
            hold = self._new(program.tensors[s.input].size)
            self._copy(self._slots[s.output].array, hold)
            stores.append((hold, self._slots[s.input].array))
        for hold, target in stores:
            self._copy(hold, target)

    # -- memory ---------------------------------------------------------------------------------

    def _shape(self, size: int) -> tuple[int, ...]:
        return (size,) if self.batch is None else (size, self.batch)

    def _new(self, size: int, dtype: Any = np.float64) -> NDArray[Any]:
        return np.zeros(self._shape(size), dtype)

    def _shared(self, role: str, size: int, dtype: Any = np.float64) -> NDArray[Any]:
        """Scratch that lives within one operator, shared by all operators of that size."""
        key = (role, size)
        if key not in self._scratch:
            self._scratch[key] = self._new(size, dtype)
        return self._scratch[key]

    def _constant(self, size: int, value: float) -> Float64Array:
        """An operand full of one value: array operands cost half of what a Python float does."""
        return np.full((size,) if self.batch is None else (size, 1), value)

    def _place(self) -> None:
        tensors = self._program.tensors
        for chain in self._layout.chains:
            total = sum(tensors[name].size for name in chain) + len(chain) + 1
            array = self._new(total)
            begin = 1
            array[0] = 1.0
            for name in chain:
                end = begin + tensors[name].size
                array[end] = 1.0
                self._homes[name] = (array, begin, end)
                self._slots[name] = Slot(array[begin:end])
                begin = end + 1
        given = [*self._program.inputs, *(s.input for s in self._program.states)]
        for name in given:
            if name not in self._slots:
                self._slots[name] = Slot(self._new(tensors[name].size))

    def _target(self, name: str) -> Float64Array:
        """The array that a tensor is written to."""
        home = self._layout.aliases.get(name, name)
        slot = self._slots.get(home)
        if slot is None:
            slot = Slot(self._new(self._program.tensors[name].size))
        return slot.array

    def _store(self, name: str, array: Float64Array, low: int = LOW, high: int = HIGH) -> None:
        self._slots[name] = Slot(array, low, high)

    # -- emission -------------------------------------------------------------------------------

    def _call(self, function: Callable[..., object], *arguments: object) -> None:
        self.calls.append(partial(function, *arguments))

    def _copy(self, source: Float64Array, target: NDArray[Any]) -> None:
        # Also the cheapest cast from float64 to an index.
        self._call(target.__setitem__, Ellipsis, source)

    def _clamp(self, array: Float64Array, low: int, high: int) -> tuple[int, int]:
        """Clamp to int16 if the bounds say that it can matter; returns the bounds after."""
        if low < LOW or high > HIGH:
            low_array = self._constant(len(array), max(low, LOW))
            self._call(_clip, array, low_array, self._constant(len(array), min(high, HIGH)), array)
        return max(low, LOW), min(high, HIGH)

    def _emit(self, op: Operator) -> set[str]:
        """Emit one operator; returns the names of further operators that it has done as well."""
        if op.kind == "linear":
            return self._linear(op)
        emitters: dict[str, Callable[[Operator], None]] = {
            "add": self._add,
            "sub": self._sub,
            "mul": self._mul,
            "logistic": self._table,
            "tanh": self._table,
            "relu": self._relu,
            "rescale": self._rescale,
            "split": self._split,
            "concat": self._concat,
        }
        emitters[op.kind](op)
        return set()

    def _linear(self, op: Operator) -> set[str]:
        pair = self._layout.pairs.get(op.name)
        if pair is None:
            self._product(op)
            return set()
        left, right = pair.left.matrix, pair.right.matrix
        assert left is not None
        assert right is not None
        rows, columns = (sum(m.weight.shape[i] for m in (left, right)) for i in (0, 1))
        if rows * columns > _STACKED_ELEMENTS or self.batch is not None:
            self._product(op)
            return set()
        array, begin, middle = self._homes[self._home(pair.left.inputs[0])]
        _, _, end = self._homes[self._home(pair.right.inputs[0])]
        stacked = np.zeros((rows, columns + 1))
        a, b = len(left.weight), left.weight.shape[1]
        stacked[:a, : b + 1] = _folded(left, bias_last=True)
        stacked[a:, b:] = _folded(right, bias_last=False)
        bounds = _product_bounds(left), _product_bounds(right)
        low, high = min(b[0] for b in bounds), max(b[1] for b in bounds)
        assert begin + b == middle
        out = self._rounded_product(stacked, array[begin:end], low, high)
        self._store(left_name := pair.left.name, out[:a], max(low, LOW), min(high, HIGH))
        self._store(pair.right.name, out[a:], max(low, LOW), min(high, HIGH))
        return {left_name, pair.right.name}

    def _product(self, op: Operator) -> None:
        assert op.matrix is not None
        array, begin, end = self._homes[self._home(op.inputs[0])]
        low, high = _product_bounds(op.matrix)
        out = self._rounded_product(
            _folded(op.matrix, bias_last=True), array[begin : end + 1], low, high
        )
        target = self._target(op.name)
        if self._home(op.name) in self._homes or op.name in self._layout.aliases:
            self._copy(out, target)
            out = target
        self._store(op.name, out, max(low, LOW), min(high, HIGH))

    def _home(self, name: str) -> str:
        return self._layout.aliases.get(name, name)

    def _rounded_product(
        self, matrix: Float64Array, vector: Float64Array, low: int, high: int
    ) -> Float64Array:
        out = self._new(len(matrix))
        # Column-major lets BLAS stream the weights once, without a dot product per row.
        self._call(np.dot, np.asfortranarray(matrix), vector, out)
        self._clamp(out, low, high)
        self._call(np.floor, out, out)
        return out

    def _split(self, op: Operator) -> None:
        source = self._slots[op.inputs[0]]
        begin = 0
        for name in op.outputs:
            end = begin + self._program.tensors[name].size
            part = source.array[begin:end]
            begin = end
            if self._home(name) in self._homes:
                part = self._target(name)
                self._copy(source.array[end - len(part) : end], part)
            self._slots[name] = Slot(part, source.low, source.high, source.unit, source.half)

    def _concat(self, op: Operator) -> None:
        target, begin = self._target(op.name), 0
        for name in op.inputs:
            source = self._slots[name].array
            self._copy(source, target[begin : begin + len(source)])
            begin += len(source)
        self._store(op.name, target)

    def _relu(self, op: Operator) -> None:
        source, target = self._slots[op.inputs[0]], self._target(op.name)
        self._call(np.maximum, source.array, self._constant(len(target), 0.0), target)
        self._store(op.name, target, max(source.low, 0), max(source.high, 0))

    def _rescale(self, op: Operator) -> None:
        scale_in, scale_out = (
            float(self._program.tensors[n].scale) for n in (op.inputs[0], op.name)
        )
        self._look_up(op, _rescale_table(scale_in, scale_out), half=False)

    def _table(self, op: Operator) -> None:
        source = self._slots[op.inputs[0]]
        scale = float(self._program.tensors[op.inputs[0]].scale)
        unit = Q15 if self._only_feeds(op.name, ("mul",)) else 1.0
        wide = source.low < LOW or source.high > HIGH
        self._look_up(op, _activation_table(op.kind, scale, unit, wide, source.half), source.half)
        low = 0 if op.kind == "logistic" else -HIGH
        self._slots[op.name] = Slot(self._slots[op.name].array, low, HIGH, unit)

    def _look_up(self, op: Operator, table: Float64Array, half: bool) -> None:
        source, target = self._slots[op.inputs[0]], self._target(op.name)
        size = len(target)
        index = self._shared("index", size, np.intp)
        if half:
            # Truncation floors only what is positive: shift by half the table's length.
            self._call(np.add, source.array, self._constant(size, HALF_OFFSET + 0.5), source.array)
        self._copy(source.array, index)
        # Negative indices wrap around: the table's second half holds them.
        self._call(table.take, index, None, target, "wrap")
        self._store(op.name, target)

    # -- element-wise arithmetic ----------------------------------------------------------------

    def _mul(self, op: Operator) -> None:
        """floor(p + 1/2 +- 2^-15), p = a b 2^-15: the two roundings of the rule in one."""
        a, b = (self._slots[n] for n in op.inputs)
        if b.unit != 1.0:
            a, b = b, a
        target = self._target(op.name)
        size = len(target)
        sign = self._shared("sign", size)
        self._call(np.multiply, a.array, b.array, target)
        if a.unit == b.unit == 1.0:
            self._call(np.multiply, target, self._constant(size, Q15), target)
        elif a.unit == b.unit:
            self._call(np.multiply, target, self._constant(size, 1 / Q15), target)
        self._call(np.copysign, self._constant(size, Q15), target, sign)
        self._call(np.add, target, sign, target)
        if self._rounds_later(op.name):
            self._slots[op.name] = Slot(target, LOW, HIGH, half=True)
            return
        self._call(np.add, target, self._constant(size, 0.5), target)
        self._call(np.floor, target, target)
        corners = [x * y for x in (a.low, a.high) for y in (b.low, b.high)]
        bounds = (min(corners) + 16384 >> 15, max(corners) + 16385 >> 15)
        self._store(op.name, target, *self._clamp(target, *bounds))

    def _add(self, op: Operator) -> None:
        self._sum(op, np.add, 1)

    def _sub(self, op: Operator) -> None:
        self._sum(op, np.subtract, -1)

    def _sum(self, op: Operator, ufunc: Callable[..., object], sign: int) -> None:
        scales = [self._program.tensors[n].scale.fraction for n in (*op.inputs, op.name)]
        a, b = (self._slots[n] for n in op.inputs)
        target = self._target(op.name)
        bounds = [a.low + b.low, a.high + b.high]
        if sign < 0:
            bounds = [a.low - b.high, a.high - b.low]
        if scales[0] == scales[1] == scales[2]:
            self._call(ufunc, a.array, b.array, target)
            if self._only_feeds(op.name, _TABLES):
                self._slots[op.name] = Slot(target, *bounds, half=a.half or b.half)
            else:
                self._store(op.name, target, *self._clamp(target, *bounds))
        elif scales[0] == scales[1] and scales[2] == 2 * scales[0]:
            self._call(ufunc, a.array, b.array, target)
            self._call(np.multiply, target, self._constant(len(target), _HALF_AWAY), target)
            self._call(np.rint, target, target)
            low, high = -((1 - bounds[0]) // 2), (bounds[1] + 1) // 2
            self._store(op.name, target, *self._clamp(target, low, high))
        elif scales[1] == 2 * scales[0] == 2 * scales[2]:
            self._call(ufunc, a.array, b.array, target)
            self._call(ufunc, target, b.array, target)
            self._clamp(target, 2 * LOW, 2 * HIGH)
            self._store(op.name, target)
        else:
            self._rescaled_sum(op, ufunc, a.array, b.array, target)
            self._store(op.name, target)

    def _rescaled_sum(
        self,
        op: Operator,
        ufunc: Callable[..., object],
        a: Float64Array,
        b: Float64Array,
        target: Float64Array,
    ) -> None:
        """Three scales: both operands brought to 2 max / 2^15, summed, brought to the output's."""
        size = len(target)
        scale_a, scale_b, scale_out = (
            float(self._program.tensors[n].scale) for n in (*op.inputs, op.name)
        )
        twice_max = 2.0 * max(scale_a, scale_b)
        parts = []
        for role, array, scale in (("a", a, scale_a), ("b", b, scale_b)):
            index = self._shared("index", size, np.intp)
            part = self._shared(role, size)
            self._copy(array, index)
            self._call(_shift_table(scale / twice_max).take, index, None, part, "wrap")
            parts.append(part)
        self._call(ufunc, *parts, target)
        q, shift = fixedpoint.quantize_multiplier(twice_max / (32768.0 * scale_out))
        if q == 1 << 30:
            # A power of two: the two roundings in one, as in _mul.
            epsilon = 2.0 ** (shift - 1)
            sign = self._shared("sign", size)
            self._call(np.multiply, target, self._constant(size, epsilon), target)
            self._call(np.copysign, self._constant(size, epsilon), target, sign)
            self._call(np.add, target, sign, target)
            self._call(np.add, target, self._constant(size, 0.5), target)
            self._call(np.floor, target, target)
        else:
            self._integer_rescale(target, q, -shift)
        self._clamp(target, 2 * LOW, 2 * HIGH)

    def _integer_rescale(self, target: Float64Array, q: int, right: int) -> None:
        """RDBPOT(SRDHM(x, q), right) in int64: the product has more bits than float64 holds."""
        size = len(target)
        wide, sign = self._shared("wide", size, np.int64), self._shared("wide sign", size, np.int64)

        def constant(value: int) -> NDArray[np.int64]:
            return self._constant(size, value).astype(np.int64)

        self._copy(target, wide)
        self._call(np.multiply, wide, constant(q), wide)
        self._call(np.add, wide, constant(1 << 30), wide)
        self._call(np.right_shift, wide, constant(31), wide)
        self._call(np.right_shift, wide, constant(63), sign)
        self._call(np.add, wide, sign, wide)
        self._call(np.add, wide, constant(1 << (right - 1)), wide)
        self._call(np.right_shift, wide, constant(right), wide)
        self._copy(wide, target)

    # -- what may be left undone ----------------------------------------------------------------

    def _only_feeds(self, name: str, kinds: tuple[str, ...]) -> bool:
        """Is every reader of a tensor, through splits, of these kinds, and is it no result?"""
        program = self._program
        if name in program.outputs.values() or any(s.output == name for s in program.states):
            return False
        readers = program.consumers(name)
        return bool(readers) and all(
            r.kind in kinds
            or (r.kind == "split" and all(self._only_feeds(part, kinds) for part in r.outputs))
            for r in readers
        )

    def _rounds_later(self, name: str) -> bool:
        """Can the reader's table take the rounding of this product?"""
        readers = self._program.consumers(name)
        if not self._only_feeds(name, ("add",)) or len(readers) != 1:
            return False
        reader = readers[0]
        scales = {self._program.tensors[n].scale for n in (*reader.inputs, *reader.outputs)}
        tables = self._program.consumers(reader.name)
        other = [self._program.producer(n) for n in reader.inputs if n != name]
        return (
            reader.kind == "add"
            and len(scales) == 1
            and len(other) == 1
            and (other[0] is None or other[0].kind != "mul")
            and self._only_feeds(reader.name, _TABLES)
            and len(tables) == 1
            and tables[0].kind in _TABLES
        )


def _folded(matrix: Matrix, bias_last: bool) -> Float64Array:
    """Weights and bias times multiplier * 2^-shift, exact; the rounding half is in the bias."""
    factor = matrix.multiplier * 2.0 ** -matrix.shift.astype(np.float64)
    weight = matrix.weight * factor[:, None]
    bias = (matrix.bias * factor + 0.5)[:, None]
    return np.hstack([weight, bias] if bias_last else [bias, weight])


def _product_bounds(matrix: Matrix) -> tuple[int, int]:
    """The least and greatest integer that the product can give for any int16 input."""
    folded = _folded(matrix, bias_last=True)
    reach = np.abs(folded[:, :-1]).sum(axis=1) * -LOW
    return int(np.floor((folded[:, -1] - reach).min())), int(
        np.floor((folded[:, -1] + reach).max())
    )


def _by_wrapped_index(function: Callable[[NDArray[np.int64]], NDArray[Any]], bits: int) -> Any:
    """A table whose entry i, modulo its length, is function(i)."""
    index = np.arange(1 << bits, dtype=np.int64)
    index[1 << (bits - 1) :] -= 1 << bits
    return function(index)


@cache
def _activation_table(
    kind: str, scale: float, unit: float, wide: bool, half: bool
) -> Float64Array:
    values = full_table(kind, scale) * unit

    def clamped(index: NDArray[np.int64]) -> Float64Array:
        return values[fixedpoint.saturate(index) + 32768]

    if half:
        return clamped(np.arange(-HALF_OFFSET, HALF_OFFSET, dtype=np.int64))
    return _by_wrapped_index(clamped, 17 if wide else 16)  # type: ignore[no-any-return]


@cache
def _rescale_table(scale_in: float, scale_out: float) -> Float64Array:
    return _by_wrapped_index(  # type: ignore[no-any-return]
        lambda i: fixedpoint.rescale(i, scale_in, scale_out).astype(np.float64), 16
    )


@cache
def _shift_table(factor: float) -> Float64Array:
    q, shift = fixedpoint.quantize_multiplier(factor)
    return _by_wrapped_index(  # type: ignore[no-any-return]
        lambda i: fixedpoint.multiply_by_quantized_multiplier(i << 15, q, shift).astype(np.float64),
        16,
    )
