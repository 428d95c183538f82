"""Flash, RAM and instructions of a program's C step on a target, without its compiler.

Constants and state are counted; the rest is a sum of prices that were measured on an emulated board
(`edgernn.footprint.features` says of what).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from edgernn.exporters.c.actions import Loop, Multiply
from edgernn.exporters.c.model import Model
from edgernn.exporters.c.numbers import fits_32_bits
from edgernn.footprint.features import (
    ROW,
    TABLE_USERS,
    Function,
    code_features,
    engine_feature,
    functions,
    instruction_features,
)
from edgernn.footprint.loops import frame, loop_code, loop_instructions
from edgernn.footprint.targets import Errors, Target, load_targets
from edgernn.runtime.program import Program

TABLE_BYTES: Final = 514
WIDE_ROW_BYTES: Final = 16

STACK_ALIGNMENT: Final = {"rv32imc": 16, "aarch64": 16}


@dataclass(frozen=True)
class Footprint:
    """Bytes, and instructions of one step.

    flash = weights + tables + code; ram = state + stack, scratch included. The input and the
    output of the step are the application's and are not counted. weights: all constants of the
    model, its own tables among them. macs: products of a weight. measured: every loop of the model
    is one whose like was measured, otherwise it was added up from its operators; and an embedding's
    cost is known. errors: how far such estimates were from what held-out programs needed.
    """

    weights: int
    tables: int
    code: int
    state: int
    scratch: int
    stack: int
    instructions: int
    macs: int
    measured: bool
    errors: Errors

    @property
    def flash(self) -> int:
        """Bytes of flash in all."""
        return self.weights + self.tables + self.code

    @property
    def ram(self) -> int:
        """Bytes of RAM in all, the step's stack included."""
        return self.state + self.stack


def estimate(program: Program | Model, target: Target) -> Footprint:
    """What a program costs, compiled with -O2 by the target's compiler."""
    model = program if isinstance(program, Model) else Model(program, "model")
    loops = functions(model)
    instructions = total(instruction_features(model, target.limits), target.instructions)
    counts = code_features(model, target.limits)
    code = total(counts, target.code)
    for loop in loops:
        calls, size = loop_costs(loop, target)
        instructions += sum(calls)
        code += size
    measured = (ROW not in counts or ROW in target.code) and all(
        is_known(loop, target) for loop in loops
    )
    return Footprint(
        weights=constant_bytes(model, target),
        tables=table_bytes(model),
        code=round(code),
        state=model.state_bytes,
        scratch=2 * model.schedule.scratch,
        stack=stack_bytes(model, loops, target),
        instructions=max(1, round(instructions)),
        macs=macs(model),
        measured=measured,
        errors=target.errors["measured" if measured else "summed"],
    )


def estimates(program: Program | Model) -> dict[str, Any]:
    """What report.json says of every target, in bytes and in instructions of one step."""
    model = program if isinstance(program, Model) else Model(program, "model")
    result: dict[str, Any] = {}
    for name, target in load_targets().items():
        cost = estimate(model, target)
        result[name] = {
            "core": target.core,
            "compiler": target.compiler,
            "flash_bytes": cost.flash,
            "weights_bytes": cost.weights,
            "tables_bytes": cost.tables,
            "code_bytes": cost.code,
            "ram_bytes": cost.ram,
            "state_bytes": cost.state,
            "stack_bytes": cost.stack,
            "instructions_per_step": cost.instructions,
            "macs_per_step": cost.macs,
            "measured_loops": cost.measured,
            "errors": cost.errors.percent(),
        }
    return result


def is_known(loop: Function, target: Target) -> bool:
    """Has a loop that does the same been measured?"""
    return loop.key in target.loops


def loop_costs(loop: Function, target: Target) -> tuple[list[float], float]:
    """Instructions of each call of a loop, and bytes of its code."""
    calls = [
        max(1.0, total(counts, target.instructions))
        for counts in loop_instructions(loop, target.lanes)
    ]
    return calls, max(2.0, total(loop_code(loop, target.lanes), target.code))


def total(counts: Mapping[str, int], prices: Mapping[str, float]) -> float:
    """The sum; what was never seen to cost anything costs nothing."""
    return sum(count * prices.get(feature, 0.0) for feature, count in counts.items())


def macs(model: Model) -> int:
    """Products of a weight in a step."""
    products = (a for a in model.schedule.actions if isinstance(a, Multiply))
    return sum(int(product.matrix.weight.size) for product in products)


def table_bytes(model: Model) -> int:
    """Bytes of the engine's table, if the model has a sigmoid or tanh."""
    loops = [action for action in model.schedule.actions if isinstance(action, Loop)]
    used = any(o.kind in TABLE_USERS for loop in loops for o in loop.operations)
    return TABLE_BYTES if used else 0


def constant_bytes(model: Model, target: Target) -> int:
    """Bytes of the model's constants; known exactly."""
    sizes = [2 * len(s.initial) for s in model.program.states if s.initial.any()]
    sizes += [2 * len(model.program.constants[name]) for name in model.schedule.constants]
    sizes += [table.values.nbytes for table in model.schedule.tables]
    for action in model.schedule.actions:
        if isinstance(action, Multiply):
            sizes.append(product_bytes(action, target))
    return sum(sizes)


def product_bytes(action: Multiply, target: Target) -> int:
    """Bytes of a product's constants."""
    rows, columns = (int(n) for n in action.matrix.weight.shape)
    groups, rest = -(-rows // 4), columns % 8
    stored = columns - rest + (0 if rest == 0 else target.rest4 if rest <= 4 else 8)
    narrow = fits_32_bits(action.matrix)
    constants = groups * target.group_bytes if narrow else rows * WIDE_ROW_BYTES
    return target.matrix_bytes + 4 * groups * stored + constants


def stack_bytes(model: Model, loops: list[Function], target: Target) -> int:
    """The frames of the step, as large as its most demanding loop makes it, and of what it calls:
    the engine, or a loop that is a function of its own."""
    counts, below = frame_parts(model, loops, target.frames, target.lanes)
    alignment = STACK_ALIGNMENT.get(target.name, 4)
    own = arena_bytes(model) + max(0.0, total(counts, target.frames)) + below
    return -(-round(own) // alignment) * alignment


def arena_bytes(model: Model) -> int:
    """Bytes of the scratch arena, which is one of int64."""
    return -(-2 * model.schedule.scratch // 8) * 8


def frame_parts(
    model: Model, loops: list[Function], frames: Mapping[str, float], lanes: int
) -> tuple[Counter[str], float]:
    """What the stack beside the arena is a sum of, and bytes of the engine's to be added.

    What the compiler puts into the step takes room there; a function of its own, below it, where
    the engine's are, too, but not at the same time: of all these the most demanding one counts.
    """
    inside = [frame(f, lanes) for f in loops if len(f.sizes) == 1]
    below = [frame(f, lanes) for f in loops if len(f.sizes) > 1]
    counts: Counter[str] = Counter({"step frame": 1, "step port": len(model.ports)})
    counts["step further loop"] = max(0, len(inside) - 1)
    counts["step further product"] = sum(isinstance(a, Multiply) for a in model.schedule.actions)
    engine = frames.get(engine_feature(model), frames["engine"])
    if inside:
        counts.update(max(inside, key=lambda features: total(features, frames)))
    deepest = max(below, key=lambda features: total(features, frames), default=Counter())
    if total(deepest, frames) > engine:
        return +(counts + deepest), 0.0
    return +counts, engine
