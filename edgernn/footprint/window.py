"""Flash, RAM and instructions of a window program in C: the sum of its stages' and its buffer."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from edgernn.exporters.c.window_model import WindowModel
from edgernn.footprint.estimate import Footprint, estimate, total
from edgernn.footprint.features import code_features, engine_feature
from edgernn.footprint.targets import Target, load_targets

STAGE_CODE: Final = 45
ARGUMENT_CODE: Final = 12
COPY_CODE: Final = 25
"""Bytes of the function that runs the stages, about, on every core."""
FRAME: Final = 64
"""Of that function, beside a stage's state."""
SHARED: Final = ("memset", "memcpy", "row function")
"""Code that is linked once, however many stages call it."""


def window_estimates(model: WindowModel, steps: int) -> dict[str, Any]:
    """What report.json says of every target: bytes, the work buffer for a window of `steps` steps
    among them, and instructions of such a window. Input and output are the application's."""
    return {
        name: _entry(model, steps, target, [estimate(stage, target) for stage in model.stages])
        for name, target in load_targets().items()
    }


def _entry(
    model: WindowModel, steps: int, target: Target, costs: list[Footprint]
) -> dict[str, Any]:
    buffer = 2 * model.buffer_size(steps)
    weights = sum(cost.weights for cost in costs)
    tables = max(cost.tables for cost in costs)
    code = round(sum(cost.code for cost in costs) - _linked_once(model, target) + _own_code(model))
    state = max(cost.state for cost in costs)
    stack = max(cost.stack for cost in costs) + FRAME
    scanned = [stage.direction != "once" for stage in model.window.stages]
    instructions = sum(
        cost.instructions * (steps if scan else 1)
        for cost, scan in zip(costs, scanned, strict=True)
    )
    return {
        "core": target.core,
        "compiler": target.compiler,
        "flash_bytes": weights + tables + code,
        "weights_bytes": weights,
        "tables_bytes": tables,
        "code_bytes": code,
        "ram_bytes": buffer + state + stack,
        "buffer_bytes": buffer,
        "state_bytes": state,
        "stack_bytes": stack,
        "instructions_per_window": instructions,
        "instructions_per_step": -(-instructions // steps),
        "measured_loops": all(cost.measured for cost in costs),
    }


def _linked_once(model: WindowModel, target: Target) -> float:
    """What the sum of the stages counts too often: the engine, and functions of the C library."""
    prices, features = target.code, [code_features(m, target.limits) for m in model.stages]
    often = sum(prices.get(engine_feature(stage), 0.0) for stage in model.stages)
    often -= prices.get(engine_feature(*model.stages), 0.0)
    for name in SHARED:
        counts = [feature[name] for feature in features]
        often += (sum(counts) - max(counts)) * total(Counter({name: 1}), prices)
    return often


def _own_code(model: WindowModel) -> int:
    runs = model.plan.runs
    arguments = sum(len(run.reads) + len(run.writes) for run in runs)
    copies = len(model.plan.inputs) + sum(len(run.kept) + len(run.returned) for run in runs)
    return STAGE_CODE * len(runs) + ARGUMENT_CODE * arguments + COPY_CODE * copies
