"""The step of the NumPy engine: the program compiled into a list of array operations.

Integers are held in float64, where sums and products below 2^53 are exact, because NumPy has no
fast integer matrix product; every result is the same integer that the int64 rules give. All
buffers are allocated here, once; a call in the list allocates nothing. Arrays are (size,) for one
stream and (size, batch) for several.

A ufunc call costs more than what it computes, so the list is made short:
- requantizing is folded into the product's weights (`products`), saturating into a table look-up;
- a value that only reaches a table is neither clamped nor rounded first, the table does both;
- MUL's two roundings become one (`arithmetic`).

Products are compiled here, the other operators in `arithmetic`, `lookups` and `moves`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import numpy as np

from edgernn.runtime import arithmetic, lookups, moves, products, tables
from edgernn.runtime.layout import split_roots
from edgernn.runtime.memory import Float64Array, Memory, Slot
from edgernn.runtime.program import Operator, Program

# One stacked product beats two while the zero blocks it drags along stay in the nearest cache.
_STACKED_ELEMENTS: Final = 6000


class Plan(Memory):
    """A compiled step. Fill `inputs` and `states`, call every entry of `calls`, read `outputs`.

    inputs, outputs and states: name -> float64 view holding integers; states are updated in place.
    """

    def __init__(self, program: Program, batch: int | None = None) -> None:
        super().__init__(program, batch)
        for op in program.operators:
            # The right one of two products is done with the left one.
            if op.name not in self.slots:
                _COMPILE[op.kind](self, op)
        self.inputs = {name: self.slots[name].array for name in program.inputs}
        self.outputs = self._results()
        self._move_states()
        self.states = {s.name: self.slots[s.input].array for s in program.states}

    def _results(self) -> dict[str, Float64Array]:
        """The outputs; those that lie in a state's memory are saved before the state moves on."""
        program, results = self.program, {}
        roots, carried = split_roots(program), {s.input for s in program.states}
        for key, name in program.outputs.items():
            results[key] = self.slots[name].array
            if roots.get(name, name) in carried:
                results[key] = self.new(program.tensors[name].size)
                self.copy(self.slots[name].array, results[key])
        return results

    def _move_states(self) -> None:
        """Next values that could not be written in place are copied at the end, all or none."""
        moved = [s for s in self.program.states if s.output not in self.layout.aliases]
        held = [self.new(self.program.tensors[s.input].size) for s in moved]
        for state, hold in zip(moved, held, strict=True):
            self.copy(self.slots[state.output].array, hold)
        for state, hold in zip(moved, held, strict=True):
            self.copy(hold, self.slots[state.input].array)


def _linear(m: Memory, op: Operator) -> None:
    """A matrix product, or two at once whose inputs lie side by side."""
    pair = m.layout.pairs.get(op.name)
    group = [op] if pair is None else [pair.left, pair.right]
    if any(m.is_placed(o.name) for o in group):
        group = [op]
    matrices = [o.matrix for o in group if o.matrix is not None]
    begins = np.cumsum([0, *(products.padded(len(c.weight)) for c in matrices)]).tolist()
    out = m.new(begins[-1])
    # Index 32768 of the identity table is zero.
    offset = 32768.0
    shape = np.sum([c.weight.shape for c in matrices], axis=0)
    if len(group) == 2 and np.prod(shape) <= _STACKED_ELEMENTS:
        array, begin, _ = m.homes[m.home(group[0].inputs[0])]
        end = m.homes[m.home(group[1].inputs[0])][2]
        both = products.stacked(matrices[0], matrices[1], offset)
        m.calls += products.product(both, array[begin:end], out)
    else:
        for o, c, row, stop in zip(group, matrices, begins, begins[1:], strict=False):
            array, begin, end = m.homes[m.home(o.inputs[0])]
            large = c.weight.size >= products.SPLIT_ELEMENTS
            if large and m.batch is None and end - begin <= products.SPLIT_COLUMNS:
                m.calls += products.split_product(c, offset, array[begin:end], out[row:stop])
            else:
                whole = products.with_bias(c, offset, bias_first=False)
                m.calls += products.product(whole, array[begin : end + 1], out[row:stop])
    if len(group) == 1 and m.is_placed(op.name):
        out, target = out[: len(matrices[0].weight)], m.target(op.name)
    else:
        target = out
    index = m.new(len(out), np.intp)
    if np.iinfo(np.intp).bits < 64:
        # A row may lie beyond what a 32-bit index holds; its saturation is the same.
        for ufunc, limit in ((np.fmin, 2.0**30), (np.fmax, -(2.0**30))):
            m.call(ufunc, out, m.filled(len(out), limit), out)
    m.copy(out, index)
    m.call(tables.identity().take, index, None, target, "clip")
    for o, c, row in zip(group, matrices, begins, strict=False):
        part = slice(row, row + len(c.weight))
        m.slots[o.name] = Slot(target[part], index=index[part])


_COMPILE: Final[Mapping[str, Callable[[Memory, Operator], None]]] = {
    "linear": _linear,
    "add": partial(arithmetic.add_or_subtract, ufunc=np.add),
    "sub": partial(arithmetic.add_or_subtract, ufunc=np.subtract),
    "mul": arithmetic.mul,
    "logistic": lookups.activation,
    "tanh": lookups.activation,
    "rescale": lookups.rescale,
    "lookup": lookups.lookup,
    "rsqrt": lookups.rsqrt,
    "embedding": lookups.embedding,
    "relu": moves.relu,
    "maximum": moves.maximum,
    "select": moves.select,
    "split": moves.split,
    "concat": moves.concat,
}
