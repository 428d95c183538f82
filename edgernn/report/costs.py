"""Where bytes, products and instructions go, and what a model takes of devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from edgernn.attribution.meaning import Meaning
from edgernn.budget.accuracy import Drop
from edgernn.budget.check import check
from edgernn.budget.cost import cost_of
from edgernn.budget.limits import Budget, budget_for
from edgernn.budget.settings import Settings
from edgernn.budget.subject import Subject
from edgernn.exporters.c.model import Model
from edgernn.footprint import breakdown, load_targets, window_breakdown
from edgernn.runtime.errors import InputError
from edgernn.targets import device

CORE: Final = "cortex-m4"
"""Whose instructions are shown by operator, where no target says another."""
BOARDS: Final = ("nucleo-l053r8", "rpi-pico", "nrf52-dk", "nucleo-f401re", "esp32-c3", "rpi-pico2")
"""What is shown where the user names no target: small, common boards of different cores."""

Facts = dict[str, Any]


def cores(subject: Subject) -> list[Facts]:
    """A line for each core whose instructions were counted."""
    found = []
    for name, target in load_targets().items():
        cost = cost_of(subject.model, target, subject.steps)
        found.append({"name": name, "core": target.core, **cost.as_json()})
    return found


def operators(subject: Subject, meanings: Sequence[Meaning] | None, core: str) -> list[Facts]:
    """A line for each action of the C code, in order, with what it takes on one core: of a step, or
    of a window all of its steps. stage: from 1 on, 0 of what belongs to none."""
    target, found, model = load_targets()[core], [], subject.model
    parts = (
        breakdown(model, target)
        if isinstance(model, Model)
        else window_breakdown(model, target, subject.steps)
    )
    for number, part in enumerate(parts):
        layers = meanings[max(part.stage - 1, 0)].layers if meanings else {}
        found.append(
            {
                "order": number,
                "stage": part.stage,
                "kind": part.kind,
                "names": list(part.names),
                "operators": list(part.operators),
                "layer": next((layers[n] for n in map(_whole, part.names) if layers.get(n)), ""),
                "macs": part.macs,
                "weights": part.weights,
                "tables": part.tables,
                "code": part.code,
                "flash": part.flash,
                "instructions": part.instructions,
            }
        )
    return found


def _whole(name: str) -> str:
    """The product that a part of its rows, `name[0:64]`, is of."""
    return name.partition("[")[0]


def wanted(
    names: Sequence[str], settings: Settings | None, boards: Sequence[Path] = ()
) -> list[Budget]:
    """What is asked for: of a file of budgets, by name, or some small boards. boards: files with
    devices of one's own.

    InputError for a name that there is not.
    """
    if settings is None:
        return [budget_for(device(name, boards), {}) for name in dict.fromkeys(names or BOARDS)]
    if boards:
        raise InputError(
            'the file of budgets names its boards itself: write targets = ["boards.toml"] in it'
        )
    unknown = set(names) - {b.device.name for b in settings.budgets}
    if unknown:
        names_there = ", ".join(b.device.name for b in settings.budgets)
        raise InputError(
            f"the file of budgets has no target {min(unknown)!r}; it has {names_there}"
        )
    return [b for b in settings.budgets if not names or b.device.name in names]


def budgets(subject: Subject, asked: Sequence[Budget], drop: Drop | None) -> list[Facts]:
    """A line for each target."""
    found = []
    for budget in asked:
        own: Mapping[str, Any] = check(subject, budget, drop).as_json()
        found.append({**own, "title": budget.device.title, "processor": budget.device.processor})
    return found
