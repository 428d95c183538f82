"""A program cut into pieces: what splits and concatenations only rename becomes one vector.

Every tensor is a row of pieces, and a piece belongs to one vector, the unit that the C code
computes. Cuts travel through element-wise operators, so that an operator on [r | z] becomes two,
and all of a cell's operators run over the same hidden units.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgernn.runtime.program import Operator, Program, Scale

ELEMENTWISE: Final = frozenset(
    {"add", "sub", "mul", "logistic", "tanh", "relu", "rescale"}
    | {"maximum", "select", "lookup", "rsqrt"},
)


@dataclass(frozen=True)
class Vector:
    """A vector of `size` int16: what one operator computes, an input, a state or a constant.

    name: unique, from the most specific tensor that it is (part of).
    origin: the tensor that its producer writes, and the first element in it.
    """

    name: str
    size: int
    scale: Scale
    origin: tuple[str, int]


@dataclass(frozen=True)
class Table:
    """Numbers that an operator looks up; equal ones are one array in C.

    dtype: int16 or int8. columns: elements of a row. content: the rows, little-endian.
    """

    dtype: str
    columns: int
    content: bytes

    @classmethod
    def of(cls, values: NDArray[Any]) -> Table:
        """Of one row (n,), or of several (rows, columns)."""
        return cls(values.dtype.name, int(values.shape[-1]), _little(values).tobytes())

    @property
    def values(self) -> NDArray[Any]:
        """(rows, columns)"""
        little = np.dtype(self.dtype).newbyteorder("<")
        return np.frombuffer(self.content, little).reshape(-1, self.columns)


def _little(values: NDArray[Any]) -> NDArray[Any]:
    return values.astype(values.dtype.newbyteorder("<"))


@dataclass(frozen=True)
class Elementwise:
    """An element-wise operator on vectors of one size; the mask of a select may have size 1."""

    kind: str
    inputs: tuple[Vector, ...]
    output: Vector
    table: Table | None = None


@dataclass(frozen=True)
class Product:
    """A matrix product or an embedding: reads a tensor and writes vectors, one after the other."""

    operator: Operator
    outputs: tuple[Vector, ...]


@dataclass(frozen=True)
class Pieces:
    """vectors: tensor -> the vectors that it consists of. operations: in execution order."""

    vectors: dict[str, tuple[Vector, ...]]
    operations: tuple[Elementwise | Product, ...]


def cut(program: Program) -> Pieces:
    """Cut a program into vectors and the operations on them."""
    return _Cutter(program).pieces()


@dataclass
class _Cutter:
    program: Program
    cuts: dict[str, set[int]] = field(default_factory=dict)

    def pieces(self) -> Pieces:
        self._find_cuts()
        program = self.program
        vectors: dict[str, tuple[Vector, ...]] = {}
        names = self._names()
        taken: set[str] = set()

        def fresh(tensor: str) -> None:
            row = []
            for begin, end in self._parts(tensor):
                name = names.get((tensor, begin, end), tensor)
                unique, count = name, 1
                while unique in taken:
                    count += 1
                    unique = f"{name}_{count}"
                taken.add(unique)
                scale = program.tensors[tensor].scale
                row.append(Vector(unique, end - begin, scale, (tensor, begin)))
            vectors[tensor] = tuple(row)

        given = (*program.inputs, *(s.input for s in program.states), *program.constants)
        for name in given:
            fresh(name)
        operations: list[Elementwise | Product] = []
        for op in program.operators:
            if op.kind == "split":
                rest = list(vectors[op.inputs[0]])
                for name in op.outputs:
                    size, row = program.tensors[name].size, []
                    while size:
                        row.append(rest.pop(0))
                        size -= row[-1].size
                    vectors[name] = tuple(row)
            elif op.kind == "concat":
                vectors[op.name] = tuple(v for name in op.inputs for v in vectors[name])
            elif op.kind in ("linear", "embedding"):
                fresh(op.name)
                operations.append(Product(op, vectors[op.name]))
            else:
                assert op.kind in ELEMENTWISE, op.kind
                fresh(op.name)
                outputs = vectors[op.name]
                # One element that counts for all does so for every piece.
                rows = [
                    vectors[name] * (1 if name in _followed(program, op) else len(outputs))
                    for name in op.inputs
                ]
                table = None if op.table is None else Table.of(op.table)
                for i, output in enumerate(outputs):
                    ins = tuple(row[i] for row in rows)
                    operations.append(Elementwise(op.kind, ins, output, table))
        return Pieces(vectors, tuple(operations))

    def _parts(self, tensor: str) -> list[tuple[int, int]]:
        bounds = [0, *sorted(self.cuts[tensor]), self.program.tensors[tensor].size]
        return list(pairwise(bounds))

    def _find_cuts(self) -> None:
        """Let cuts travel until nothing changes; every tensor ends with all it must have."""
        program = self.program
        self.cuts = {name: set() for name in program.tensors}
        size = {name: t.size for name, t in program.tensors.items()}
        while True:
            before = sum(map(len, self.cuts.values()))
            for op in program.operators:
                if op.kind in ("split", "concat"):
                    (whole,), parts = (
                        (op.inputs, op.outputs) if op.kind == "split" else (op.outputs, op.inputs)
                    )
                    end = 0
                    for part in parts:
                        begin, end = end, end + size[part]
                        self.cuts[whole] |= {begin, *(begin + c for c in self.cuts[part])}
                        inner = {c - begin for c in self.cuts[whole] if begin < c < end}
                        self.cuts[part] |= inner
                    self.cuts[whole].discard(0)
                elif op.kind in ELEMENTWISE:
                    self._share((*_followed(program, op), op.name))
            for state in program.states:
                # So that a next value meets the value that it replaces, piece by piece.
                self._share((state.input, state.output))
            if sum(map(len, self.cuts.values())) == before:
                return

    def _share(self, names: tuple[str, ...]) -> None:
        union = set().union(*(self.cuts[name] for name in names))
        for name in names:
            self.cuts[name] |= union

    def _names(self) -> dict[tuple[str, int, int], str]:
        """The part of a split that a piece is, by where it lies in what was cut: [r | z] -> r."""
        names: dict[tuple[str, int, int], str] = {}
        origin: dict[str, tuple[str, int]] = {}
        for op in self.program.operators:
            if op.kind != "split":
                continue
            whole, offset = origin.get(op.inputs[0], (op.inputs[0], 0))
            for name in op.outputs:
                end = offset + self.program.tensors[name].size
                names[whole, offset, end] = name
                origin[name] = (whole, offset)
                offset = end
        return names


def _followed(program: Program, op: Operator) -> tuple[str, ...]:
    """The operands that are cut where the result is; one element cannot be."""
    size = program.tensors[op.name].size
    return tuple(name for name in op.inputs if program.tensors[name].size == size)
