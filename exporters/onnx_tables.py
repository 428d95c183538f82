"""Constant sub-graphs: the tables that the nodes of a step read.

What every model shares is a table over all 65,536 inputs. The file holds the 256 entries that the
kernels interpolate, or the steps to a root; the nodes here compute the large tables, and a runtime
folds them when it loads the model. They are indexed by the integer itself: negative indices of a
Gather count from the end, so -1 finds the last entry. A lookup has a function of its own: its table
keeps the 513 points, and the step interpolates.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgernn.exporters.onnx_graph import OnnxGraph
from edgernn.runtime.activation import LAST, SIGMOID_TABLE, input_multiplier
from edgernn.runtime.fixedpoint import INT16_MAX, INT16_MIN, quantize_multiplier

STRETCH: Final = 128
"""Inputs between two points of a lookup."""
STRETCH_LIFT: Final = 65536
"""Added to a lookup's value while it is divided."""
_ROOT_BITS: Final = 12
_ROOT_STEPS: Final = 7
_SHIFT: Final = 30
# Keeps a dividend positive, so that the truncating Div is a floor.
_LIFT: Final = 1 << 60
# Per function: bits of the interpolation, addend and divisor of the final rounding, and the
# constant c in f(-a) = c - f(a).
_FORMS: Final = {"logistic": (9, 512, 1024, 32768), "tanh": (8, 128 - (1 << 23), 256, 0)}


