"""The operators of a program as ONNX nodes, in integers that any runtime computes alike.

Between the operators values are int32, (..., size). ONNX's integer Div truncates toward zero, so
a rounding is an addend that depends on the sign, then a Div. Matrix products that can run at the
same time are requantized together: their number of nodes is what a small step costs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from fractions import Fraction

import numpy as np

from edgernn.exporters.onnx_arithmetic import (
    HALF_UNIT,
    clamp,
    multiplied,
    product,
    requantized,
    rounded,
    split,
)
from edgernn.exporters.onnx_graph import OnnxGraph
from edgernn.exporters.onnx_tables import STRETCH, STRETCH_LIFT, Tables
from edgernn.runtime.fixedpoint import INT16_MAX, INT16_MIN, quantize_multiplier
from edgernn.runtime.functions import rsqrt_gain
from edgernn.runtime.program import Operator, Program


class Emitter:
    """Appends the operators of a program to a graph.

    values: tensor name -> int32 value (N, size); put the inputs and states there and call `run`,
    then ask `value` for the others.
    visible: tensors that are read from outside and must exist as they are.
    tables: of the root graph, if several programs share them.
    """

    def __init__(
        self,
        program: Program,
        graph: OnnxGraph,
        visible: Collection[str],
        tables: Tables | None = None,
    ) -> None:
        self._program = program
        self._graph = graph
        self._tables = tables or Tables(graph)
        self._visible = frozenset(visible)
        self.values: dict[str, str] = {}
        # Bounds of the integers: they tell which clamps can never act.
        self._bounds: dict[str, tuple[int, int]] = {}
        # Operators done before their turn: products that joined an earlier one, and their splits.
        self._done: set[str] = set()
        # Constants without a batch, the shape that gives them one, and where lookups read.
        self._stored: dict[str, str] = {}
        self._batch = ""
        self._stretches: dict[str, tuple[str, str]] = {}
        for name, integers in program.constants.items():
            self._bounds[name] = (int(integers.min()), int(integers.max()))

    def run(self) -> None:
        """Append every operator of the program."""
        emitters: dict[str, Callable[[Operator], None]] = {
            "add": lambda op: self._sum(op, 1),
            "sub": lambda op: self._sum(op, -1),
            "mul": self._mul,
            "logistic": self._activation,
            "tanh": self._activation,
            "relu": self._relu,
            "rescale": self._rescale,
            "split": lambda op: self._cut(self.value(op.inputs[0]), self._pieces(op.outputs)),
            "concat": self._concat,
            "maximum": self._maximum,
            "select": self._select,
            "lookup": self._lookup,
            "rsqrt": self._rsqrt,
            "embedding": self._embedding,
        }
        for index, op in enumerate(self._program.operators):
            if op.name in self._done:
                continue
            if op.kind == "linear":
                self._products(self._program.operators[index:])
            else:
                emitters[op.kind](op)

    def value(self, name: str) -> str:
        """The int32 value (N, size) of a tensor; a constant is repeated for every stream."""
        if name not in self.values:
            self.values[name] = self._graph.node("Expand", [self._constant(name), self._shape()])
        return self.values[name]

    def _constant(self, name: str) -> str:
        """A constant as it is, (size,)."""
        if name not in self._stored:
            root = self._graph.root
            self._stored[name] = root.cast(root.constant(self._program.constants[name]), np.int32)
        return self._stored[name]

    def _shape(self) -> str:
        """[..., 1], as an Expand wants it; from the first input, whose batch is that of all."""
        if not self._batch:
            first = self._program.inputs[0]
            column = self.values[first]
            if self._program.tensors[first].size > 1:
                where = self._graph.constant(np.zeros(1, np.int64))
                column = self._graph.node("Gather", [column, where], axis=-1)
            self._batch = self._graph.node("Shape", [column])
        return self._batch

    def _operands(self, op: Operator) -> list[str]:
        """What an element-wise operator reads: one operand has a batch, constants need none."""
        constants = self._program.constants
        spread = [name for name in op.inputs if name not in constants] or op.inputs[:1]
        return [self.value(name) if name in spread else self._constant(name) for name in op.inputs]

    def _products(self, operators: Iterable[Operator]) -> None:
        """All products among these whose input is there already, requantized as one vector."""
        ready = self.values.keys() | self._program.constants.keys()
        group = [
            op
            for op in operators
            if op.matrix and op.inputs[0] in ready and op.name not in self._done
        ]
        self._done.update(op.name for op in group)
        matrices = [op.matrix for op in group if op.matrix]
        sums = [
            product(self._graph, self.value(op.inputs[0]), m.weight)
            for op, m in zip(group, matrices, strict=True)
        ]
        if any(wide for _, wide in sums):
            parts = [v if wide else self._graph.cast(v, np.int64) for v, wide in sums]
            accumulator = self._joined(parts)
        else:
            accumulator = self._graph.cast(self._joined([v for v, _ in sums]), np.int64)
        pieces = [piece for op in group for piece in self._pieces(op.outputs)]
        self._cut(requantized(self._graph, accumulator, matrices), pieces)

    def _pieces(self, names: Iterable[str]) -> list[str]:
        """The tensors, those that are only cut further replaced by their parts."""
        pieces: list[str] = []
        for name in names:
            readers = self._program.consumers(name)
            if len(readers) == 1 and readers[0].kind == "split" and name not in self._visible:
                self._done.add(readers[0].name)
                pieces += self._pieces(readers[0].outputs)
            else:
                pieces.append(name)
        return pieces

    def _cut(self, value: str, pieces: list[str]) -> None:
        if len(pieces) == 1:
            self.values[pieces[0]] = value
            return
        self.values.update({name: self._graph.name() for name in pieces})
        sizes = [self._program.tensors[name].size for name in pieces]
        split(self._graph, value, [self.values[name] for name in pieces], sizes)

    def _joined(self, values: list[str]) -> str:
        return values[0] if len(values) == 1 else self._graph.node("Concat", values, axis=-1)

    def _concat(self, op: Operator) -> None:
        self.values[op.name] = self._joined([self.value(name) for name in op.inputs])

    def _activation(self, op: Operator) -> None:
        scale = float(self._program.tensors[op.inputs[0]].scale)
        table = self._tables.activation(op.kind, scale)
        self.values[op.name] = self._graph.node("Gather", [table, *self._operands(op)])
        self._bounds[op.name] = (0 if op.kind == "logistic" else -INT16_MAX, INT16_MAX)

    def _relu(self, op: Operator) -> None:
        zero = self._graph.scalar(0)
        self.values[op.name] = self._graph.node("Max", [*self._operands(op), zero])
        self._bounds[op.name] = (0, INT16_MAX)

    def _maximum(self, op: Operator) -> None:
        self.values[op.name] = self._graph.node("Max", self._operands(op))
        lows, highs = zip(*(self._bound(name) for name in op.inputs), strict=True)
        self._bounds[op.name] = (max(lows), max(highs))

    def _select(self, op: Operator) -> None:
        mask, *values = self._operands(op)
        self.values[op.name] = self._graph.node(
            "Where", [self._graph.cast(mask, np.bool_), *values]
        )
        lows, highs = zip(*(self._bound(name) for name in op.inputs[1:]), strict=True)
        self._bounds[op.name] = (min(lows), max(highs))

    def _lookup(self, op: Operator) -> None:
        """(t[i] * 128 + 64 + rise[i] * fraction) / 128, kept positive so that Div is a floor."""
        assert op.table is not None
        g, (x,) = self._graph, self._operands(op)
        if x not in self._stretches:
            lifted = g.node("Add", [x, g.scalar(-INT16_MIN)])
            self._stretches[x] = (
                g.node("Div", [lifted, g.scalar(STRETCH)]),
                g.node("Mod", [lifted, g.scalar(STRETCH)]),
            )
        index, fraction = self._stretches[x]
        start, rise = (g.node("Gather", [t, index]) for t in self._tables.lookup(op.table))
        value = g.node("Add", [start, g.node("Mul", [rise, fraction])])
        value = g.node("Div", [value, g.scalar(STRETCH)])
        self.values[op.name] = g.node("Sub", [value, g.scalar(STRETCH_LIFT)])
        # An interpolated value lies between its two neighbours.
        self._bounds[op.name] = (int(op.table.min()), int(op.table.max()))

    def _rsqrt(self, op: Operator) -> None:
        gain = rsqrt_gain(*(self._program.tensors[n].scale for n in (op.inputs[0], op.name)))
        table = self._tables.rsqrt(gain)
        self.values[op.name] = self._graph.node("Gather", [table, *self._operands(op)])
        self._bounds[op.name] = (0, INT16_MAX)

    def _embedding(self, op: Operator) -> None:
        assert op.table is not None
        g, (ids,), last = self._graph, self._operands(op), len(op.table) - 1
        ids = clamp(g, ids, 0, last)
        ids = g.node("Squeeze", [ids, g.constant(np.array([-1]))])
        # The table stays int8 in memory: only the row becomes int32.
        row = g.node("Gather", [g.constant(op.table), ids])
        self.values[op.name] = g.cast(row, np.int32)
        self._bounds[op.name] = (int(op.table.min()), int(op.table.max()))

    def _mul(self, op: Operator) -> None:
        value = self._graph.node("Mul", self._operands(op))
        value = rounded(self._graph, value, 15, -(1 << 14), (1 << 14) + 1)
        (a, b), (c, d) = (self._bound(name) for name in op.inputs)
        corners = (a * c, a * d, b * c, b * d)
        self._store(op.name, value, (min(corners) + 16383) >> 15, (max(corners) + 16385) >> 15)

    def _rescale(self, op: Operator) -> None:
        scales = [self._program.tensors[name].scale for name in (op.inputs[0], op.name)]
        table = self._tables.rescaled(float(scales[0]) / float(scales[1]))
        self.values[op.name] = self._graph.node("Gather", [table, *self._operands(op)])

    def _sum(self, op: Operator, sign: int) -> None:
        """ADD and SUB. Operands become multiples of 2^-14 of the larger scale, which is exact for
        near powers of two and otherwise two roundings of a single int16, so a table."""
        g = self._graph
        scales = [self._program.tensors[name].scale for name in (*op.inputs, op.name)]
        twice_max = 2.0 * max(float(scales[0]), float(scales[1]))
        q, shift = quantize_multiplier(twice_max / (32768.0 * float(scales[2])))
        units = [s.fraction * (1 << 15) / Fraction(twice_max) for s in scales[:2]]
        common = 0
        if all(map(_is_power, units)) and q == HALF_UNIT:
            # The sum is even: one rounding is left, away from zero, or none.
            common = min(*(u.numerator.bit_length() - 1 for u in units), 1 - shift)
        terms = []
        for term, unit, scale in zip(self._operands(op), units, scales, strict=False):
            factor = unit.numerator >> common
            if not _is_power(unit):
                table = self._tables.shifted(float(scale) / twice_max)
                term = g.node("Gather", [table, term])
            elif factor != 1:
                term = g.node("Mul", [term, g.scalar(factor)])
            terms.append(term)
        value = g.node("Add" if sign > 0 else "Sub", terms)
        if q != HALF_UNIT:
            self.values[op.name] = multiplied(g, value, q, shift)
            return
        n = 1 - shift - common
        if n == 1 and common:
            value = g.node("Div", [g.node("Add", [value, g.node("Sign", [value])]), g.scalar(2)])
        elif n:
            half = 1 << (n - 1)
            value = rounded(self._graph, value, n, -half, half if common else half + 1)
        (low, high), (below, above) = (self._bound(name) for name in op.inputs)
        if sign < 0:
            below, above = -above, -below
        r, s = (scale.fraction / scales[2].fraction for scale in scales[:2])
        # A unit of slack covers every rounding, except where there is none but halves.
        slack = 0 if (2 * r).denominator == (2 * s).denominator == 1 else 1
        least, most = _away(low * r + below * s), _away(high * r + above * s)
        self._store(op.name, value, least - slack, most + slack)

    def _bound(self, name: str) -> tuple[int, int]:
        return self._bounds.get(name, (INT16_MIN, INT16_MAX))

    def _store(self, name: str, value: str, low: int, high: int) -> None:
        if low < INT16_MIN or high > INT16_MAX:
            value = clamp(self._graph, value)
        self.values[name] = value
        self._bounds[name] = (max(low, INT16_MIN), min(high, INT16_MAX))


def _is_power(value: Fraction) -> bool:
    """Is it one of 1, 2, 4, ...?"""
    return value.denominator == 1 and not value.numerator & (value.numerator - 1)


def _away(value: Fraction) -> int:
    """To the nearest integer, halves away from zero."""
    rounded = int(abs(value) + Fraction(1, 2))
    return rounded if value >= 0 else -rounded
