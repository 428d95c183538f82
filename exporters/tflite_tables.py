"""TensorFlow Lite operators for what reads a table: lookup, rsqrt, embedding.

The kernels for int16 tables compute given functions only; these are int32 arithmetic around GATHER,
exact in every kernel. No product or sum leaves 32 bits.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn.exporters.tflite_writer import ModelWriter
from edgernn.runtime.functions import rsqrt_gain, rsqrt_table
from edgernn.runtime.program import Operator, Program

Int32Array = NDArray[np.int32]

SPAN: Final = 8
"""log2 of how many neighbouring inputs of an rsqrt share the length of their lines."""
FRACTION: Final = 13
"""Fraction bits of the lines of an rsqrt."""


def cast(w: ModelWriter, source: int, name: str, dtype: str, shape: tuple[int, ...]) -> int:
    """The same numbers in another dtype, a new tensor of that name."""
    result = w.tensor(name, shape, None, dtype)
    cast_to(w, source, result)
    return result


def cast_to(w: ModelWriter, source: int, result: int) -> None:
    """The same numbers into a tensor that is there."""
    options = w.schema.CastOptionsT(inDataType=w.dtype(source), outDataType=w.dtype(result))
    w.operator("CAST", [source], [result], options)


class _Int32:
    """Element-wise int32 arithmetic on tensors of one shape."""

    def __init__(self, w: ModelWriter, name: str, shape: tuple[int, ...]) -> None:
        self.w, self.name, self.shape = w, name, shape

    def add(self, a: int, b: int) -> int:
        return self._apply("ADD", [a, b], self.w.schema.AddOptionsT())

    def mul(self, a: int, b: int) -> int:
        return self._apply("MUL", [a, b], self.w.schema.MulOptionsT())

    def maximum(self, a: int, b: int) -> int:
        return self._apply("MAXIMUM", [a, b], self.w.schema.MaximumMinimumOptionsT())

    def shift_right(self, a: int, bits: int) -> int:
        """a >> bits, floor of negative numbers too."""
        return self._apply("RIGHT_SHIFT", [a, bits], self.w.schema.RightShiftOptionsT())

    def gather(self, table: Int32Array, index: int) -> int:
        entries = self.w.constant(f"{self.name}.table", table)
        return self._apply("GATHER", [entries, index], self.w.schema.GatherOptionsT(axis=0))

    def number(self, value: int) -> int:
        return self.w.constant("number", np.array([value], np.int32))

    def line(self, slope: Int32Array, start: Int32Array, index: int, x: int, bits: int) -> int:
        """(start[index] + slope[index] * x) >> bits."""
        rise = self.mul(self.gather(slope, index), x)
        return self.shift_right(self.add(rise, self.gather(start, index)), self.number(bits))

    def _apply(self, code: str, ins: list[int], options: object) -> int:
        result = self.w.tensor(self.name, self.shape, None, "INT32")
        self.w.operator(code, ins, [result], options)
        return result


def lookup(w: ModelWriter, program: Program, op: Operator, ins: list[int], outs: list[int]) -> None:
    """512 lines, (start + slope * x) >> 7, of 4 KiB."""
    assert op.table is not None
    shape = w.inner_shape(program.tensors[op.name].size)
    m = _Int32(w, op.name, shape)
    x = cast(w, ins[0], op.name, "INT32", shape)
    index = m.add(m.shift_right(x, m.number(7)), m.number(256))
    slope, start = lookup_lines(op.table)
    cast_to(w, m.line(slope, start, index, x, 7), outs[0])


def lookup_lines(table: NDArray[np.int16]) -> tuple[Int32Array, Int32Array]:
    """(slope, start), each (512,): the rule of a lookup is (start[i] + slope[i] * x) >> 7.

    A steep line goes from one rail towards the other: slope * x and start stay within 32 bits.
    """
    wide = table.astype(np.int64)
    slope = wide[1:] - wide[:-1]
    start = (wide[:-1] << 7) + 64 - slope * (128 * np.arange(512) - 32768)
    return _int32(slope), _int32(start)


def rsqrt(w: ModelWriter, program: Program, op: Operator, ins: list[int], outs: list[int]) -> None:
    """Lines of 1 to 256 inputs that give every entry of the table: 2 to 9 KB for its 64."""
    gain = rsqrt_gain(program.tensors[op.inputs[0]].scale, program.tensors[op.name].scale)
    length, offset, slope, start = rsqrt_lines(gain)
    shape = w.inner_shape(program.tensors[op.name].size)
    m = _Int32(w, op.name, shape)
    x = m.maximum(cast(w, ins[0], op.name, "INT32", shape), m.number(0))
    span = m.shift_right(x, m.number(SPAN))
    index = m.add(m.shift_right(x, m.gather(length, span)), m.gather(offset, span))
    cast_to(w, m.line(slope, start, index, x, FRACTION), outs[0])


@cache
def rsqrt_lines(gain: int) -> tuple[Int32Array, Int32Array, Int32Array, Int32Array]:
    """(length, offset), each (128,), and (slope, start), each (lines,), so that for x = 0 .. 32767

    line = (x >> length[x >> 8]) + offset[x >> 8]
    rsqrt_table(gain)[x] = (start[line] + slope[line] * x) >> 13
    """
    table = rsqrt_table(gain)
    exact = [_exact_lines(table, bits) for bits in range(SPAN + 1)]
    spans = np.arange(len(table) >> SPAN)
    length, offset = np.zeros_like(spans), np.zeros_like(spans)
    slopes: list[NDArray[np.int64]] = []
    starts: list[NDArray[np.int64]] = []
    count = 0
    for span in spans:
        for bits in range(SPAN, -1, -1):
            here = slice(span << (SPAN - bits), (span + 1) << (SPAN - bits))
            slope, start, fits = exact[bits]
            if fits[here].all():
                break
        length[span], offset[span] = bits, count - here.start
        slopes.append(slope[here])
        starts.append(start[here])
        count += len(slopes[-1])
    return _int32(length), _int32(offset), _int32(np.hstack(slopes)), _int32(np.hstack(starts))


def _exact_lines(
    table: NDArray[np.int64], bits: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Slope and start of a line over each 2^bits entries, and whether it gives every one of them.

    With a slope, y <= (start + slope * x) / 2^13 < y + 1 leaves an interval for the start.
    """
    wanted = table.reshape(-1, 1 << bits)
    x = np.arange(len(table)).reshape(wanted.shape)
    steps = max((1 << bits) - 1, 1)
    mean = (wanted[:, -1] - wanted[:, 0]) * (1 << FRACTION) // steps
    # An exact line is at most one unit steeper or flatter, end to end.
    tried = np.linspace(-1, 1, 65) * ((1 << FRACTION) / steps) if bits else np.zeros(1)
    slope, start, fits = np.zeros_like(mean), np.zeros_like(mean), np.zeros(len(mean), bool)
    for difference in np.rint(tried).astype(np.int64):
        below = (wanted << FRACTION) - (mean + difference)[:, None] * x
        low, high = below.max(axis=1), below.min(axis=1) + (1 << FRACTION)
        new = (low < high) & ~fits
        slope[new], start[new] = (mean + difference)[new], low[new]
        fits |= new
    return slope, start, fits


