"""A program on its way to C: its schedule, and the names that its parts have there."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from edgernn.exporters.c.identifiers import identifiers, local_names
from edgernn.exporters.c.schedule import Schedule, schedule
from edgernn.runtime.file import to_bytes
from edgernn.runtime.program import Program, Tensor
from edgernn.runtime.state import stored_size

_SETTINGS_LENGTH: Final = 600


@dataclass(frozen=True)
class Port:
    """An input or output of the step.

    parameter: its name in the step. argument: the array in the examples. macro: prefix of its
    size and scale. helper: the function that converts it from or to float.
    """

    role: str
    name: str
    tensor: Tensor
    parameter: str
    argument: str
    macro: str
    helper: str


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
        program = self.program
        keys = [("input", n, n) for n in program.inputs]
        keys += [("output", n, t) for n, t in program.outputs.items()]
        # An input and an output may have one name.
        wanted = [f"{n}_out" if r == "output" and n in program.inputs else n for r, n, _ in keys]
        # What the step's body says itself.
        parameters = identifiers(wanted, ("state", "scratch", "memcpy"), f"{self.name}_")
        ports: list[Port] = []
        for (role, name, tensor), parameter in zip(keys, parameters, strict=True):
            single = [r for r, _, _ in keys].count(role) == 1
            argument = "x" if role == "input" else "y"
            verb = "quantize" if role == "input" else "dequantize"
            # Names may differ in their case alone.
            macro = f"{self.name}_{role}{'' if single else f'_{name}'}".upper()
            while any(port.macro == macro for port in ports):
                macro += "_"
            ports.append(
                Port(
                    role,
                    name,
                    program.tensors[tensor],
                    parameter,
                    argument if single else f"{argument}_{name}",
                    macro,
                    f"{self.name}_{verb}_{role}{'' if single else f'_{name}'}",
                )
            )
        return tuple(ports)

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
        kinds = [op.kind for op in self.program.operators]
        counts = ", ".join(f"{kinds.count(k)} {k}" for k in dict.fromkeys(kinds))
        lines = [
            f"model sha256 {self.sha256}",
            f"{self.program.weight_count} int8 weights in {self.program.row_count} rows",
            f"operators: {counts}",
        ]
        calibration = self.program.metadata.get("calibration")
        if isinstance(calibration, Mapping):
            settings = ", ".join(f"{k} {v}" for k, v in calibration.items())
            # A file may bring as much of it as it likes.
            lines.append(f"calibration: {settings[:_SETTINGS_LENGTH]}")
        return lines