class Tables:
    """The tables of one model in its root graph; equal nodes exist once, so tables share parts."""

    def __init__(self, graph: OnnxGraph) -> None:
        self._graph = graph.root
        self._made: dict[tuple[str, ...], str] = {}

    def activation(self, kind: str, scale: float) -> str:
        """LOGISTIC or TANH of x at this scale: (65536,) int32."""
        multiplier, shift = input_multiplier(scale)
        # The largest |xi| before the functions stay at their limit, which they have there.
        last = (LAST << _FORMS[kind][0]) - 1
        # One shift for all scales: then only the multiplier is a constant of its own.
        product = self._node("Mul", self._all_inputs(), self._int(multiplier << (_SHIFT - shift)))
        lifted = self._add(product, _LIFT + (1 << (_SHIFT - 1)))
        # The last addend also turns xi = -last .. last into an index from 0.
        index = self._add(self._divide(lifted, 1 << _SHIFT), last - (_LIFT >> _SHIFT))
        index = self._node("Clip", index, self._int(0), self._int(2 * last))
        return self._node("Gather", self._interpolated(kind, last), index)

    def shifted(self, factor: float) -> str:
        """An operand of ADD, (x << 15) * factor, in its two roundings: (65536,) int32."""
        _, shift = quantize_multiplier(factor)
        assert shift <= 0, "an operand is never enlarged"
        return self._multiplied(15, factor)

    def rescaled(self, factor: float) -> str:
        """x * factor in its two roundings, clamped: (65536,) int32."""
        constant = self._graph.scalar
        limits = (constant(INT16_MIN), constant(INT16_MAX))
        return self._node("Clip", self._multiplied(0, factor), *limits)

    def lookup(self, table: NDArray[np.int16]) -> tuple[str, str]:
        """Per stretch between two points, (512,) int32 each: its start, and its rise.

        The start is t[i] * 128, with the half that rounds and the lift that keeps it positive.
        """
        constant = self._graph.scalar
        points = self._node("Cast", self._graph.constant(table), to=np.int32)
        i = self._node("Range", *(self._int(n) for n in (0, len(table) - 1, 1)))
        low = self._node("Gather", points, i)
        rise = self._node("Sub", self._node("Gather", points, self._add(i, 1)), low)
        start = self._node("Mul", low, constant(STRETCH))
        half = constant(STRETCH * STRETCH_LIFT + STRETCH // 2)
        return self._node("Add", start, half), rise

    def rsqrt(self, gain: int) -> str:
        """1 / sqrt(x) at this gain: (65536,) int32.

        The root of (4^(16 + g) - 1) / x by Newton's method in integers, which has settled after
        these steps for every x and g. It may end one too high: the smaller of r and q / r is it.
        """
        x = self._node("Range", self._int(0), self._int(INT16_MAX + 1), self._int(1))
        x = self._node("Max", x, self._int(1))
        quotient = self._node("Div", self._int(4 ** (16 + gain) - 1), x)
        root = self._int(1 << (_ROOT_BITS + gain))
        for _ in range(_ROOT_STEPS):
            root = self._node("Add", root, self._node("Div", quotient, root))
            root = self._divide(root, 2)
        root = self._node("Min", root, self._node("Div", quotient, root))
        value = self._node("Min", self._divide(self._add(root, 1), 2), self._int(INT16_MAX))
        value = self._node("Cast", value, to=np.int32)
        index = self._node("Max", self._all_inputs(), self._int(0))
        return self._node("Gather", value, index)

    def _multiplied(self, left: int, factor: float) -> str:
        """(x << left) * factor, half up and then away from zero: (65536,) int32.

        For a factor above one the left shift comes first, as in the kernels.
        """
        q, shift = quantize_multiplier(factor)
        left, shift = left + max(shift, 0), min(shift, 0)
        x = self._all_inputs()
        negative = self._node("Less", x, self._int(0))
        value = self._node("Mul", x, self._int(q << left))
        nudge = self._node("Where", negative, self._int(1 - (1 << 30)), self._int(1 << 30))
        value = self._divide(self._node("Add", value, nudge), 1 << 31)
        value = self._node("Cast", value, to=np.int32)
        if shift:
            half, constant = 1 << (-shift - 1), self._graph.scalar
            nudge = self._node("Where", negative, constant(-half), constant(half))
            value = self._node("Div", self._node("Add", value, nudge), constant(1 << -shift))
        return value

    def _all_inputs(self) -> str:
        """0 .. 32767, -32768 .. -1."""
        parts = [
            self._node("Range", *(self._int(n) for n in limits))
            for limits in ((0, 32768, 1), (-32768, 0, 1))
        ]
        return self._node("Concat", *parts, axis=0)

    def _interpolated(self, kind: str, last: int) -> str:
        """The function on the table's own grid, xi = -last .. last: int32."""
        bits, addend, divisor, reflection = _FORMS[kind]
        xi = self._node("Range", self._int(-last), self._int(last + 1), self._int(1))
        a = self._node("Abs", xi)
        i = self._divide(a, 1 << bits)
        fraction = self._node("Mod", a, self._int(1 << bits))
        stored = self._graph.constant(SIGMOID_TABLE.astype(np.uint16))
        table = self._node("Cast", stored, to=np.int64)
        low = self._node("Gather", table, i)
        high = self._node("Gather", table, self._add(i, 1))
        r = self._node(
            "Add",
            self._node("Mul", low, self._int(1 << bits)),
            self._node("Mul", fraction, self._node("Sub", high, low)),
        )
        positive = self._divide(self._add(r, addend), divisor)
        negative = self._node("Sub", self._int(reflection), positive)
        is_negative = self._node("Less", xi, self._int(0))
        signed = self._node("Where", is_negative, negative, positive)
        return self._node("Cast", signed, to=np.int32)

    def _node(self, op: str, *inputs: str, **attributes: Any) -> str:
        key = (op, *inputs, repr(attributes))
        if key not in self._made:
            if op == "Cast":
                self._made[key] = self._graph.cast(inputs[0], attributes["to"])
            else:
                self._made[key] = self._graph.node(op, inputs, **attributes)
        return self._made[key]

    def _int(self, value: int) -> str:
        return self._graph.scalar(value, np.int64)

    def _add(self, value: str, addend: int) -> str:
        return self._node("Add", value, self._int(addend))

    def _divide(self, value: str, divisor: int) -> str:
        return self._node("Div", value, self._int(divisor))
