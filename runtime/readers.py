"""Who reads a tensor, and so what its operator may leave undone for the NumPy engine."""

from __future__ import annotations

from typing import Final

from edgernn.runtime.program import Operator, Program

TABLES: Final = ("logistic", "tanh")
"""Operators whose table also clamps and rounds what it is given."""


class Readers:
    """The readers of every tensor of a program."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._kept = {*program.outputs.values(), *(s.output for s in program.states)}
        self._readers: dict[str, list[Operator]] = {}
        for op in program.operators:
            for name in dict.fromkeys(op.inputs):
                self._readers.setdefault(name, []).append(op)

    def of(self, name: str) -> list[Operator]:
        """The operators that read a tensor, each once, in execution order."""
        return self._readers.get(name, [])

    def are_only(self, name: str, kinds: tuple[str, ...]) -> bool:
        """Is every reader of a tensor, through splits, of these kinds, and is it no result?

        Only then may it be held as anything but its plain integers: all other operators, among
        them those that are not written yet, read those.
        """
        pending = [name]
        while pending:
            part = pending.pop()
            readers = self.of(part)
            if part in self._kept or not readers:
                return False
            for reader in readers:
                if reader.kind == "split":
                    pending += reader.outputs
                elif reader.kind not in kinds:
                    return False
        return True

    def round_later(self, name: str) -> bool:
        """Can the table behind the sum that reads this product take over its rounding?"""
        program = self._program
        readers = self.of(name)
        if len(readers) != 1 or not self.are_only(name, ("add",)):
            return False
        reader = readers[0]
        if reader.kind != "add" or reader.inputs[0] == reader.inputs[1]:
            return False
        producer = program.producer(other_operand(reader, name))
        tables_read = self.of(reader.name)
        return (
            len({program.tensors[n].scale for n in (*reader.inputs, *reader.outputs)}) == 1
            and (producer is None or producer.kind != "mul")
            and len(tables_read) == 1
            and tables_read[0].kind in TABLES
            and self.are_only(reader.name, TABLES)
        )


def other_operand(reader: Operator, name: str) -> str:
    """What an operator of two inputs reads beside `name`; `name` if it reads that twice."""
    first, second = reader.inputs
    return second if first == name else first
