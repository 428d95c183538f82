"""A program on its way to C: its schedule, and the names that its parts have there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from edgernn.exporters.c.identifiers import local_names
from edgernn.exporters.c.ports import Port, Value, ports_of
from edgernn.exporters.c.schedule import Schedule, schedule
from edgernn.runtime.file import to_bytes
from edgernn.runtime.program import Operator, Program
from edgernn.runtime.state import stored_size
from edgernn.runtime.window import Window

_SETTINGS_LENGTH: Final = 600


@dataclass(frozen=True, eq=False)
class Model:
    """A program on its way to C. name: prefix of every symbol, and of the two files."""

    program: Program
    name: str

    @cached_property
    def schedule(self) -> Schedule:
        """What the step does."""
        return schedule(self.program)

    @cached_property
    def sha256(self) -> str:
        """Of the program's file."""
        return hashlib.sha256(to_bytes(self.program)).hexdigest()

    @cached_property
    def fields(self) -> dict[str, str]:
        """State -> its member in the state struct."""
        return local_names((s.name for s in self.program.states), ("tag",))

    @cached_property
    def constants(self) -> dict[str, str]:
        """Constant tensor -> its array."""
        prefix = f"{self.name}_constant_"
        return {n: prefix + i for n, i in local_names(self.program.constants).items()}

    def tokens(self, port: Port) -> int | None:
        """If an input is a token id: how many ids every embedding that reads it has a row for."""
        program, rows = self.program, []
        for op in program.operators:
            source = op.inputs[0]
            while (producer := program.producer(source)) and producer.kind == "split":
                source = producer.inputs[0]
            if op.kind == "embedding" and op.table is not None and source == port.tensor.name:
                rows.append(len(op.table))
        return min(rows, default=None) if port.role == "input" else None

    @cached_property
    def ports(self) -> tuple[Port, ...]:
        """Inputs, then outputs, in the order of the step's parameters."""
        tensors = self.program.tensors
        values = [Value("input", n, tensors[n]) for n in self.program.inputs]
        values += [Value("output", n, tensors[t]) for n, t in self.program.outputs.items()]
        return ports_of(self.name, values, ("state", "scratch", "memcpy"))

    @property
    def inputs(self) -> list[Port]:
        """The ports that the step reads."""
        return [port for port in self.ports if port.role == "input"]

    @property
    def outputs(self) -> list[Port]:
        """The ports that the step writes."""
        return [port for port in self.ports if port.role == "output"]

    @property
    def state_bytes(self) -> int:
        """sizeof the state struct."""
        return 4 + 2 * sum(stored_size(len(s.initial)) for s in self.program.states)

    def origin(self) -> list[str]:
        """What the model was made from; no date, so that equal input gives equal bytes."""
        return origin(self.program, self.program.operators, self.sha256)


def origin(program: Program | Window, operators: Iterable[Operator], sha256: str) -> list[str]:
    """The lines of a banner that say what something was made from."""
    kinds = [op.kind for op in operators]
    counts = ", ".join(f"{kinds.count(k)} {k}" for k in dict.fromkeys(kinds))
    lines = [
        f"model sha256 {sha256}",
        f"{program.weight_count} int8 weights in {program.row_count} rows",
        f"operators: {counts}",
    ]
    calibration = program.metadata.get("calibration")
    if isinstance(calibration, Mapping):
        settings = ", ".join(f"{k} {v}" for k, v in calibration.items())
        # A file may bring as much of it as it likes.
        lines.append(f"calibration: {settings[:_SETTINGS_LENGTH]}")
    return lines
