"""The targets whose costs were measured, and the measured numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from edgernn.footprint.features import Limits

TARGETS: Final = Path(__file__).parent / "targets.json"


@dataclass(frozen=True)
class Target:
    """A core, the compiler that built the C for it, and what everything costs there.

    lanes: elements that a loop takes at a time. rest4: stored columns of a 4-column block.
    group_bytes: constants of 4 rows. limits: what is copied in place. instructions, code, frames:
    feature -> price, in instructions of a step, bytes of code, and bytes of stack beside scratch.
    """

    name: str
    core: str
    compiler: str
    lanes: int
    rest4: int
    group_bytes: int
    limits: Limits
    instructions: Mapping[str, float]
    code: Mapping[str, float]
    frames: Mapping[str, float]


@cache
def load_targets() -> Mapping[str, Target]:
    """Name -> target, in the order of the file."""
    entries = json.loads(TARGETS.read_text(encoding="ascii"))
    targets = [Target(**{**entry, "limits": Limits(**entry["limits"])}) for entry in entries]
    return MappingProxyType({target.name: target for target in targets})


def to_json(targets: Sequence[Target]) -> str:
    """The file's text."""
    entries: list[dict[str, Any]] = [asdict(target) for target in targets]
    return json.dumps(entries, indent=1) + "\n"
