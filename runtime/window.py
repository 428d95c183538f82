"""What a window program is: step programs that run over a whole window, one after the other.

A model that reads its window backwards, or that needs its end before it can answer, cannot stream.
It becomes stages. A stage is an ordinary program, run over the window from its first step to the
last, or from the last to the first, each time from its initial state; or once, after all others,
on values picked from the window. So every operator, cell and engine serves windows as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from edgernn.runtime.errors import FileFormatError
from edgernn.runtime.program import Program, Tensor
from edgernn.runtime.validate import MAX_SIZE, NAME, validate

DIRECTIONS: Final = ("forward", "reverse", "once")
PLACES: Final = ("step", "first", "last")
MAX_STAGES: Final = 256


@dataclass(frozen=True)
class Source:
    """Where a stage reads, or the window returns, a value.

    value: an input of the window or an output of an earlier stage. at: "step", the value of the
    same step; "first" or "last", the one of the window's first or last step.
    """

    value: str
    at: str = "step"


@dataclass(frozen=True, eq=False)
class Stage:
    """A program that runs over the window.

    direction: forward, reverse or once. sources: program input -> where it comes from. The
    program's outputs are values for later stages, by their public names; of a stage that runs
    once there is one of each.
    """

    program: Program
    direction: str
    sources: Mapping[str, Source]

    def __post_init__(self) -> None:
        object.__setattr__(self, "sources", MappingProxyType(dict(self.sources)))


@dataclass(frozen=True, eq=False)
class Window:
    """A quantized network over windows of any length T >= 1.

    inputs: (T, size) int16 each, in call order. outputs: public name -> source; at "step" (T,
    size), else (size,). metadata: text for people and tools.
    """

    inputs: tuple[Tensor, ...]
    stages: tuple[Stage, ...]
    outputs: Mapping[str, Source]
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("outputs", "metadata"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    def tensors(self) -> dict[str, Tensor]:
        """Every value that stages exchange, name -> tensor: inputs and outputs of stages."""
        found = {tensor.name: tensor for tensor in self.inputs}
        for stage in self.stages:
            for name, tensor in stage.program.outputs.items():
                t = stage.program.tensors[tensor]
                found[name] = Tensor(name, t.size, t.scale)
        return found

    def once(self) -> set[str]:
        """The values that there are once in a window: those of stages that run once."""
        return {
            name
            for stage in self.stages
            if stage.direction == "once"
            for name in stage.program.outputs
        }

    @property
    def weight_count(self) -> int:
        """Number of int8 weights."""
        return sum(stage.program.weight_count for stage in self.stages)

    @property
    def row_count(self) -> int:
        """Number of weight rows."""
        return sum(stage.program.row_count for stage in self.stages)


def window_of(program: Program) -> Window:
    """A streaming program as one over windows, of one stage; what it returns at the end of a
    stream, it returns once."""
    last = set(program.metadata.get("last", ()))
    return Window(
        tuple(program.tensors[name] for name in program.inputs),
        (Stage(program, "forward", {name: Source(name) for name in program.inputs}),),
        {n: Source(n, "last" if n in last else "step") for n in program.outputs},
        program.metadata,
    )


def validate_window(window: Window, where: str = "the window program") -> None:
    """Raise FileFormatError unless every stage is sound and reads what is there."""

    def refuse(reason: str) -> FileFormatError:
        return FileFormatError(f"{where} is not a valid edgernn window program: {reason}")

    if not 1 <= len(window.stages) <= MAX_STAGES or not window.inputs or not window.outputs:
        raise refuse("it has no input, no stage or no output, or too many stages")
    known: dict[str, Tensor] = {}
    for tensor in window.inputs:
        if not re.fullmatch(NAME, tensor.name) or tensor.name in known:
            raise refuse(f"{tensor.name[:64]!r} is not an input name")
        if not 1 <= tensor.size <= MAX_SIZE:
            raise refuse(f"input {tensor.name} has size {tensor.size}, not 1 to {MAX_SIZE}")
        known[tensor.name] = tensor
    single: set[str] = set()
    states: set[str] = set()
    for number, stage in enumerate(window.stages):
        validate(stage.program, f"stage {number} of {where}")
        if stage.direction not in DIRECTIONS:
            raise refuse(f"stage {number} runs {str(stage.direction)[:16]!r}")
        if set(stage.sources) != set(stage.program.inputs):
            raise refuse(f"stage {number} does not say where its inputs come from")
        for name, source in stage.sources.items():
            _check_source(source, known, single, stage.direction == "once", refuse)
            if stage.direction != "once" and source.at != "step":
                raise refuse(f"stage {number}, which runs over the window, reads one step of it")
            read, given = stage.program.tensors[name], known[source.value]
            if (read.size, read.scale) != (given.size, given.scale):
                raise refuse(f"stage {number} reads {source.value} at another size or scale")
        for name, written in stage.program.outputs.items():
            if name in known:
                raise refuse(f"value {name[:64]!r} is computed twice")
            tensor = stage.program.tensors[written]
            known[name] = Tensor(name, tensor.size, tensor.scale)
            if stage.direction == "once":
                single.add(name)
        for state in stage.program.states:
            if state.name in states:
                raise refuse(f"two states have the name {state.name[:64]!r}")
            states.add(state.name)
    for name, source in window.outputs.items():
        if not re.fullmatch(NAME, name):
            raise refuse(f"{name[:64]!r} is not an output name")
        # What there is once can be returned as it is; everything else, at any place.
        _check_source(source, known, single, source.value in single, refuse)


def _check_source(
    source: Source, known: Mapping[str, Tensor], single: set[str], once: bool, refuse: Any
) -> None:
    if source.value not in known or source.at not in PLACES:
        raise refuse(f"{source.value[:64]!r} is not computed when it is read")
    if source.value in single:
        if not once or source.at != "step":
            raise refuse(f"{source.value[:64]!r}, of which there is one, is read at every step")
    elif once and source.at == "step":
        raise refuse(f"{source.value[:64]!r} is read at every step by what runs once")
