"""A window program on its way to C: the model of every stage, the plan, and the ports."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

from edgernn.exporters.c.identifiers import identifiers
from edgernn.exporters.c.model import Model, origin
from edgernn.exporters.c.ports import Port, Value, ports_of
from edgernn.exporters.c.window_plan import Array, Plan, plan
from edgernn.runtime.file import to_bytes
from edgernn.runtime.window import Window

_BODY = ("steps", "buffer", "buffer_size", "state", "status", "t", "memcpy")
"""What the function's body says itself."""


@dataclass(frozen=True, eq=False)
class WindowModel:
    """A window program on its way to C. name: prefix of every symbol, and of the files."""

    window: Window
    name: str

    @cached_property
    def stages(self) -> tuple[Model, ...]:
        """The stages, each a model that is stepped."""
        return tuple(
            Model(stage.program, f"{self.name}_stage{number}")
            for number, stage in enumerate(self.window.stages, 1)
        )

    @cached_property
    def plan(self) -> Plan:
        """What the function does."""
        return plan(self.window)

    @cached_property
    def sha256(self) -> str:
        """Of the program's file."""
        return hashlib.sha256(to_bytes(self.window)).hexdigest()

    @cached_property
    def ports(self) -> tuple[Port, ...]:
        """Inputs, then outputs."""
        window, tensors, once = self.window, self.window.tensors(), self.window.once()
        values = [Value("input", t.name, t, True) for t in window.inputs]
        values += [
            Value("output", name, tensors[s.value], s.at == "step" and s.value not in once)
            for name, s in window.outputs.items()
        ]
        return ports_of(self.name, values, _BODY)

    @property
    def inputs(self) -> list[Port]:
        """The ports that are read."""
        return [port for port in self.ports if port.role == "input"]

    @property
    def outputs(self) -> list[Port]:
        """The ports that are written."""
        return [port for port in self.ports if port.role == "output"]

    @cached_property
    def pointers(self) -> dict[Array, str]:
        """Array in the buffer -> the variable that points to it."""
        arrays = list(self.plan.buffer)
        taken = [*_BODY, *(port.parameter for port in self.ports)]
        names = identifiers((a.name for a in arrays), taken, f"{self.name}_")
        return dict(zip(arrays, names, strict=True))

    def tokens(self, port: Port) -> int | None:
        """If an input is a token id: how many ids every embedding that reads it has a row for."""
        found = [
            model.tokens(read)
            for model, stage in zip(self.stages, self.window.stages, strict=True)
            for read in model.inputs
            if port.role == "input" and stage.sources[read.name].value == port.name
        ]
        return min((n for n in found if n is not None), default=None)

    def buffer_size(self, steps: int) -> int:
        """Elements of the work buffer for a window; one at least, as C has no empty arrays."""
        return max(1, self.plan.per_step * steps + self.plan.single)

    @property
    def state_bytes(self) -> int:
        """Of the largest stage; they are not needed at the same time."""
        return max(model.state_bytes for model in self.stages)

    @property
    def scratch_bytes(self) -> int:
        """Of stack: state and scratch arena, those of the stages in the same place."""
        return self.state_bytes + max(2 * model.schedule.scratch for model in self.stages)

    def origin(self) -> list[str]:
        """What the model was made from."""
        operators = [op for stage in self.window.stages for op in stage.program.operators]
        return origin(self.window, operators, self.sha256)
