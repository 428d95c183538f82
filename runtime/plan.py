"""The step of the NumPy engine: the program compiled into a list of array operations.

Integers are held in float64, where sums and products below 2^53 are exact, because NumPy has no
fast integer matrix product; every result is the same integer that the int64 rules give. All
buffers are allocated here, once; a call in the list allocates nothing. Arrays are (size,) for one
stream and (size, batch) for several.

A ufunc call costs more than what it computes, so the list is made short:
- requantizing is folded into the product's weights (`products`), saturating into a table look-up;
- a value that only reaches a table is neither clamped nor rounded first, the table does both;
- MUL's two roundings become one. With p = a b 2^-15, rule and floor(p + 1/2 + sign(p) 2^-15) agree
  on every int16 pair. If b carries TAU = 2^-16 and a >= 0, then rint(p + sign(b) 2^-15) does too:
  the product's share of TAU, below 2^-16, replaces the half and rules out ties.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn.runtime import products, tables
from edgernn.runtime.fixedpoint import INT16_MAX, INT16_MIN, quantize_multiplier
from edgernn.runtime.layout import split_roots
from edgernn.runtime.memory import Memory, Slot
from edgernn.runtime.program import Operator, Program

Float64Array = NDArray[np.float64]

Q15: Final = 2.0**-15
_TABLES: Final = ("logistic", "tanh")
# One stacked product beats two while the zero blocks it drags along stay in the nearest cache.
_STACKED_ELEMENTS: Final = 6000


class Plan(Memory):
    """A compiled step. Fill `inputs` and `states`, call every entry of `calls`, read `outputs`.

    inputs, outputs and states: name -> float64 view holding integers; states are updated in place.
    """

    def __init__(self, program: Program, batch: int | None = None) -> None:
        super().__init__(program, batch)
        self._kept = {*program.outputs.values(), *(s.output for s in program.states)}
        self._readers: dict[str, list[Operator]] = {}
        for op in program.operators:
            for name in dict.fromkeys(op.inputs):
                self._readers.setdefault(name, []).append(op)
        emitters: dict[str, Callable[[Operator], None]] = {
            "linear": self._linear,
            "add": partial(self._sum, np.add),
            "sub": partial(self._sum, np.subtract),
            "mul": self._mul,
            "logistic": self._activation,
            "tanh": self._activation,
            "relu": self._relu,
            "rescale": self._rescale,
            "split": self._split,
            "concat": self._concat,
        }
        for op in program.operators:
            if op.name not in self._slots:
                emitters[op.kind](op)
        self.inputs = {name: self._slots[name].array for name in program.inputs}
        self.outputs = self._results()
        self._move_states()
        self.states = {s.name: self._slots[s.input].array for s in program.states}

    def _results(self) -> dict[str, Float64Array]:
        """The outputs; those that lie in a state's memory are saved before the state moves on."""
        program, results = self._program, {}
        roots, carried = split_roots(program), {s.input for s in program.states}
        for key, name in program.outputs.items():
            results[key] = self._slots[name].array
            if roots.get(name, name) in carried:
                results[key] = self._new(program.tensors[name].size)
                self._copy(self._slots[name].array, results[key])
        return results

    def _move_states(self) -> None:
        """Next values that could not be written in place are copied at the end, all or none."""
        moved = [s for s in self._program.states if s.output not in self._layout.aliases]
        held = [self._new(self._program.tensors[s.input].size) for s in moved]
        for state, hold in zip(moved, held, strict=True):
            self._copy(self._slots[state.output].array, hold)
        for state, hold in zip(moved, held, strict=True):
            self._copy(hold, self._slots[state.input].array)

    # -- products, tables, moves ----------------------------------------------------------------

    def _linear(self, op: Operator) -> None:
        pair = self._layout.pairs.get(op.name)
        group = [op] if pair is None else [pair.left, pair.right]
        if any(self._is_placed(o.name) for o in group):
            group = [op]
        matrices = [o.matrix for o in group if o.matrix is not None]
        begins = np.cumsum([0, *(products.padded(len(m.weight)) for m in matrices)]).tolist()
        out = self._new(begins[-1])
        # Index 32768 of the identity table is zero.
        offset = 32768.0
        shape = np.sum([m.weight.shape for m in matrices], axis=0)
        if len(group) == 2 and np.prod(shape) <= _STACKED_ELEMENTS:
            array, begin, _ = self._homes[self._home(group[0].inputs[0])]
            end = self._homes[self._home(group[1].inputs[0])][2]
            both = products.stacked(matrices[0], matrices[1], offset)
            self.calls += products.product(both, array[begin:end], out)
        else:
            for o, m, row, stop in zip(group, matrices, begins, begins[1:], strict=False):
                array, begin, end = self._homes[self._home(o.inputs[0])]
                large = m.weight.size >= products.SPLIT_ELEMENTS
                if large and self.batch is None and end - begin <= products.SPLIT_COLUMNS:
                    self.calls += products.split_product(m, offset, array[begin:end], out[row:stop])
                else:
                    whole = products.with_bias(m, offset, bias_first=False)
                    self.calls += products.product(whole, array[begin : end + 1], out[row:stop])
        if len(group) == 1 and self._is_placed(op.name):
            out, target = out[: len(matrices[0].weight)], self._target(op.name)
        else:
            target = out
        index = self._new(len(out), np.intp)
        if np.iinfo(np.intp).bits < 64:
            # A row may lie beyond what a 32-bit index holds; its saturation is the same.
            for ufunc, limit in ((np.fmin, 2.0**30), (np.fmax, -(2.0**30))):
                self._call(ufunc, out, self._constant(len(out), limit), out)
        self._copy(out, index)
        self._call(tables.identity().take, index, None, target, "clip")
        for o, m, row in zip(group, matrices, begins, strict=False):
            part = slice(row, row + len(m.weight))
            self._slots[o.name] = Slot(target[part], index=index[part])

    def _activation(self, op: Operator) -> None:
        source, target = self._slots[op.inputs[0]], self._target(op.name)
        scale = float(self._program.tensors[op.inputs[0]].scale)
        unit = Q15 if self._only_feeds(op.name, ("mul",)) else 1.0
        if source.raised:
            table = tables.activation(op.kind, scale, unit)
            self._look_up(table, source.array, target, "clip")
        else:
            self._look_up(tables.wide_activation(op.kind, scale, unit), source.array, target)
        self._slots[op.name] = Slot(target, unit=unit, positive=op.kind == "logistic")

    def _rescale(self, op: Operator) -> None:
        source, target = self._slots[op.inputs[0]].array, self._target(op.name)
        scales = [float(self._program.tensors[n].scale) for n in (op.inputs[0], op.name)]
        self._look_up(tables.rescaled(*scales), source, target)
        self._slots[op.name] = Slot(target)

    def _relu(self, op: Operator) -> None:
        source, target = self._slots[op.inputs[0]].array, self._target(op.name)
        # fmax, unlike maximum, does not look for NaN, which no integer is.
        self._call(np.fmax, source, self._constant(len(target), 0.0), target)
        self._slots[op.name] = Slot(target, positive=True)

    def _split(self, op: Operator) -> None:
        source = self._slots[op.inputs[0]]
        end = 0
        for name in op.outputs:
            begin, end = end, end + self._program.tensors[name].size
            part = source.array[begin:end]
            index = None if source.index is None else source.index[begin:end]
            if self._is_placed(name):
                self._copy(part, self._target(name))
                part = self._target(name)
            self._slots[name] = replace(source, array=part, index=index)

    def _concat(self, op: Operator) -> None:
        target, end = self._target(op.name), 0
        for name in op.inputs:
            begin, end = end, end + self._program.tensors[name].size
            self._copy(self._slots[name].array, target[begin:end])
        self._slots[op.name] = Slot(target)

    # -- element-wise arithmetic ----------------------------------------------------------------

    def _mul(self, op: Operator) -> None:
        a, b = (self._slots[n] for n in op.inputs)
        if b.unit != 1.0:
            a, b = b, a
        target = self._target(op.name)
        size = len(target)
        self._call(np.multiply, a.array, b.array, target)
        if a.unit * b.unit != Q15:
            self._call(np.multiply, target, self._constant(size, Q15 / (a.unit * b.unit)), target)
        # Without a sigmoid or relu, -32768 * -32768 must be clamped before anything is added.
        if a.positive and b.index is not None and self._rounds_later(op.name):
            nudge = self._shared("signed", size)
            self._call(tables.raised_nudge().take, b.index, None, nudge, "clip")
            self._call(np.add, target, nudge, target)
            self._slots[op.name] = Slot(target, raised=True)
            return
        if b.tau:
            self._nudge(target, b.array, Q15)
            self._call(np.rint, target, target)
        else:
            self._nudge(target, target, Q15)
            self._call(np.add, target, self._constant(size, 0.5), target)
            self._call(np.floor, target, target)
        if not (a.positive or b.positive):
            # Only -32768 * -32768 leaves int16, and only upwards.
            self._call(np.fmin, target, self._constant(size, INT16_MAX), target)
        self._slots[op.name] = Slot(target)

    def _nudge(self, target: Float64Array, sign: Float64Array, amount: float) -> None:
        """Add `amount` with the sign of `sign`."""
        signed = self._shared("signed", len(target))
        self._call(np.copysign, self._constant(len(target), amount), sign, signed)
        self._call(np.add, target, signed, target)

    def _sum(self, ufunc: Callable[..., object], op: Operator) -> None:
        scales = [self._program.tensors[n].scale.fraction for n in (*op.inputs, op.name)]
        a, b = (self._slots[n] for n in op.inputs)
        target = self._target(op.name)
        if scales[0] == scales[1] == scales[2]:
            self._call(ufunc, a.array, b.array, target)
            if self._only_feeds(op.name, _TABLES):
                self._slots[op.name] = Slot(target, wide=True, raised=a.raised or b.raised)
                return
            self._look_up(tables.clamp(), target, target)
        elif scales[0] == scales[1] and scales[2] == 2 * scales[0]:
            self._call(ufunc, a.array, b.array, target)
            tau = self._only_feeds(op.name, ("mul",)) and self._meets_positive(op.name)
            self._look_up(tables.half_away(tau), target, target)
            self._slots[op.name] = Slot(target, tau=tau)
            return
        elif scales[1] == 2 * scales[0] == 2 * scales[2]:
            self._call(ufunc, a.array, b.array, target)
            self._call(ufunc, target, b.array, target)
            self._look_up(tables.clamp(), target, target)
        else:
            self._rescaled_sum(op, ufunc, a.array, b.array, target)
        self._slots[op.name] = Slot(target)

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
        part_a, part_b = self._shared("a", size), self._shared("b", size)
        self._look_up(tables.shifted(scale_a / twice_max), a, part_a)
        self._look_up(tables.shifted(scale_b / twice_max), b, part_b)
        self._call(ufunc, part_a, part_b, target)
        q, shift = quantize_multiplier(twice_max / (32768.0 * scale_out))
        if q == 1 << 30:
            # A power of two: its two roundings become one, as those of MUL do.
            factor = 2.0 ** (shift - 1)
            self._call(np.multiply, target, self._constant(size, factor), target)
            self._nudge(target, target, factor)
            self._call(np.add, target, self._constant(size, 0.5), target)
            self._call(np.floor, target, target)
        else:
            self._integer_rescale(target, q, -shift)
        self._call(np.fmin, target, self._constant(size, INT16_MAX), target)
        self._call(np.fmax, target, self._constant(size, INT16_MIN), target)

    def _integer_rescale(self, target: Float64Array, q: int, right: int) -> None:
        """RDBPOT(SRDHM(x, q), right) in int64: the product has more bits than float64 holds."""
        size = len(target)
        wide, sign = (self._shared(role, size, np.int64) for role in ("wide", "wide sign"))
        self._copy(target, wide)
        for ufunc, value, out in (
            (np.multiply, q, wide),
            (np.add, 1 << 30, wide),
            (np.right_shift, 31, wide),
            (np.right_shift, 63, sign),
        ):
            self._call(ufunc, wide, self._constant(size, value, np.int64), out)
        self._call(np.add, wide, sign, wide)
        for ufunc, value in ((np.add, 1 << (right - 1)), (np.right_shift, right)):
            self._call(ufunc, wide, self._constant(size, value, np.int64), wide)
        self._copy(wide, target)

    # -- what may be left undone ----------------------------------------------------------------

    def _only_feeds(self, name: str, kinds: tuple[str, ...]) -> bool:
        """Is every reader of a tensor, through splits, of these kinds, and is it no result?"""
        pending = [name]
        while pending:
            part = pending.pop()
            readers = self._readers.get(part, [])
            if part in self._kept or not readers:
                return False
            for reader in readers:
                if reader.kind == "split":
                    pending += reader.outputs
                elif reader.kind not in kinds:
                    return False
        return True

    def _meets_positive(self, name: str) -> bool:
        """Is every reader of this tensor a product with a sigmoid in units of 2^-15?"""
        readers = self._readers[name]
        return all(reader.kind == "mul" for reader in readers) and all(
            other != name
            and other in self._slots
            and self._slots[other].positive
            and self._slots[other].unit == Q15
            for reader in readers
            for other in self._others(reader, name)
        )

    @staticmethod
    def _others(reader: Operator, name: str) -> tuple[str, ...]:
        first, second = reader.inputs
        return (second if first == name else first,)

    def _rounds_later(self, name: str) -> bool:
        """Can the table behind the sum that reads this product take over its rounding?"""
        program = self._program
        readers = self._readers.get(name, [])
        if len(readers) != 1 or not self._only_feeds(name, ("add",)):
            return False
        reader = readers[0]
        if reader.kind != "add" or reader.inputs[0] == reader.inputs[1]:
            return False
        (other,) = self._others(reader, name)
        producer = program.producer(other)
        tables_read = self._readers.get(reader.name, [])
        return (
            len({program.tensors[n].scale for n in (*reader.inputs, *reader.outputs)}) == 1
            and (producer is None or producer.kind != "mul")
            and len(tables_read) == 1
            and tables_read[0].kind in _TABLES
            and self._only_feeds(reader.name, _TABLES)
        )
