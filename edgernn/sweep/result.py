"""What a sweep found: its trials, the front, the best."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from edgernn.training.base import Scores


@dataclass(frozen=True)
class Found:
    """One network. values: as Space.suggest. flash, ram: bytes; seconds: of a step, or of a window,
    None where the core has no clock. over: by what share of its limit it is over the tightest one,
    0 or less if it fits. scores: by split, empty if it was left out; why says so."""

    number: int
    values: dict[str, Any]
    flash: int
    ram: int
    seconds: float | None
    over: float
    parameters: int
    scores: dict[str, Scores] = field(default_factory=dict)
    best_epoch: int = 0
    minutes: float = 0.0
    why: str = ""

    @property
    def name(self) -> str:
        """gru(24), 2 x gru(24)."""
        layers = self.values["layers"]
        before = f"{layers} x " if layers > 1 else ""
        return f"{before}{self.values['cell']}({self.values['hidden']})"

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return vars(self) | {"name": self.name}


@dataclass(frozen=True)
class Result:
    """target: the device's name. limits: of the budget, by name. found: every trial. front: those
    that none beats in both validation score and flash, smallest first."""

    recipe: str
    data: str
    headline: str
    higher: bool
    target: str
    limits: dict[str, float]
    space: dict[str, Any]
    found: tuple[Found, ...]
    front: tuple[Found, ...]

    @property
    def trained(self) -> list[Found]:
        """Those that were trained."""
        return [found for found in self.found if found.scores]

    @property
    def best(self) -> Found:
        """The one with the best validation score; of equals the smallest."""
        sign = -1 if self.higher else 1
        return min(
            self.front, key=lambda f: (sign * f.scores["val"][self.headline], f.flash, f.number)
        )

    def as_json(self) -> dict[str, Any]:
        """What sweep.json holds."""
        return {
            "recipe": self.recipe,
            "data": self.data,
            "headline": self.headline,
            "higher_is_better": self.higher,
            "target": self.target,
            "limits": self.limits,
            "space": self.space,
            "front": [found.number for found in self.front],
            "best": self.best.number,
            "trials": [found.as_json() for found in self.found],
        }


def front_of(found: list[Found], headline: str, higher: bool) -> tuple[Found, ...]:
    """Smallest first; each scores better on the validation split than all smaller ones."""
    sign = -1 if higher else 1
    ranked = sorted(
        (f for f in found if f.scores),
        key=lambda f: (f.flash, sign * f.scores["val"][headline], f.number),
    )
    front: list[Found] = []
    for one in ranked:
        score = sign * one.scores["val"][headline]
        if not front or score < sign * front[-1].scores["val"][headline]:
            front.append(one)
    return tuple(front)


def result_rows(result: Result) -> tuple[list[str], list[list[Any]]]:
    """The front as a table: header and rows."""
    scored = [name for name, scores in result.best.scores.items() if result.headline in scores]
    splits = sorted(scored, key=lambda name: name != "val")
    score = result.headline.replace("_", " ")
    timed = all(f.seconds is not None for f in result.front)
    header = ["network", "flash", "RAM", *(["time"] if timed else []), "learning rate", "dropout"]
    header += [f"{score}, {split}" for split in splits]
    rows = []
    for f in result.front:
        time = [f"{1e6 * f.seconds:,.0f} us"] if timed and f.seconds is not None else []
        rows.append(
            [
                f.name,
                f"{f.flash / 1024:.1f} KiB",
                f"{f.ram / 1024:.1f} KiB",
                *time,
                f"{f.values['learning_rate']:.2g}",
                f"{f.values['dropout']:.2g}",
                *(f"{f.scores[split][result.headline]:.4f}" for split in splits),
            ]
        )
    return header, rows
