"""The operators of a program as ONNX nodes, in integers that any runtime computes alike.

Between the operators values are int32, (..., size). ONNX's integer Div truncates toward zero, so
a rounding is an addend that depends on the sign, then a Div. Matrix products that can run at the
same time are requantized together: their number of nodes is what a small step costs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn.exporters.onnx_graph import OnnxGraph
from edgernn.exporters.onnx_tables import Tables
from edgernn.runtime.fixedpoint import INT16_MAX, INT16_MIN, quantize_multiplier
from edgernn.runtime.program import Matrix, Operator, Program

MAX_BLOCK: Final = 516
"""Columns whose int16 x int8 products fit an int32 sum: 516 * 127 * 32768 < 2^31."""
_LIFT: Final = 62
# Above every requantized value, and a multiple of 2^32: a Cast to int32 drops it.
_SAFE: Final = 50
_HALF_UNIT: Final = 1 << 30


class Emitter:
    """Appends the operators of a program to a graph.

    values: tensor name -> int32 value; put the inputs and states there, call `run`, read the rest.
    visible: tensors that are read from outside and must exist as they are.
    """

    def __init__(self, program: Program, graph: OnnxGraph, visible: Collection[str]) -> None:
        self._program = program
        self._graph = graph
        self._tables = Tables(graph)
        self._visible = frozenset(visible)
        self.values: dict[str, str] = {}
        # Bounds of the integers: they tell which clamps can never act.
        self._bounds: dict[str, tuple[int, int]] = {}
        # Operators done before their turn: products that joined an earlier one, and their splits.
        self._done: set[str] = set()

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
            "split": lambda op: self._cut(self.values[op.inputs[0]], self._pieces(op.outputs)),
            "concat": self._concat,
        }
        for index, op in enumerate(self._program.operators):
            if op.name in self._done:
                continue
            if op.kind == "linear":
                self._products(self._program.operators[index:])
            else:
                emitters[op.kind](op)

    def _products(self, operators: Iterable[Operator]) -> None:
        """All products among these whose input is there already, requantized as one vector."""
        group = [
            op
            for op in operators
            if op.matrix and op.inputs[0] in self.values and op.name not in self._done
        ]
        self._done.update(op.name for op in group)
        matrices = [op.matrix for op in group if op.matrix]
        sums = [self._blocks(op, m.weight) for op, m in zip(group, matrices, strict=True)]
        if any(wide for _, wide in sums):
            parts = [v if wide else self._graph.cast(v, np.int64) for v, wide in sums]
            accumulator = self._joined(parts)
        else:
            accumulator = self._graph.cast(self._joined([v for v, _ in sums]), np.int64)
        pieces = [piece for op in group for piece in self._pieces(op.outputs)]
        self._cut(self._requantized(accumulator, matrices), pieces)

    def _blocks(self, op: Operator, weight: NDArray[np.int8]) -> tuple[str, bool]:
        """W x, in int32 if its columns are few enough, else in int64; and whether in int64."""
        g, x, columns = self._graph, self.values[op.inputs[0]], weight.shape[1]
        begins = range(0, columns, MAX_BLOCK)
        parts = [x]
        if len(begins) > 1:
            parts = [g.name() for _ in begins]
            sizes = [min(MAX_BLOCK, columns - begin) for begin in begins]
            self._split(x, parts, sizes)
        products = []
        for begin, part in zip(begins, parts, strict=True):
            stored = g.constant(weight.T[begin : begin + MAX_BLOCK])
            products.append(g.node("MatMul", [part, g.root.cast(stored, np.int32)]))
        if len(products) == 1:
            return products[0], False
        total = g.cast(products[0], np.int64)
        for product in products[1:]:
            total = g.node("Add", [total, g.cast(product, np.int64)])
        return total, True

    def _requantized(self, accumulator: str, matrices: list[Matrix]) -> str:
        """sat((acc * m + 2^(k-1)) >> k) per row; int64 in, int32 out.

        BitShift is logical. Shifting all rows by the largest k leaves the right low 32 bits as
        long as k <= 32 and the values are not extreme; otherwise every row is shifted by its own
        k, and 2^62 keeps the numbers positive.
        """
        g = self._graph
        bias, multiplier, shift = (
            np.concatenate([getattr(m, part) for m in matrices]).astype(np.int64)
            for part in ("bias", "multiplier", "shift")
        )
        addend = bias * multiplier + (np.int64(1) << (shift - 1))
        most, largest = int(shift.max()), np.concatenate([_reach(m) for m in matrices]) * multiplier
        up = most - shift
        fits = most <= 32 and bool((largest >> shift).max() < (1 << 31) - 1)
        if fits and np.ldexp(largest.astype(np.float64), up).max() < 2.0**62:
            value = g.node("Mul", [accumulator, g.constant(multiplier << up)])
            value = g.cast(g.node("Add", [value, g.constant(addend << up)]), np.uint64)
            value = g.node("BitShift", [value, g.scalar(most, np.uint64)], direction="RIGHT")
            return self._clamp(g.cast(value, np.int32))
        multipliers = g.root.cast(g.constant(multiplier.astype(np.int16)), np.int64)
        shifts = g.root.cast(g.constant(shift.astype(np.uint8)), np.uint64)
        value = g.node("Mul", [accumulator, multipliers])
        value = g.node("Add", [value, g.constant(addend + (1 << _LIFT))])
        value = g.node("BitShift", [g.cast(value, np.uint64), shifts], direction="RIGHT")
        lift = g.scalar(1 << _LIFT, np.uint64)
        lifts = g.root.cast(g.root.node("BitShift", [lift, shifts], direction="RIGHT"), np.int64)
        # ONNX Runtime's Clip is wrong for some int64 beyond int32, but not for uint64.
        lifts = g.root.node("Sub", [lifts, g.scalar(1 << _SAFE, np.int64)])
        value = g.cast(g.node("Sub", [g.cast(value, np.int64), lifts]), np.uint64)
        limits = [g.scalar((1 << _SAFE) + n, np.uint64) for n in (INT16_MIN, INT16_MAX)]
        return g.cast(g.node("Clip", [value, *limits]), np.int32)

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
        self._split(value, [self.values[name] for name in pieces], sizes)

    def _split(self, value: str, outputs: list[str], sizes: list[int]) -> None:
        # Without lengths the parts are equal.
        equal = len(set(sizes)) == 1
        lengths = [] if equal else [self._graph.constant(np.array(sizes, np.int64))]
        self._graph.nodes("Split", [value, *lengths], outputs, axis=-1)

    def _joined(self, values: list[str]) -> str:
        return values[0] if len(values) == 1 else self._graph.node("Concat", values, axis=-1)

    def _concat(self, op: Operator) -> None:
        self.values[op.name] = self._joined([self.values[name] for name in op.inputs])

    def _activation(self, op: Operator) -> None:
        scale = float(self._program.tensors[op.inputs[0]].scale)
        table = self._tables.activation(op.kind, scale)
        self.values[op.name] = self._graph.node("Gather", [table, self.values[op.inputs[0]]])
        self._bounds[op.name] = (0 if op.kind == "logistic" else -INT16_MAX, INT16_MAX)

    def _relu(self, op: Operator) -> None:
        value = self.values[op.inputs[0]]
        self.values[op.name] = self._graph.node("Max", [value, self._graph.scalar(0)])
        self._bounds[op.name] = (0, INT16_MAX)

    def _mul(self, op: Operator) -> None:
        product = self._graph.node("Mul", [self.values[name] for name in op.inputs])
        value = self._rounded(product, 15, -(1 << 14), (1 << 14) + 1)
        (a, b), (c, d) = (self._bound(name) for name in op.inputs)
        corners = (a * c, a * d, b * c, b * d)
        self._store(op.name, value, (min(corners) + 16383) >> 15, (max(corners) + 16385) >> 15)

    def _rescale(self, op: Operator) -> None:
        scales = [self._program.tensors[name].scale for name in (op.inputs[0], op.name)]
        table = self._tables.rescaled(float(scales[0]) / float(scales[1]))
        self.values[op.name] = self._graph.node("Gather", [table, self.values[op.inputs[0]]])

    def _sum(self, op: Operator, sign: int) -> None:
        """ADD and SUB. Operands become multiples of 2^-14 of the larger scale, which is exact for
        near powers of two and otherwise two roundings of a single int16, so a table."""
        g = self._graph
        scales = [self._program.tensors[name].scale for name in (*op.inputs, op.name)]
        twice_max = 2.0 * max(float(scales[0]), float(scales[1]))
        q, shift = quantize_multiplier(twice_max / (32768.0 * float(scales[2])))
        units = [s.fraction * (1 << 15) / Fraction(twice_max) for s in scales[:2]]
        common = 0
        if all(map(_is_power, units)) and q == _HALF_UNIT:
            # The sum is even: one rounding is left, away from zero, or none.
            common = min(*(u.numerator.bit_length() - 1 for u in units), 1 - shift)
        terms = []
        for name, unit, scale in zip(op.inputs, units, scales, strict=False):
            term, factor = self.values[name], unit.numerator >> common
            if not _is_power(unit):
                table = self._tables.shifted(float(scale) / twice_max)
                term = g.node("Gather", [table, term])
            elif factor != 1:
                term = g.node("Mul", [term, g.scalar(factor)])
            terms.append(term)
        value = g.node("Add" if sign > 0 else "Sub", terms)
        if q != _HALF_UNIT:
            self.values[op.name] = self._multiplied(value, q, shift)
            return
        n = 1 - shift - common
        if n == 1 and common:
            value = g.node("Div", [g.node("Add", [value, g.node("Sign", [value])]), g.scalar(2)])
        elif n:
            half = 1 << (n - 1)
            value = self._rounded(value, n, -half, half if common else half + 1)
        (low, high), (below, above) = (self._bound(name) for name in op.inputs)
        if sign < 0:
            below, above = -above, -below
        r, s = (scale.fraction / scales[2].fraction for scale in scales[:2])
        # A unit of slack covers every rounding, except where there is none but halves.
        slack = 0 if (2 * r).denominator == (2 * s).denominator == 1 else 1
        least, most = _away(low * r + below * s), _away(high * r + above * s)
        self._store(op.name, value, least - slack, most + slack)

    def _multiplied(self, value: str, q: int, shift: int) -> str:
        """value * q * 2^(shift - 31) in two roundings, clamped: the general case, in int64."""
        g = self._graph
        assert shift <= 0, "the sum is never enlarged"

        def divide(x: str, bits: int, below: int, above: int) -> str:
            nudges = [g.scalar(below, np.int64), g.scalar(above, np.int64)]
            x = g.node("Add", [x, g.node("Where", [negative, *nudges])])
            return g.node("Div", [x, g.scalar(1 << bits, np.int64)])

        negative = g.node("Less", [value, g.scalar(0)])
        wide = g.node("Mul", [g.cast(value, np.int64), g.scalar(q, np.int64)])
        wide = divide(wide, 31, 1 - _HALF_UNIT, _HALF_UNIT)
        if shift:
            half = 1 << (-shift - 1)
            wide = divide(wide, -shift, -half, half)
        # It fits int32 by now: a sum below 2^30 in size was multiplied by less than one.
        return self._clamp(g.cast(wide, np.int32))

    def _rounded(self, value: str, bits: int, below: int, above: int) -> str:
        """value / 2^bits toward zero, after adding `below` to negative values, else `above`."""
        g = self._graph
        negative = g.node("Less", [value, g.scalar(0)])
        nudge = g.node("Where", [negative, g.scalar(below), g.scalar(above)])
        return g.node("Div", [g.node("Add", [value, nudge]), g.scalar(1 << bits)])

    def _bound(self, name: str) -> tuple[int, int]:
        return self._bounds.get(name, (INT16_MIN, INT16_MAX))

    def _store(self, name: str, value: str, low: int, high: int) -> None:
        if low < INT16_MIN or high > INT16_MAX:
            value = self._clamp(value)
        self.values[name] = value
        self._bounds[name] = (max(low, INT16_MIN), min(high, INT16_MAX))

    def _clamp(self, value: str) -> str:
        limits = [self._graph.scalar(limit) for limit in (INT16_MIN, INT16_MAX)]
        return self._graph.node("Clip", [value, *limits])


def _reach(matrix: Matrix) -> NDArray[np.int64]:
    """The largest |accumulator| of each row over all int16 inputs."""
    weight: NDArray[np.int64] = np.abs(matrix.weight.astype(np.int64)).sum(axis=1)
    reach: NDArray[np.int64] = weight * -INT16_MIN + np.abs(matrix.bias)
    return reach


def _is_power(value: Fraction) -> bool:
    """Is it one of 1, 2, 4, ...?"""
    return value.denominator == 1 and not value.numerator & (value.numerator - 1)


def _away(value: Fraction) -> int:
    """To the nearest integer, halves away from zero."""
    rounded = int(abs(value) + Fraction(1, 2))
    return rounded if value >= 0 else -rounded
