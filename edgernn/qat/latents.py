"""The real numbers that learn, and the integers that they are rounded to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn.attribution.meaning import Meaning
from edgernn.qat.rule import Array, Float32, Weights
from edgernn.runtime.errors import InputError
from edgernn.runtime.operators import MAX_BIAS
from edgernn.runtime.program import Operator, Program, Tensor

LIMIT: Final = 127
_INSIDE: Final = 0.499
"""Up to here from an integer, a number is rounded to it, whatever float64 makes of its unit."""


@dataclass(frozen=True, eq=False)
class Latent:
    """Real numbers behind the integers of an operator.

    part: "weight" or "bias" of a product, "table" of an embedding. unit: the value of one unit, to
    be broadcast. start: where training begins, in the units of the float network, float64. low,
    high: what the integers may be.
    """

    operator: str
    part: str
    unit: Array
    start: Array
    low: int
    high: int

    def integers(self, real: NDArray[np.float64]) -> Array:
        """Rounded to nearest, in range, as float64. InputError for NaN or infinity."""
        if not np.isfinite(real).all():
            raise InputError(
                f"the {self.part} of {self.operator} holds NaN or infinity: the training diverged; "
                "lower the learning rate or clip the gradient"
            )
        clipped: Array = np.clip(np.rint(real / self.unit), self.low, self.high)
        return clipped

    def gradient(self, real: NDArray[np.float64], of_integers: Float32) -> Array:
        """By the real numbers, straight through the rounding; nothing that would lead on beyond the
        range, from where it is left or outside."""
        place = real / self.unit
        stuck = (place >= self.high) & (of_integers < 0) | (place <= self.low) & (of_integers > 0)
        result: Array = np.where(stuck, 0.0, of_integers) / self.unit
        return result


def latents_of(program: Program, meaning: Meaning | None) -> list[Latent]:
    """What learns in a program, or in a stage of a window program.

    With the meaning of its integers: every weight, bias and table that the float network has. A
    bias that is zero there is none and stays as it is. Without: every one of the program's.
    """
    found: list[Latent] = []
    for op in program.operators:
        tensors = program.tensors[op.inputs[0]], program.tensors[op.name]
        if op.kind == "linear" and (meaning is None or op.name in meaning.learned):
            found += _of_product(op, *tensors, meaning)
        elif op.kind == "embedding" and (meaning is None or op.name in meaning.embeddings):
            assert op.table is not None
            unit, integers = np.array(float(tensors[1].scale)), op.table.astype(np.float64)
            real = integers * unit if meaning is None else meaning.embeddings[op.name]
            low = min(-LIMIT, int(integers.min()))
            found.append(_latent(op, "table", unit, integers, real, low, LIMIT))
    return found


def _of_product(op: Operator, i: Tensor, o: Tensor, meaning: Meaning | None) -> list[Latent]:
    assert op.matrix is not None
    row = np.array([float(s) for s in op.matrix.row_scales(i.scale, o.scale)])
    weight, bias = (a.astype(np.float64) for a in (op.matrix.weight, op.matrix.bias))
    unit, own = row[:, None], row * float(i.scale)
    real, offset = weight * unit, bias * own
    if meaning is not None:
        real, offset = meaning.products[op.name]
    found = [_latent(op, "weight", unit, weight, real, -LIMIT, LIMIT)]
    if offset.any():
        found.append(_latent(op, "bias", own, bias, offset, -MAX_BIAS, MAX_BIAS))
    return found


def _latent(
    op: Operator,
    part: str,
    unit: Array,
    integers: Array,
    real: Array,
    low: int,
    high: int,
) -> Latent:
    # What was rounded otherwise than to nearest begins at its integer: at the edge of what rounds
    # to it, the first steps would undo in what way the errors of a row were balanced.
    place = real / unit
    near = np.clip(place, integers - _INSIDE, integers + _INSIDE)
    place = np.where(np.abs(place - integers) <= 0.5, near, integers)
    return Latent(op.name, part, unit, place * unit, low, high)


Rounded = Mapping[tuple[str, str], Array]
"""(operator, part) -> integers."""


def weights_of(program: Program, rounded: Rounded) -> dict[str, Weights]:
    """The integers of every product and table, those that learn as they are rounded."""
    found = {}
    for op in program.operators:
        if op.matrix is not None:
            weight = rounded.get((op.name, "weight"), op.matrix.weight.astype(np.float64))
            bias = rounded.get((op.name, "bias"), op.matrix.bias.astype(np.float64))
            found[op.name] = Weights.of_product(weight, bias)
        elif op.kind == "embedding":
            assert op.table is not None
            table = rounded.get((op.name, "table"), op.table.astype(np.float64))
            found[op.name] = Weights.of_table(table)
    return found


def operators_with(program: Program, rounded: Rounded) -> tuple[Operator, ...]:
    """The program's operators with those integers."""
    found: list[Operator] = []
    for op in program.operators:
        if op.matrix is not None:
            changes = {
                part: rounded[op.name, part].astype(getattr(op.matrix, part).dtype)
                for part in ("weight", "bias")
                if (op.name, part) in rounded
            }
            op = replace(op, matrix=replace(op.matrix, **changes))
        elif (op.name, "table") in rounded:
            op = replace(op, table=rounded[op.name, "table"].astype(np.int8))
        found.append(op)
    return tuple(found)


def changed(program: Program, operators: Sequence[Operator]) -> int:
    """How many int8 weights differ from the program's."""
    total = 0
    for before, after in zip(program.operators, operators, strict=True):
        if before.matrix is not None and after.matrix is not None:
            total += int(np.count_nonzero(before.matrix.weight != after.matrix.weight))
        elif before.kind == "embedding" and before.table is not None and after.table is not None:
            total += int(np.count_nonzero(before.table != after.table))
    return total
