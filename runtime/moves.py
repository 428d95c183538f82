"""Operators of the NumPy engine that pass elements on: the larger, the chosen, parts, the whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgernn.runtime.memory import Memory, Slot
from edgernn.runtime.program import Operator


def relu(m: Memory, op: Operator) -> None:
    """max(x, 0)."""
    source, target = m.slots[op.inputs[0]].array, m.target(op.name)
    # fmax, unlike maximum, does not look for NaN, which no integer is.
    m.call(np.fmax, source, m.filled(len(target), 0.0), target)
    m.slots[op.name] = Slot(target, positive=True)


def maximum(m: Memory, op: Operator) -> None:
    """max(a, b)."""
    (a, b), target = (m.slots[n] for n in op.inputs), m.target(op.name)
    m.call(np.fmax, a.array, b.array, target)
    m.slots[op.name] = Slot(target, positive=a.positive or b.positive)


def select(m: Memory, op: Operator) -> None:
    """a where the mask is not 0, else b."""
    mask, a, b = (m.slots[n] for n in op.inputs)
    target = m.target(op.name)
    flags = m.shared("flags", len(target), np.bool_)
    # Cast to truth values, and a mask of one element spread over all, in one copy.
    m.copy(mask.array, flags)
    m.copy(b.array, target)
    m.call(np.putmask, target, flags, a.array)
    m.slots[op.name] = Slot(target, positive=a.positive and b.positive)


def split(m: Memory, op: Operator) -> None:
    """Parts, which stay where they are unless they must lie elsewhere."""
    source = m.slots[op.inputs[0]]
    end = 0
    for name in op.outputs:
        begin, end = end, end + m.program.tensors[name].size
        part = source.array[begin:end]
        index = None if source.index is None else source.index[begin:end]
        if m.is_placed(name):
            m.copy(part, m.target(name))
            part = m.target(name)
        m.slots[name] = replace(source, array=part, index=index)


def concat(m: Memory, op: Operator) -> None:
    """One after the other."""
    target, end = m.target(op.name), 0
    for name in op.inputs:
        begin, end = end, end + m.program.tensors[name].size
        m.copy(m.slots[name].array, target[begin:end])
    m.slots[op.name] = Slot(target)
