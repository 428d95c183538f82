"""What a program costs on a core, in one shape for streams and for windows."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from edgernn.exporters.c.model import Model
from edgernn.exporters.c.window_model import WindowModel
from edgernn.footprint import Footprint, Target, estimate, load_targets
from edgernn.footprint.window import WindowFootprint, window_estimate
from edgernn.runtime.errors import UnsupportedError
from edgernn.targets import Device


@dataclass(frozen=True)
class Cost:
    """Bytes, and what one step costs, or one window of a program that takes windows.

    flash: weights, with the model's own tables, tables of the engine, code. ram: state, stack,
    scratch included, the work buffer of a window, and ports, the application's arrays for inputs
    and outputs. measured: all its loops were measured; else some were added up. Errors are
    relative, the largest found on held-out models.
    """

    weights: int
    tables: int
    code: int
    state: int
    stack: int
    scratch: int
    buffer: int
    ports: int
    macs: int
    instructions: int
    measured: bool
    flash_error: float
    ram_error: float
    instructions_error: float

    @property
    def flash(self) -> int:
        """Bytes of flash in all."""
        return self.weights + self.tables + self.code

    @property
    def ram(self) -> int:
        """Bytes of RAM in all."""
        return self.state + self.stack + self.buffer + self.ports

    def as_json(self) -> dict[str, Any]:
        """All numbers, with the sums."""
        return {"flash": self.flash, "ram": self.ram, **asdict(self)}


def target_of(device: Device) -> Target:
    """The measured core whose counts a device has. UnsupportedError if there is none."""
    targets = load_targets()
    if device.core not in targets:
        raise UnsupportedError(
            f"the instructions of {device.core} were not counted, so {device.name} has no estimate"
        )
    return targets[device.core]


def cost_of(model: Model | WindowModel, target: Target, steps: int = 1) -> Cost:
    """What a model costs on a core; steps: of a window."""
    if isinstance(model, WindowModel):
        return _window(model, target, steps)
    found, program = estimate(model, target), model.program
    names = [*program.inputs, *program.outputs.values()]
    ports = sum(program.tensors[name].size for name in names)
    return _cost(found, scratch=found.scratch, buffer=0, ports=2 * ports)


def _window(model: WindowModel, target: Target, steps: int) -> Cost:
    window = model.window
    tensors, once = window.tensors(), window.once()
    ports = sum(tensor.size * steps for tensor in window.inputs)
    for source in window.outputs.values():
        every = source.at == "step" and source.value not in once
        ports += tensors[source.value].size * (steps if every else 1)
    found = window_estimate(model, target, steps)
    scratch = model.scratch_bytes - model.state_bytes
    return _cost(found, scratch=scratch, buffer=found.buffer, ports=2 * ports)


def _cost(found: Footprint | WindowFootprint, scratch: int, buffer: int, ports: int) -> Cost:
    return Cost(
        weights=found.weights,
        tables=found.tables,
        code=found.code,
        state=found.state,
        stack=found.stack,
        scratch=scratch,
        buffer=buffer,
        ports=ports,
        macs=found.macs,
        instructions=found.instructions,
        measured=found.measured,
        flash_error=found.errors.of_flash(found.flash, found.code),
        ram_error=found.errors.ram.stated,
        instructions_error=found.errors.instructions.stated,
    )
