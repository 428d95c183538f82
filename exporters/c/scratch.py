"""The scratch arena of a step: memory is given by lifetime, and used again when that ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from edgernn.exporters.c.pieces import Vector

ALIGNMENT: Final = 2
"""In int16: kernels read pairs of them as one word."""


@dataclass(frozen=True, eq=False)
class Unit:
    """Vectors that lie side by side, from the action that writes the first to the last reader."""

    vectors: tuple[Vector, ...]
    begin: int
    end: int

    @property
    def size(self) -> int:
        """Elements, rounded up to the alignment."""
        size = sum(v.size for v in self.vectors)
        return -(-size // ALIGNMENT) * ALIGNMENT


class Lasting(Protocol):
    """What needs memory for a time."""

    @property
    def size(self) -> int:
        """Of what it takes."""

    @property
    def begin(self) -> int:
        """The first moment that it is needed."""

    @property
    def end(self) -> int:
        """The last one."""


Anything = TypeVar("Anything", bound=Lasting)


def allocate(units: Sequence[Anything]) -> tuple[dict[Anything, int], int]:
    """Offset of each unit, and the arena's size, as the units count; largest first, lowest gap."""
    offsets: dict[Anything, int] = {}
    for unit in sorted(units, key=lambda u: -u.size):
        busy = sorted(
            (offset, offset + other.size)
            for other, offset in offsets.items()
            if other.begin <= unit.end and unit.begin <= other.end
        )
        offset = 0
        for begin, end in busy:
            if offset + unit.size <= begin:
                break
            offset = max(offset, end)
        offsets[unit] = offset
    return offsets, max((o + u.size for u, o in offsets.items()), default=0)
