"""From a program to what the C step does: every vector gets its place, then come the actions.

A next state replaces the state as soon as nothing reads the old one any more; outputs are computed
where the caller wants them; what only one loop reads never reaches memory.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from edgernn.exporters.c.actions import Action, Copy, Loop, Multiply, Place, Row
from edgernn.exporters.c.fusion import Item, Order
from edgernn.exporters.c.pieces import Product, Table, Vector, cut
from edgernn.exporters.c.scratch import Unit, allocate
from edgernn.runtime.program import Matrix, Program

MOST_ROWS: Final = 32768
"""Rows of one product in C, which counts them in 16 bits; a taller one becomes several."""


@dataclass(frozen=True)
class Schedule:
    """actions: in order. scratch: size of the arena, in int16."""

    actions: tuple[Action, ...]
    scratch: int

    @property
    def constants(self) -> set[str]:
        """The program's constants that anything is read from."""
        places: list[Place] = []
        for action in self.actions:
            if isinstance(action, Loop):
                places += [place for _, place in action.loads]
            else:
                places.append(action.source)
        return {place.name for place in places if place.area == "constant"}

    @property
    def tables(self) -> list[Table]:
        """All that is looked up in, each table once."""
        found: dict[Table, None] = {}
        for action in self.actions:
            if isinstance(action, Loop):
                found |= dict.fromkeys(action.tables)
            elif isinstance(action, Row):
                found[action.table] = None
        return list(found)


def schedule(program: Program) -> Schedule:
    """Order the work of a step and give every vector its place."""
    return _Scheduler(program).result()


