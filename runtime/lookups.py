"""Operators of the NumPy engine that are one look-up: a function of int16 as a table of float64.

The rules are in `edgernn.runtime.operators` and `functions`, the tables in `tables`.
"""

from __future__ import annotations

import numpy as np

from edgernn.runtime import products, tables
from edgernn.runtime.arithmetic import Q15
from edgernn.runtime.functions import rsqrt_gain
from edgernn.runtime.memory import Memory, Slot
from edgernn.runtime.program import Operator


def activation(m: Memory, op: Operator) -> None:
    """LOGISTIC or TANH; what it is given may be wide or raised."""
    source, target = m.slots[op.inputs[0]], m.target(op.name)
    scale = float(m.program.tensors[op.inputs[0]].scale)
    unit = Q15 if m.readers.are_only(op.name, ("mul",)) else 1.0
    if source.raised:
        table = tables.activation(op.kind, scale, unit)
        m.look_up(table, source.array, target, "clip")
    else:
        m.look_up(tables.wide_activation(op.kind, scale, unit), source.array, target)
    m.slots[op.name] = Slot(target, unit=unit, positive=op.kind == "logistic")


def rescale(m: Memory, op: Operator) -> None:
    """The same values at another scale."""
    source, target = m.slots[op.inputs[0]].array, m.target(op.name)
    scales = [float(m.program.tensors[n].scale) for n in (op.inputs[0], op.name)]
    m.look_up(tables.rescaled(*scales), source, target)
    m.slots[op.name] = Slot(target)


def lookup(m: Memory, op: Operator) -> None:
    """A function by a table of the program's own."""
    assert op.table is not None
    target = m.target(op.name)
    m.look_up(tables.interpolated(op.table), m.slots[op.inputs[0]].array, target)
    m.slots[op.name] = Slot(target, positive=bool(op.table.min() >= 0))


def rsqrt(m: Memory, op: Operator) -> None:
    """1 / sqrt(x)."""
    gain = rsqrt_gain(*(m.program.tensors[n].scale for n in (op.inputs[0], op.name)))
    target = m.target(op.name)
    m.look_up(tables.rsqrt(gain), m.slots[op.inputs[0]].array, target)
    m.slots[op.name] = Slot(target, positive=True)


def embedding(m: Memory, op: Operator) -> None:
    """Row of a table by token id; the table stays int8, where the program has it."""
    assert op.table is not None
    target = m.target(op.name)
    index = m.shared("index", 1, np.intp)
    rows = products.aligned((m.batch or 1, len(target)), np.int8)
    m.copy(m.slots[op.inputs[0]].array, index)
    # Clipped, an id beyond the table is the nearest one. A table with gaps would be copied by every
    # take, so it is copied now.
    m.call(np.ascontiguousarray(op.table).take, index.reshape(-1), 0, rows, "clip")
    m.copy(rows[0] if m.batch is None else rows.T, target)
    m.slots[op.name] = Slot(target)
