"""Where the instructions and the bytes of a C step go: a line for each of its actions."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from edgernn.exporters.c.actions import Action, Copy, Loop, Multiply, Row
from edgernn.exporters.c.model import Model
from edgernn.footprint.estimate import (
    estimate,
    loop_costs,
    product_bytes,
    total,
)
from edgernn.footprint.features import PRODUCT, ROW, action_features, engine_feature, functions
from edgernn.footprint.targets import Target
from edgernn.runtime.program import Program

REST: Final = "step and calls"
ENGINE: Final = "engine"


@dataclass(frozen=True)
class Part:
    """One line: an action of the step, the engine, or the rest.

    kind: "product", "embedding", "loop", "copy"; "engine" for functions and tables that are linked
    once; "step and calls" for what is left. names: the program's tensors that it computes, a
    product or an embedding its operator; a copy what it writes. operators: kinds of operators, in
    order; more than one in a fused loop. size: elements that it computes. macs: products of a
    weight. weights, tables, code: bytes of flash; of what several actions share, each has a part.
    instructions: of one step, of a window all of them. stage: in a window, from 1 on; 0 of what no
    stage has for itself.
    """

    kind: str
    names: tuple[str, ...]
    operators: tuple[str, ...]
    size: int
    macs: int
    instructions: int
    weights: int
    tables: int
    code: int
    stage: int = 0

    @property
    def flash(self) -> int:
        """Bytes of flash in all."""
        return self.weights + self.tables + self.code


def breakdown(program: Program | Model, target: Target) -> list[Part]:
    """The actions of the step in order, then the engine and the rest: their sums are `estimate`'s,
    for macs, instructions, weights, tables and code."""
    model = program if isinstance(program, Model) else Model(program, "model")
    actions = model.schedule.actions
    weights, code, instructions = (dict.fromkeys(range(len(actions)), 0.0) for _ in range(3))
    for index, action in enumerate(actions):
        instructions[index] = total(action_features(action, target.limits), target.instructions)
        if isinstance(action, Multiply):
            weights[index] = product_bytes(action, target)
            code[index] = target.code.get(PRODUCT, 0.0)
        elif isinstance(action, Row):
            code[index] = target.code.get(ROW, 0.0)
    for function in functions(model):
        counts, size = loop_costs(function, target)
        for index, number in zip(function.calls, counts, strict=True):
            instructions[index] = number
            code[index] = size / len(function.calls)
    for index, share in _shared_constants(model).items():
        weights[index] += float(share)
    lines = [
        Part(
            *_described(action),
            max(1, round(instructions[index])),
            round(weights[index]),
            0,
            round(code[index]),
        )
        for index, action in enumerate(actions)
    ]
    cost = estimate(model, target)
    engine = total(Counter({engine_feature(model): 1}), target.code)
    lines.append(Part(ENGINE, (), (), 0, 0, 0, 0, cost.tables, round(engine)))
    return [*lines, _rest(lines, cost.instructions, cost.weights, cost.code)]


def _rest(lines: Sequence[Part], instructions: int, weights: int, code: int) -> Part:
    """What the lines leave; a rounding among it."""
    return Part(
        REST,
        (),
        (),
        0,
        0,
        instructions - sum(line.instructions for line in lines),
        weights - sum(line.weights for line in lines),
        0,
        code - sum(line.code for line in lines),
    )


def _described(action: Action) -> tuple[str, tuple[str, ...], tuple[str, ...], int, int]:
    if isinstance(action, Multiply):
        rows, columns = (int(n) for n in action.matrix.weight.shape)
        return "product", (action.name,), ("linear",), rows, rows * columns
    if isinstance(action, Row):
        return "embedding", (action.name,), ("embedding",), action.size, 0
    if isinstance(action, Copy):
        name = action.target.name or action.source.name or action.target.area
        return "copy", (name,), (), action.size, 0
    names = tuple(o.output.name for o in action.operations)
    return "loop", names, tuple(o.kind for o in action.operations), action.size, 0


def _shared_constants(model: Model) -> dict[int, Fraction]:
    """Action -> bytes of the tables and constants that it reads, its part of them."""
    readers: dict[object, list[int]] = defaultdict(list)
    size: dict[object, int] = {}
    for index, action in enumerate(model.schedule.actions):
        read: dict[object, int] = {}
        if isinstance(action, Loop):
            read |= {table: table.values.nbytes for table in action.tables}
            places = [place for _, place in action.loads]
        else:
            places = [action.source]
        if isinstance(action, Row):
            read[action.table] = action.table.values.nbytes
        for place in places:
            if place.area == "constant":
                read[place.name] = 2 * len(model.program.constants[place.name])
        for thing, number in read.items():
            readers[thing].append(index)
            size[thing] = number
    shares: dict[int, Fraction] = defaultdict(Fraction)
    for thing, indices in readers.items():
        for index in indices:
            shares[index] += Fraction(size[thing], len(indices))
    return shares
