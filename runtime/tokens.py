"""Token ids among a program's inputs: which elements they are, and the refusal of a wrong one.

The integer program clamps an id beyond its table, on every engine; `step_int` does so too. A float
that is no id is a mistake in the caller's data, so `StepRuntime.step` refuses it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgernn.runtime.errors import InputError
from edgernn.runtime.program import Program


def token_limits(program: Program) -> dict[str, NDArray[np.int64]]:
    """Input -> (size,) int64, for each of its elements the rows of the table that it is an id of.

    0 where it is none. Only inputs with an id are named; ids may be split off a vector of several.
    An id of two tables must be one of the smaller one.
    """
    # Where a tensor that is an input, or a part of one, begins in it.
    places = {name: (name, 0) for name in program.inputs}
    limits: dict[str, NDArray[np.int64]] = {}
    for op in program.operators:
        source = places.get(op.inputs[0])
        if source is None:
            continue
        name, begin = source
        if op.kind == "split":
            for part in op.outputs:
                places[part] = (name, begin)
                begin += program.tensors[part].size
        elif op.kind == "embedding" and op.table is not None:
            limit = limits.setdefault(name, np.zeros(program.tensors[name].size, np.int64))
            rows = len(op.table)
            limit[begin] = min(rows, limit[begin]) if limit[begin] else rows
    return limits


def refuse_unknown_ids(name: str, values: NDArray[np.generic], limits: NDArray[np.int64]) -> None:
    """InputError for the first of finite numbers (..., size) that should be an id and is none."""
    numbers = values.astype(np.float64)
    known = (numbers == np.floor(numbers)) & (numbers >= 0) & (numbers < limits)
    wrong = ~known & (limits > 0)
    if not wrong.any():
        return
    element = int(np.flatnonzero(wrong)[0])
    value, rows = values.ravel()[element], int(limits[element % len(limits)])
    raise InputError(
        f"{name} holds {value}, which is no id of its embedding of {rows} rows; "
        f"pass whole numbers from 0 to {rows - 1}"
    )
