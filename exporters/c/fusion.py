"""The order of the work: products, and loops that element-wise operators join.

- A sum of two matrix products is formed by the second of them, in the memory of the first.
- An element-wise operator joins the earliest loop of its size that its operands allow.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from edgernn.exporters.c.pieces import Elementwise, Pieces, Product, Vector
from edgernn.runtime.program import Program


@dataclass
class Item:
    """A product (or embedding), or a loop of `size` elements and its operators."""

    product: Product | None = None
    size: int = 0
    operations: list[Elementwise] = field(default_factory=list)


class Order:
    """items: in order. vectors: tensor -> its vectors. kept: outputs and next states.

    needed: what is computed at all. sum_of: a product's vector -> the sum that it is part of;
    added: the parts that are added there, not stored. written: vector -> the first item that
    writes it; reads: vector -> the items that read it.
    """

    def __init__(self, program: Program, pieces: Pieces) -> None:
        self.vectors = pieces.vectors
        self.kept = {
            v
            for name in (*program.outputs.values(), *(s.output for s in program.states))
            for v in self.vectors[name]
        }
        self.needed: set[Vector] = set()
        self.sum_of: dict[Vector, Vector] = {}
        self.added: set[Vector] = set()
        operations = self._with_sums(self._without_idle(pieces.operations))
        self.items = self._fused(operations)
        self.written: dict[Vector, int] = {}
        self.reads: dict[Vector, list[int]] = defaultdict(list)
        self._note_uses()

    def _without_idle(
        self, operations: tuple[Elementwise | Product, ...]
    ) -> list[Elementwise | Product]:
        """Leave out what no output and no state depends on."""
        needed, result = set(self.kept), []
        for operation in reversed(operations):
            outputs, inputs = self._operands(operation)
            if not needed.isdisjoint(outputs):
                needed.update(inputs)
                result.append(operation)
        self.needed = needed
        return result[::-1]

    def _operands(
        self, operation: Elementwise | Product
    ) -> tuple[tuple[Vector, ...], tuple[Vector, ...]]:
        if isinstance(operation, Product):
            return operation.outputs, self.vectors[operation.operator.inputs[0]]
        return (operation.output,), operation.inputs

    def _with_sums(self, operations: list[Elementwise | Product]) -> list[Elementwise | Product]:
        """Take out the sums that a product can form on its way to memory."""
        readers: dict[Vector, int] = defaultdict(int)
        rank: dict[Vector, tuple[int, int]] = {}
        rows: set[Vector] = set()
        for index, operation in enumerate(operations):
            outputs, inputs = self._operands(operation)
            for vector in inputs:
                readers[vector] += 1
            if isinstance(operation, Product):
                rank |= {vector: (index, i) for i, vector in enumerate(outputs)}
                if operation.operator.kind != "linear":
                    rows.update(outputs)
        result: list[Elementwise | Product] = []
        for operation in operations:
            if isinstance(operation, Elementwise) and operation.kind == "add":
                output = operation.output
                a, b = sorted(operation.inputs, key=lambda v: rank.get(v, (-1, 0)))
                free = a != b and all(
                    v in rank and readers[v] == 1 and v not in self.kept for v in (a, b)
                )
                # b itself must be a plain product: neither a sum nor the row of a table can be
                # added to what is in memory.
                plain = b not in self.sum_of.values() and b not in rows
                if free and plain and a.scale == b.scale == output.scale:
                    for part in [v for v, whole in self.sum_of.items() if whole == a]:
                        self.sum_of[part] = output
                    self.sum_of[a] = self.sum_of[b] = output
                    self.added.add(b)
                    rank[output] = rank[b]
                    continue
            result.append(operation)
        return result

    def _fused(self, operations: list[Elementwise | Product]) -> list[Item]:
        """Join element-wise operators into loops, each as early as its operands allow."""
        items: list[Item] = []
        ready: dict[Vector, int] = {}
        for operation in operations:
            if isinstance(operation, Product):
                index = len(items)
                items.append(Item(product=operation))
                # A sum is ready when its last part is.
                ready |= {self.sum_of.get(v, v): index for v in operation.outputs}
                continue
            size = operation.output.size
            earliest = max((ready.get(v, -1) for v in operation.inputs), default=-1)
            index = next(
                (
                    i
                    for i in range(max(earliest, 0), len(items))
                    if items[i].product is None and items[i].size == size
                ),
                len(items),
            )
            if index == len(items):
                items.append(Item(size=size))
            items[index].operations.append(operation)
            ready[operation.output] = index
        return items

    def _note_uses(self) -> None:
        for index, item in enumerate(self.items):
            if item.product is not None:
                for vector in self.vectors[item.product.operator.inputs[0]]:
                    self.reads[vector].append(index)
                for vector in item.product.outputs:
                    self.written.setdefault(self.sum_of.get(vector, vector), index)
                    # Adding to a sum reads it.
                    self.reads[self.sum_of.get(vector, vector)].append(index)
            for operation in item.operations:
                self.written[operation.output] = index
                for vector in operation.inputs:
                    self.reads[vector].append(index)
