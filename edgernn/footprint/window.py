"""Flash, RAM and instructions of a window program in C: the sum of its stages' and its buffer."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any, Final

from edgernn.exporters.c.window_model import WindowModel
from edgernn.footprint.breakdown import ENGINE, REST, Part, breakdown
from edgernn.footprint.estimate import STACK_ALIGNMENT, Footprint, estimate, total
from edgernn.footprint.features import code_features, engine_feature
from edgernn.footprint.targets import Errors, Target, load_targets
from edgernn.runtime.window import Window

SHARED: Final = ("memset", "memcpy", "row function")
"""Code that is linked once, however many stages call it."""


@dataclass(frozen=True)
class WindowFootprint:
    """Bytes, and instructions of a window of `steps` steps, all of its stages.

    flash = weights + tables + code; ram = buffer + state + stack. buffer: the work buffer, which
    the caller has. state: of the largest stage; it lies on the stack, of which `stack` is the rest.
    The others are as in `edgernn.footprint.Footprint`; macs are of the whole window.
    """

    steps: int
    weights: int
    tables: int
    code: int
    buffer: int
    state: int
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
        """Bytes of RAM in all: the buffer and the stack, the state there included."""
        return self.buffer + self.state + self.stack


def window_estimate(window: Window | WindowModel, target: Target, steps: int) -> WindowFootprint:
    """What a window of `steps` steps costs, compiled with -O2 by the target's compiler."""
    model = window if isinstance(window, WindowModel) else WindowModel(window, "model")
    costs = [estimate(stage, target) for stage in model.stages]
    often = [_times(model, i, steps) for i in range(len(costs))]
    instructions = sum(cost.instructions * n for cost, n in zip(costs, often, strict=True))
    instructions += round(total(window_instructions(model, steps), target.instructions))
    code = sum(cost.code for cost in costs) - linked_once(model, target)
    code += total(window_code(model), target.code)
    return WindowFootprint(
        steps=steps,
        weights=sum(cost.weights for cost in costs),
        tables=max(cost.tables for cost in costs),
        code=round(code),
        buffer=2 * model.buffer_size(steps),
        state=model.state_bytes,
        stack=_stack(model, costs, target),
        instructions=instructions,
        macs=sum(cost.macs * n for cost, n in zip(costs, often, strict=True)),
        measured=all(cost.measured for cost in costs),
        errors=target.errors["window"],
    )


def window_breakdown(window: Window | WindowModel, target: Target, steps: int) -> list[Part]:
    """The actions of every stage, instructions and macs those of a window of `steps` steps; then
    the engine and the rest. Their sums are `window_estimate`'s."""
    model = window if isinstance(window, WindowModel) else WindowModel(window, "model")
    cost = window_estimate(model, target, steps)
    lines: list[Part] = []
    for number, stage in enumerate(model.stages):
        often = _times(model, number, steps)
        lines += [
            replace(
                part,
                macs=part.macs * often,
                instructions=part.instructions * often,
                stage=number + 1,
            )
            for part in breakdown(stage, target)
            if part.kind != ENGINE
        ]
    engine = round(total(Counter({engine_feature(*model.stages): 1}), target.code))
    lines.append(Part(ENGINE, (), (), 0, 0, 0, 0, cost.tables, engine))
    rest = Part(
        REST,
        (),
        (),
        0,
        0,
        cost.instructions - sum(line.instructions for line in lines),
        cost.weights - sum(line.weights for line in lines),
        0,
        cost.code - sum(line.code for line in lines),
    )
    return [*lines, rest]


def window_estimates(model: WindowModel, steps: int) -> dict[str, Any]:
    """What report.json says of every target: bytes, the work buffer for a window of `steps` steps
    among them, and instructions of such a window. Input and output are the application's."""
    return {name: _entry(model, steps, target) for name, target in load_targets().items()}


def _entry(model: WindowModel, steps: int, target: Target) -> dict[str, Any]:
    cost = window_estimate(model, target, steps)
    return {
        "core": target.core,
        "compiler": target.compiler,
        "flash_bytes": cost.flash,
        "weights_bytes": cost.weights,
        "tables_bytes": cost.tables,
        "code_bytes": cost.code,
        "ram_bytes": cost.ram,
        "buffer_bytes": cost.buffer,
        "state_bytes": cost.state,
        "stack_bytes": cost.stack,
        "instructions_per_window": cost.instructions,
        "instructions_per_step": -(-cost.instructions // steps),
        "macs_per_window": cost.macs,
        "measured_loops": cost.measured,
        "errors": cost.errors.percent(),
    }


def _times(model: WindowModel, stage: int, steps: int) -> int:
    """How often a stage is stepped."""
    return 1 if model.window.stages[stage].direction == "once" else steps


def window_instructions(model: WindowModel, steps: int) -> Counter[str]:
    """What the instructions of a window are a sum of, beside its stages' steps."""
    counts: Counter[str] = Counter({"window": 1, "window port": len(model.ports)})
    for number, run in enumerate(model.plan.runs):
        often = _times(model, number, steps)
        counts["window stage"] += 1
        counts["window call"] += often
        counts["window argument"] += often * (len(run.reads) + len(run.writes))
        counts["window kept"] += often * len(run.kept)
        counts["window state"] += model.stages[number].state_bytes
        for move in (*run.kept, *run.returned):
            rows = steps if move.source.at == "all" else 1
            counts["window copy"] += 1
            counts["window copied"] += rows * move.target.size
    for move in model.plan.inputs:
        counts["window copy"] += 1
        counts["window copied"] += steps * move.target.size
    return +counts


def window_code(model: WindowModel) -> Counter[str]:
    """What the code of the function is a sum of that runs the stages."""
    runs = model.plan.runs
    counts: Counter[str] = Counter({"window": 1, "window port": len(model.ports)})
    counts["window stage"] = len(runs)
    counts["window scan"] = sum(run.stage.direction != "once" for run in runs)
    counts["window argument"] = sum(len(run.reads) + len(run.writes) for run in runs)
    counts["window kept"] = sum(len(run.kept) for run in runs)
    counts["window copy"] = len(model.plan.inputs) + sum(len(run.returned) for run in runs)
    counts["window array"] = len(model.plan.buffer)
    return +counts


def window_frame(model: WindowModel) -> Counter[str]:
    """What the function's own frame is a sum of, beside the state."""
    runs = model.plan.runs
    counts: Counter[str] = Counter({"window": 1, "window port": len(model.ports)})
    counts["window array"] = len(model.plan.buffer)
    counts["window argument"] = max(len(run.reads) + len(run.writes) for run in runs)
    return counts


def linked_once(model: WindowModel, target: Target) -> float:
    """What the sum of the stages counts too often: the engine, and functions of the C library."""
    prices, features = target.code, [code_features(m, target.limits) for m in model.stages]
    often = sum(prices.get(engine_feature(stage), 0.0) for stage in model.stages)
    often -= prices.get(engine_feature(*model.stages), 0.0)
    for name in SHARED:
        counts = [feature[name] for feature in features]
        often += (sum(counts) - max(counts)) * total(Counter({name: 1}), prices)
    return often


def _stack(model: WindowModel, costs: list[Footprint], target: Target) -> int:
    own = total(window_frame(model), target.frames) + max(cost.stack for cost in costs)
    alignment = STACK_ALIGNMENT.get(target.name, 4)
    return round(own / alignment) * alignment
