"""The targets whose costs were measured, and the measured numbers."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from edgernn.footprint.features import Limits

TARGETS: Final = Path(__file__).parent / "targets.json"
OWN: Final = re.compile(
    r"(partial call|partial turn|call|turn|code|frame) ([0-9a-f]{12})(?: (.+))?"
)
"""A price that a loop has for itself: of what, which loop, and how it is called, or however."""
KINDS: Final = ("turn", "call", "partial turn", "partial call", "code", "frame")
"""The order of such prices in the file."""
LEAST: Final = 0.05
CODE: Final = 0.1
WHERE: Final = {"code": "code", "frame": "frames"}


@dataclass(frozen=True)
class Error:
    """Relative errors that were found: the worst, and the mean of the absolute ones."""

    worst: float
    mean: float

    @property
    def stated(self) -> float:
        """What is said of an estimate: the worst, but no less than LEAST, for of many other
        programs a few go beyond what those few that were held out did."""
        return max(self.worst, LEAST)


@dataclass(frozen=True)
class Errors:
    """How far estimates were from what `programs` held-out programs needed on the board."""

    programs: int
    instructions: Error
    flash: Error
    ram: Error

    def of_flash(self, flash: int, code: int) -> float:
        """What is said of an estimate of so many bytes of flash, `code` of them code.

        Weights and tables are counted, not estimated: it is at most CODE of the code, but no less
        than the worst that was found.
        """
        return min(self.flash.stated, max(self.flash.worst, CODE * code / flash))

    def percent(self) -> dict[str, float]:
        """The errors stated in %, for reports."""
        found = {"instructions": self.instructions, "flash": self.flash, "ram": self.ram}
        return {name: round(100 * error.stated, 1) for name, error in found.items()}


@dataclass(frozen=True)
class Target:
    """A core, the compiler that built the C for it, and what everything costs there.

    lanes: elements that a loop takes at a time. rest4: stored columns of a 4-column block.
    group_bytes: constants of 4 rows. matrix_bytes: what describes a matrix. limits: what is copied
    in place. loops: keys of the loops that were measured as they are. errors: of programs of such
    loops ("measured"), of those that have others ("summed"), and of windows ("window").
    instructions, code, frames: feature -> price, in instructions of a step, bytes of code, and
    bytes of stack beside scratch.
    """

    name: str
    core: str
    compiler: str
    lanes: int
    rest4: int
    group_bytes: int
    matrix_bytes: int
    limits: Limits
    loops: Collection[str]
    errors: Mapping[str, Errors]
    instructions: Mapping[str, float]
    code: Mapping[str, float]
    frames: Mapping[str, float]


@cache
def load_targets() -> Mapping[str, Target]:
    """Name -> target, in the order of the file."""
    entries = json.loads(TARGETS.read_text(encoding="ascii"))
    targets = [_target(entry) for entry in entries]
    return MappingProxyType({target.name: target for target in targets})


def _target(entry: dict[str, Any]) -> Target:
    """Of an entry of the file, in which the prices of each loop stand together."""
    loops: dict[str, dict[str, list[float]]] = entry.pop("loops")
    for key, forms in loops.items():
        for form, prices in forms.items():
            for kind, price in zip(KINDS, prices, strict=False):
                name = f"{kind} {key} {form}".rstrip()
                entry[WHERE.get(kind, "instructions")][name] = price
    limits = Limits(**entry.pop("limits"))
    errors = {kind: _errors(found) for kind, found in entry.pop("errors").items()}
    return Target(**entry, limits=limits, loops=frozenset(loops), errors=errors)


def _errors(entry: Mapping[str, Any]) -> Errors:
    kinds = {n: Error(**entry[n]) for n in ("instructions", "flash", "ram")}
    return Errors(entry["programs"], **kinds)


def to_json(targets: Sequence[Target]) -> str:
    """The file's text: a line for each loop, with its prices in the order of KINDS."""
    text = json.dumps([_entry(target) for target in targets], indent=1)
    lists = re.sub(r"\[\s+([-\d.,\s]+?)\s+\]", lambda m: f"[{' '.join(m[1].split())}]", text)
    lines = re.sub(
        r'("[0-9a-f]{12}": )\{([^{}]*)\}', lambda m: f"{m[1]}{{{' '.join(m[2].split())}}}", lists
    )
    return lines + "\n"


def _entry(target: Target) -> dict[str, Any]:
    entry = asdict(target)
    loops: dict[str, dict[str, list[float]]] = {key: {} for key in sorted(target.loops)}
    for where in ("instructions", "code", "frames"):
        common: dict[str, float] = {}
        for name, price in entry[where].items():
            match = OWN.fullmatch(name)
            if match is None:
                common[name] = price
            elif match[2] in loops:
                prices = loops[match[2]].setdefault(match[3] or "", [])
                place = KINDS.index(match[1])
                prices += [0.0] * (place + 1 - len(prices))
                prices[place] = price
        entry[where] = common
    return {**entry, "loops": loops}
