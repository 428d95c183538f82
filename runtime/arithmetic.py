"""Element-wise arithmetic of the NumPy engine: products, sums and differences.

MUL's two roundings become one. With p = a b 2^-15, rule and floor(p + 1/2 + sign(p) 2^-15) agree on
every int16 pair. If b carries TAU = 2^-16 and a >= 0, then rint(p + sign(b) 2^-15) does too: the
product's share of TAU, below 2^-16, replaces the half and rules out ties.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from edgernn.runtime import tables
from edgernn.runtime.fixedpoint import INT16_MAX, INT16_MIN, quantize_multiplier
from edgernn.runtime.memory import Float64Array, Memory, Slot
from edgernn.runtime.program import Operator
from edgernn.runtime.readers import TABLES, other_operand

Q15: Final = 2.0**-15


def mul(m: Memory, op: Operator) -> None:
    """a * b 2^-15, rounded as the rule does."""
    a, b = (m.slots[n] for n in op.inputs)
    if b.unit != 1.0:
        a, b = b, a
    target = m.target(op.name)
    size = len(target)
    m.call(np.multiply, a.array, b.array, target)
    if a.unit * b.unit != Q15:
        m.call(np.multiply, target, m.filled(size, Q15 / (a.unit * b.unit)), target)
    # Without a sigmoid or relu, -32768 * -32768 must be clamped before anything is added.
    if a.positive and b.index is not None and m.readers.round_later(op.name):
        nudge = m.shared("signed", size)
        m.call(tables.raised_nudge().take, b.index, None, nudge, "clip")
        m.call(np.add, target, nudge, target)
        m.slots[op.name] = Slot(target, raised=True)
        return
    if b.tau:
        _nudge(m, target, b.array, Q15)
        m.call(np.rint, target, target)
    else:
        _nudge(m, target, target, Q15)
        m.call(np.add, target, m.filled(size, 0.5), target)
        m.call(np.floor, target, target)
    if not (a.positive or b.positive):
        # Only -32768 * -32768 leaves int16, and only upwards.
        m.call(np.fmin, target, m.filled(size, INT16_MAX), target)
    m.slots[op.name] = Slot(target)


def add_or_subtract(m: Memory, op: Operator, ufunc: Callable[..., object]) -> None:
    """a + b or a - b, as the ufunc says; a table behind it may clamp."""
    scales = [m.program.tensors[n].scale.fraction for n in (*op.inputs, op.name)]
    a, b = (m.slots[n] for n in op.inputs)
    target = m.target(op.name)
    if scales[0] == scales[1] == scales[2]:
        m.call(ufunc, a.array, b.array, target)
        if m.readers.are_only(op.name, TABLES):
            m.slots[op.name] = Slot(target, wide=True, raised=a.raised or b.raised)
            return
        m.look_up(tables.clamp(), target, target)
    elif scales[0] == scales[1] and scales[2] == 2 * scales[0]:
        m.call(ufunc, a.array, b.array, target)
        tau = m.readers.are_only(op.name, ("mul",)) and _meets_positive(m, op.name)
        m.look_up(tables.half_away(tau), target, target)
        m.slots[op.name] = Slot(target, tau=tau)
        return
    elif scales[1] == 2 * scales[0] == 2 * scales[2]:
        m.call(ufunc, a.array, b.array, target)
        m.call(ufunc, target, b.array, target)
        m.look_up(tables.clamp(), target, target)
    else:
        _rescaled_sum(m, op, ufunc, a.array, b.array, target)
    m.slots[op.name] = Slot(target)


def _rescaled_sum(
    m: Memory,
    op: Operator,
    ufunc: Callable[..., object],
    a: Float64Array,
    b: Float64Array,
    target: Float64Array,
) -> None:
    """Three scales: both operands brought to 2 max / 2^15, summed, brought to the output's."""
    size = len(target)
    scale_a, scale_b, scale_out = (float(m.program.tensors[n].scale) for n in (*op.inputs, op.name))
    twice_max = 2.0 * max(scale_a, scale_b)
    part_a, part_b = m.shared("a", size), m.shared("b", size)
    m.look_up(tables.shifted(scale_a / twice_max), a, part_a)
    m.look_up(tables.shifted(scale_b / twice_max), b, part_b)
    m.call(ufunc, part_a, part_b, target)
    q, shift = quantize_multiplier(twice_max / (32768.0 * scale_out))
    if q == 1 << 30:
        # A power of two: its two roundings become one, as those of MUL do.
        factor = 2.0 ** (shift - 1)
        m.call(np.multiply, target, m.filled(size, factor), target)
        _nudge(m, target, target, factor)
        m.call(np.add, target, m.filled(size, 0.5), target)
        m.call(np.floor, target, target)
    else:
        _integer_rescale(m, target, q, -shift)
    m.call(np.fmin, target, m.filled(size, INT16_MAX), target)
    m.call(np.fmax, target, m.filled(size, INT16_MIN), target)


def _integer_rescale(m: Memory, target: Float64Array, q: int, right: int) -> None:
    """RDBPOT(SRDHM(x, q), right) in int64: the product has more bits than float64 holds."""
    size = len(target)
    wide, sign = (m.shared(role, size, np.int64) for role in ("wide", "wide sign"))
    m.copy(target, wide)
    for ufunc, value, out in (
        (np.multiply, q, wide),
        (np.add, 1 << 30, wide),
        (np.right_shift, 31, wide),
        (np.right_shift, 63, sign),
    ):
        m.call(ufunc, wide, m.filled(size, value, np.int64), out)
    m.call(np.add, wide, sign, wide)
    for ufunc, value in ((np.add, 1 << (right - 1)), (np.right_shift, right)):
        m.call(ufunc, wide, m.filled(size, value, np.int64), wide)
    m.copy(wide, target)


def _nudge(m: Memory, target: Float64Array, sign: Float64Array, amount: float) -> None:
    """Add `amount` with the sign of `sign`."""
    signed = m.shared("signed", len(target))
    m.call(np.copysign, m.filled(len(target), amount), sign, signed)
    m.call(np.add, target, signed, target)


def _meets_positive(m: Memory, name: str) -> bool:
    """Is every reader of this tensor a product with a sigmoid in units of 2^-15?"""
    readers = m.readers.of(name)
    if any(reader.kind != "mul" for reader in readers):
        return False
    others = [other_operand(reader, name) for reader in readers]
    return all(
        other != name
        and other in m.slots
        and m.slots[other].positive
        and m.slots[other].unit == Q15
        for other in others
    )
