"""Costs held against limits, line by line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgernn.budget.accuracy import Drop
from edgernn.budget.cost import Cost, cost_of, target_of
from edgernn.budget.limits import Budget
from edgernn.budget.subject import Subject
from edgernn.exporters.c.model import Model
from edgernn.exporters.c.window_model import WindowModel


@dataclass(frozen=True)
class Line:
    """One quantity. name: "flash", "ram", "macs", "instructions", "cycles", "time", "load",
    "energy", "power" or "accuracy_drop"; values in bytes, numbers, seconds, %, mJ, mW, points.

    error: relative, of the estimate; None where it is not known or there is none. limit: None for
    none; what is as large as its limit fits.
    """

    name: str
    value: float
    error: float | None = None
    limit: float | None = None

    @property
    def over(self) -> float:
        """By how much it is over its limit; 0 if it is not."""
        return 0.0 if self.limit is None else max(0.0, self.value - self.limit)

    @property
    def may_be_over(self) -> bool:
        """Is it over its limit if the estimate is too low by its error?"""
        return self.limit is not None and self.value * (1 + (self.error or 0.0)) > self.limit

    @property
    def used(self) -> float | None:
        """Share of the limit."""
        if self.limit is None:
            return None
        if self.limit == 0:
            return 0.0 if self.value <= 0 else float("inf")
        return self.value / self.limit

    def as_json(self) -> dict[str, Any]:
        """What --json prints; a share of nothing is null."""
        used = self.used
        return {
            "value": self.value,
            "relative_error": self.error,
            "limit": self.limit,
            "used": None if used is None or used == float("inf") else used,
            "over": self.over,
        }


@dataclass(frozen=True)
class Verdict:
    """A model on one target. lines: every quantity; cost: what flash and RAM consist of."""

    budget: Budget
    cost: Cost
    lines: tuple[Line, ...]

    def value(self, name: str) -> float:
        """The estimate of a line, which there is."""
        return next(line.value for line in self.lines if line.name == name)

    @property
    def over(self) -> list[Line]:
        """The lines that are over their limits."""
        return [line for line in self.lines if line.over > 0]

    @property
    def fits(self) -> bool:
        """Is nothing over?"""
        return not self.over

    def as_json(self) -> dict[str, Any]:
        """What --json prints."""
        return {
            "target": self.budget.device.name,
            "core": self.budget.device.core,
            "clock_hz": self.budget.clock_hz,
            "fits": self.fits,
            "lines": {line.name: line.as_json() for line in self.lines},
            "parts": self.cost.as_json(),
        }


def check(subject: Subject, budget: Budget, drop: Drop | None = None) -> Verdict:
    """A model's costs on a device against its limits."""
    return check_model(subject.model, subject.steps, budget, drop)


def check_model(
    model: Model | WindowModel, steps: int, budget: Budget, drop: Drop | None = None
) -> Verdict:
    """The same for a model on its way to C. steps: of a window."""
    cost = cost_of(model, target_of(budget.device), steps)
    return Verdict(budget, cost, tuple(_lines(cost, steps, budget, drop)))


def _lines(cost: Cost, steps: int, budget: Budget, drop: Drop | None) -> Sequence[Line]:
    device, clock, period = budget.device, budget.clock_hz, budget.period
    # Where a program is copied into RAM before it runs, it takes both.
    copied = cost.flash if device.runs_from_ram else 0
    ram = cost.ram + copied
    ram_error = (cost.ram * cost.ram_error + copied * cost.flash_error) / ram
    lines = [
        Line("flash", cost.flash, cost.flash_error, budget.flash),
        Line("ram", ram, ram_error, budget.ram),
        Line("macs", cost.macs, 0.0),
        Line("instructions", cost.instructions, cost.instructions_error, budget.instructions),
    ]
    # All constants are read in each step; slow memory beyond a cache makes that last longer.
    read = (cost.weights + cost.tables, steps)
    # The factors of a product may both be off.
    cycles_error = device.relative_error(cost.instructions, *read)
    error = (1 + cost.instructions_error) * (1 + cycles_error) - 1
    lines.append(Line("cycles", device.cycles(cost.instructions, *read), error))
    energy = device.millijoules(cost.instructions, *read)
    if clock is not None:
        seconds = device.seconds(cost.instructions, clock, *read)
        lines.append(Line("time", seconds, error, budget.seconds))
        if period is not None:
            # A window's samples come one by one.
            lines.append(Line("load", 100 * seconds / (steps * period), error, 100.0))
    if energy is not None:
        lines.append(Line("energy", energy, error))
        if period is not None:
            lines.append(Line("power", energy / (steps * period), error))
    if drop is not None:
        lines.append(Line("accuracy_drop", drop.points, None, budget.accuracy_drop))
    return lines
