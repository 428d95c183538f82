"""What a C step consists of: matrix products, fused loops and copies, and where they work."""

from __future__ import annotations

from dataclasses import dataclass

from edgernn.exporters.c.pieces import Elementwise, Vector
from edgernn.runtime.program import Matrix


@dataclass(frozen=True)
class Place:
    """Where a vector lies: in an input, a state, an output (by name) or the scratch arena."""

    area: str
    name: str
    offset: int


@dataclass(frozen=True)
class Copy:
    """size int16 from one place to another."""

    size: int
    source: Place
    target: Place


@dataclass(frozen=True, eq=False)
class Multiply:
    """target = W x + b, or target += W x + b. name: the program's operator, for a comment."""

    name: str
    matrix: Matrix
    source: Place
    target: Place
    add: bool


@dataclass(frozen=True)
class Loop:
    """Element-wise operators over `size` elements; loads first, stores last."""

    size: int
    operations: tuple[Elementwise, ...]
    loads: tuple[tuple[Vector, Place], ...]
    stores: tuple[tuple[Vector, Place], ...]


Action = Multiply | Loop | Copy
