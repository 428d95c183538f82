"""What a C step consists of: products, rows of tables, fused loops and copies; where they work."""

from __future__ import annotations

from dataclasses import dataclass

from edgernn.exporters.c.pieces import Elementwise, Table, Vector
from edgernn.runtime.program import Matrix


@dataclass(frozen=True)
class Place:
    """Where a vector lies: an input, state, output or constant (by name), or the scratch arena."""

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
class Row:
    """target = `size` elements, from column `begin` on, of the row of a table that source says.

    name: the program's operator, for a comment.
    """

    name: str
    table: Table
    begin: int
    size: int
    source: Place
    target: Place


@dataclass(frozen=True)
class Loop:
    """Element-wise operators over `size` elements; loads first, stores last.

    A vector of another size among the loads has one element, which counts for all.
    """

    size: int
    operations: tuple[Elementwise, ...]
    loads: tuple[tuple[Vector, Place], ...]
    stores: tuple[tuple[Vector, Place], ...]

    @property
    def tables(self) -> tuple[Table, ...]:
        """What its operators look up, each once."""
        return tuple(dict.fromkeys(o.table for o in self.operations if o.table is not None))


Action = Multiply | Row | Loop | Copy