class _Scheduler:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.order = Order(program, cut(program))
        self.vectors, self.items = self.order.vectors, self.order.items
        self.written, self.reads = self.order.written, self.order.reads
        self.places: dict[Vector, Place] = {}
        # Copies before and after the rest, and stores beside those of a vector's own place.
        self.first: list[Copy] = []
        self.last: list[tuple[Vector, Place]] = []
        self.extra: dict[int, list[tuple[Vector, Place]]] = defaultdict(list)
        # Product -> what must be copied together for it; states that are held till the end.
        self.gathered: dict[int, Unit] = {}
        self.held: dict[Vector, Unit] = {}
        self.offsets: dict[Unit, int] = {}

    def result(self) -> Schedule:
        self._give_places()
        size = self._place_in_scratch()
        actions: list[Action] = [*self.first]
        for index, item in enumerate(self.items):
            if item.product is not None:
                actions += self._products(index, item.product)
            else:
                actions.append(self._loop(index, item))
        actions += self._final_copies()
        return Schedule(tuple(actions), size)

    # -- where everything lies ------------------------------------------------------------------

    def _give_places(self) -> None:
        """What is given where it is, next states in place, results in the outputs."""
        program = self.program
        for area, names in (
            ("input", {name: name for name in program.inputs}),
            ("state", {s.name: s.input for s in program.states}),
            ("constant", {name: name for name in program.constants}),
        ):
            for name, tensor in names.items():
                self.places |= self._row(area, name, tensor)
        # Old values that are still wanted when the step ends.
        late = {v for s in program.states for v in self.vectors[s.output] if v not in self.written}
        for state in program.states:
            row = self._row("state", state.name, state.input)
            pairs = zip(self.vectors[state.output], row.items(), strict=True)
            for after, (before, place) in pairs:
                if after == before:
                    continue
                if before not in late and self._may_replace(after, before):
                    self.places[after] = place
                else:
                    self.last.append((after, place))
        for name, tensor in program.outputs.items():
            offset = 0
            for vector in self.vectors[tensor]:
                place = Place("output", name, offset)
                offset += vector.size
                self._deliver(vector, place)

    def _row(self, area: str, name: str, tensor: str) -> dict[Vector, Place]:
        places, offset = {}, 0
        for vector in self.vectors[tensor]:
            places[vector] = Place(area, name, offset)
            offset += vector.size
        return places

    def _may_replace(self, after: Vector, before: Vector) -> bool:
        """May the next value be written where the old one lies?"""
        if after not in self.written or after in self.places:
            return False
        index = self.written[after]
        reads = max(self.reads[before], default=-1)
        # A loop reads element i before it writes element i; a product writes while it reads.
        return reads < index or (reads == index and self.items[index].product is None)

    def _deliver(self, vector: Vector, place: Place) -> None:
        """Let an output have a vector: computed there, stored there as well, or copied."""
        if vector not in self.written:
            # An input or a constant, or an old state, which the step may overwrite.
            self.first.append(Copy(vector.size, self.places[vector], place))
        elif vector not in self.places:
            self.places[vector] = place
        elif self.items[self.written[vector]].product is None:
            self.extra[self.written[vector]].append((vector, place))
        else:
            self.last.append((vector, place))

    def _place_in_scratch(self) -> int:
        """Lay out what has no place yet and is read from memory; returns the arena's size."""
        end = len(self.items)
        lifetime = {
            v: (self.written[v], max([self.written[v], *self.reads[v]])) for v in self.written
        }
        for vector, _ in self.last:
            if vector in lifetime:
                lifetime[vector] = (lifetime[vector][0], end)

        def homeless(vector: Vector) -> bool:
            if vector in self.places or vector not in lifetime:
                return False
            if (
                vector not in self.order.needed
                and self.items[lifetime[vector][0]].product is not None
            ):
                return False
            begin, until = lifetime[vector]
            return until > begin or self.items[begin].product is not None

        units: list[Unit] = []
        placed: set[Vector] = set()

        def add(row: list[Vector]) -> None:
            spans = [lifetime[v] for v in row]
            units.append(Unit(tuple(row), min(s[0] for s in spans), max(s[1] for s in spans)))
            placed.update(row)

        for index, item in enumerate(self.items):
            if item.product is not None:
                self._gather(index, item.product, lambda v: homeless(v) and v not in placed, add)
        for item in self.items:
            if item.product is not None:
                stored = [
                    self.order.sum_of.get(v, v)
                    for v in item.product.outputs
                    if v not in self.order.added
                ]
                row = [v for v in stored if homeless(v) and v not in placed]
                if row:
                    add(row)
            for operation in item.operations:
                if homeless(operation.output) and operation.output not in placed:
                    add([operation.output])
        units += self.gathered.values()
        # Old states that the end of the step still wants, held while others are written.
        self.held = {
            v: Unit((v,), end, end)
            for v, _ in self.last
            if v not in self.written and self.places[v].area == "state"
        }
        units += self.held.values()
        offsets, size = allocate(units)
        for unit, offset in offsets.items():
            if unit in self.held.values() or unit in self.gathered.values():
                continue
            for vector in unit.vectors:
                self.places[vector] = Place("scratch", "", offset)
                offset += vector.size
        self.offsets = offsets
        return size

    def _gather(
        self,
        index: int,
        product: Product,
        free: Callable[[Vector], bool],
        add: Callable[[list[Vector]], None],
    ) -> None:
        """What a product reads must be contiguous: placed so, or else copied together."""
        row = self.vectors[product.operator.inputs[0]]
        if len(row) == 1:
            return
        if len(set(row)) == len(row) and all(free(v) for v in row):
            add(list(row))
            return
        places = [self.places.get(v) for v in row]
        start = places[0]
        offset, contiguous = 0, True
        for vector, place in zip(row, places, strict=True):
            if start is None or place != replace(start, offset=start.offset + offset):
                contiguous = False
            offset += vector.size
        if not contiguous:
            self.gathered[index] = Unit(row, index, index)

    # -- the actions ----------------------------------------------------------------------------

    def _products(self, index: int, product: Product) -> list[Action]:
        actions: list[Action] = []
        op = product.operator
        row = self.vectors[op.inputs[0]]
        if index in self.gathered:
            source = Place("scratch", "", self.offsets[self.gathered[index]])
            offset = 0
            for vector in row:
                target = replace(source, offset=source.offset + offset)
                actions.append(Copy(vector.size, self.places[vector], target))
                offset += vector.size
        else:
            source = self.places[row[0]]
        runs = self._runs(product)
        if op.matrix is None:
            assert op.table is not None
            table = Table.of(op.table)
            assert not any(add for *_, add in runs)
            rows = [Row(op.name, table, b, e - b, source, place) for b, e, place, _ in runs]
            return [*actions, *rows]
        parts = [
            (
                begin,
                min(begin + MOST_ROWS, end),
                replace(place, offset=place.offset + begin - first),
                add,
            )
            for first, end, place, add in runs
            for begin in range(first, end, MOST_ROWS)
        ]
        for begin, end, place, add in parts:
            m = op.matrix
            part = Matrix(
                m.weight[begin:end], m.bias[begin:end], m.multiplier[begin:end], m.shift[begin:end]
            )
            name = op.name if (begin, end) == (0, len(m.bias)) else f"{op.name}[{begin}:{end}]"
            actions.append(Multiply(name, part, source, place, add))
        return actions

    def _runs(self, product: Product) -> list[tuple[int, int, Place, bool]]:
        """What a product writes, in parts that lie side by side: begin, end, place, added there?"""
        runs: list[tuple[int, int, Place, bool]] = []
        begin = 0
        for vector in product.outputs:
            end, add = begin + vector.size, vector in self.order.added
            place = self.places.get(self.order.sum_of.get(vector, vector))
            if place is not None:
                run = runs[-1] if runs else None
                if run is not None and run[1] == begin and run[3] == add:
                    follows = replace(run[2], offset=run[2].offset + begin - run[0]) == place
                else:
                    follows = False
                if run is not None and follows:
                    runs[-1] = (run[0], end, run[2], add)
                else:
                    runs.append((begin, end, place, add))
            begin = end
        return runs

    def _loop(self, index: int, item: Item) -> Loop:
        computed = {operation.output for operation in item.operations}
        read = dict.fromkeys(v for operation in item.operations for v in operation.inputs)
        loads = tuple((v, self.places[v]) for v in read if v not in computed)
        stores = [(v, self.places[v]) for v in computed if v in self.places]
        order = [operation.output for operation in item.operations]
        stores.sort(key=lambda pair: order.index(pair[0]))
        return Loop(item.size, tuple(item.operations), loads, (*stores, *self.extra[index]))

    def _final_copies(self) -> list[Action]:
        """Next states that could not be written in place, all read before one is written."""
        actions: list[Action] = []
        for vector, unit in self.held.items():
            target = Place("scratch", "", self.offsets[unit])
            actions.append(Copy(vector.size, self.places[vector], target))
        for vector, place in self.last:
            held = self.held.get(vector)
            source = (
                self.places[vector] if held is None else Place("scratch", "", self.offsets[held])
            )
            actions.append(Copy(vector.size, source, place))
        return actions