def _int32(array: NDArray[np.int64]) -> Int32Array:
    narrow = array.astype(np.int32)
    assert (narrow == array).all()
    return narrow


def embedding(
    w: ModelWriter, program: Program, op: Operator, ins: list[int], outs: list[int]
) -> None:
    """A row of the int8 table, by an id that is clamped to the table."""
    assert op.table is not None
    rows, columns = op.table.shape
    token, row = (program.tensors[n].scale for n in (op.inputs[0], op.name))
    s = w.schema
    # GATHER puts the shape of the id in the place of the first dimension of the table.
    clamped = w.reshape(ins[0], op.name, (1,))
    for code, bound in (("MAXIMUM", 0), ("MINIMUM", rows - 1)):
        limit = w.constant(op.name, np.array([bound], np.int16), [token])
        result = w.tensor(op.name, (1,), token)
        w.operator(code, [clamped, limit], [result], s.MaximumMinimumOptionsT())
        clamped = result
    index = cast(w, clamped, op.name, "INT32", (1,))
    shape = w.inner_shape(columns)
    table = w.constant(f"{op.name}.table", op.table.reshape(rows, *shape[1:]), [row])
    narrow = w.tensor(op.name, shape, row, "INT8")
    w.operator("GATHER", [table, index], [narrow], s.GatherOptionsT(axis=0))
    cast_to(w, narrow, outs[0])
