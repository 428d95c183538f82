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
    frame,
    functions,
    instruction_features,
    loop_code,
    loop_instructions,
    operator_code,
    operator_instructions,
)
from edgernn.footprint.targets import Target, load_targets
from edgernn.runtime.program import Program

TABLE_BYTES: Final = 514
WIDE_ROW_BYTES: Final = 16
MATRIX_BYTES: Final = 12
STACK_ALIGNMENT: Final = {"rv32imc": 16}


@dataclass(frozen=True)
class Footprint:
    """Bytes, and instructions of one step.

    flash = weights + tables + code; ram = state + stack, scratch included. The input and the
    output of the step are the application's and are not counted. weights: all constants of the
    model, its own tables among them. measured: every loop of the model is one whose like was
    measured, otherwise it was added up from its operators; and an embedding's cost is known.
    """

    weights: int
    tables: int
    code: int
    state: int
    scratch: int
    stack: int
    instructions: int
    measured: bool

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
    loops, lanes = functions(model), target.lanes
    instructions = instruction_features(model, target.limits)
    code = code_features(model, target.limits)
    measured = ROW not in code or ROW in target.code
    for loop in loops:
        known = is_known(loop, target)
        measured &= known
        instructions += (loop_instructions if known else operator_instructions)(loop, lanes)
        code += (loop_code if known else operator_code)(loop, lanes)
    return Footprint(
        weights=constant_bytes(model, target),
        tables=table_bytes(model),
        code=round(total(code, target.code)),
        state=model.state_bytes,
        scratch=2 * model.schedule.scratch,
        stack=_stack(model, loops, target),
        instructions=round(total(instructions, target.instructions)),
        measured=measured,
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
            "measured_loops": cost.measured,
        }
    return result


def is_known(loop: Function, target: Target) -> bool:
    """Has a loop that does the same, called in the same way, been measured?"""
    return f"code {loop.name(target.lanes)}" in target.code


def total(counts: Counter[str], prices: Mapping[str, float]) -> float:
    """The sum; what was never seen to cost anything costs nothing."""
    return sum(count * prices.get(feature, 0.0) for feature, count in counts.items())


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
        if not isinstance(action, Multiply):
            continue
        rows, columns = (int(n) for n in action.matrix.weight.shape)
        groups, rest = -(-rows // 4), columns % 8
        stored = columns - rest + (0 if rest == 0 else target.rest4 if rest <= 4 else 8)
        narrow = fits_32_bits(action.matrix)
        constants = groups * target.group_bytes if narrow else rows * WIDE_ROW_BYTES
        sizes += [MATRIX_BYTES, 4 * groups * stored, constants]
    return sum(sizes)


def _stack(model: Model, loops: list[Function], target: Target) -> int:
    """The frames of the step, as large as its most demanding loop makes it, and of the engine."""
    frames = target.frames
    if all(is_known(loop, target) for loop in loops):
        own = step_frame(loops, frames, target.lanes)
    else:
        own = total(frame(loops), frames)
    alignment = STACK_ALIGNMENT.get(target.name, 8)
    step = -(-(2 * model.schedule.scratch + own) // alignment) * alignment
    return round(step + frames.get(engine_feature(model), frames["engine"]))


def step_frame(loops: list[Function], frames: Mapping[str, float], lanes: int) -> float:
    """What the compiler puts into the step takes room there; a function of its own, below it."""
    inside = [frames[loop.name(lanes)] for loop in loops if len(loop.sizes) == 1]
    below = [frames[loop.name(lanes)] for loop in loops if len(loop.sizes) > 1]
    further = frames["further loop"] * max(0, len(inside) - 1)
    return max(inside, default=0.0) + max(below, default=0.0) + further
