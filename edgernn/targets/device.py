"""A device: what it has, and how long it takes for a number of instructions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from edgernn.runtime.errors import InputError

FETCH_ERROR: Final = 0.5
"""Of fetch_cycles_per_byte, relative: wait states are known, what hides them is not."""


@dataclass(frozen=True)
class Device:
    """A core or a board.

    name: what `--target` takes. title: what people call it. processor: of the core that runs the
    step, as its maker names it. core: key of `edgernn.footprint.load_targets`, whose instruction
    counts are used; counts_note says so if they are those of a relative.

    clock_hz, flash_bytes, ram_bytes: None where the device has none of its own (a bare core has no
    clock, a computer no flash that bounds a model). runs_from_ram: code and constants are copied
    into RAM before they run, and count against it.

    cycles_per_instruction: an average over the steps of our models, estimated; cycles_error: its
    relative error, 0.25 for a quarter more or less. fetch_cycles_per_byte: what reading a byte of
    the model's constants costs beyond the load itself, where they lie in a flash with wait states;
    each is read once in a step. cache_bytes: constants up to so many cost that only once.
    milliwatts_per_megahertz: while it computes, None if no data sheet says.

    family: of boards, "core" for a bare core. sources: name of a number -> where it comes from.
    notes: what the numbers do not say.
    """

    name: str
    title: str
    processor: str
    core: str
    clock_hz: float | None
    flash_bytes: int | None
    ram_bytes: int | None
    cycles_per_instruction: float
    cycles_error: float
    milliwatts_per_megahertz: float | None
    family: str
    sources: Mapping[str, str]
    notes: str = ""
    counts_note: str = ""
    fetch_cycles_per_byte: float = 0.0
    cache_bytes: int = 0
    runs_from_ram: bool = False

    def cycles(self, instructions: float, constant_bytes: int = 0, passes: int = 1) -> float:
        """Clock cycles of so many instructions: of a step, or of a window.

        constant_bytes: weights and tables of the model (`Footprint.weights` + `.tables`); passes:
        how often all of them are read, the steps of a window. Without them the cycles are those of
        a model that lies in RAM, or in the cache.
        """
        own = instructions * self.cycles_per_instruction
        return own + self._fetching(constant_bytes, passes)

    def relative_error(
        self, instructions: float, constant_bytes: int = 0, passes: int = 1
    ) -> float:
        """Of these cycles: `cycles_error` of what executes, FETCH_ERROR of what is fetched."""
        fetching = self._fetching(constant_bytes, passes)
        total = self.cycles(instructions, constant_bytes, passes)
        if total == 0:
            return self.cycles_error
        return ((total - fetching) * self.cycles_error + fetching * FETCH_ERROR) / total

    def seconds(
        self,
        instructions: float,
        clock_hz: float | None = None,
        constant_bytes: int = 0,
        passes: int = 1,
    ) -> float:
        """Time of these cycles at a clock, or at the device's own. InputError if it has none."""
        clock = self.clock_hz if clock_hz is None else clock_hz
        if clock is None:
            raise InputError(
                f"{self.name} is a core without a clock: give one, as in 2ms@80MHz, or name a board"
            )
        if not 0 < clock < float("inf"):
            raise InputError(f"a clock of {clock} Hz is none: it must be positive and finite")
        return self.cycles(instructions, constant_bytes, passes) / clock

    def millijoules(
        self, instructions: float, constant_bytes: int = 0, passes: int = 1
    ) -> float | None:
        """Energy of these cycles; None if the device's power is not known.

        The same at every clock: mW/MHz is energy per cycle.
        """
        if self.milliwatts_per_megahertz is None:
            return None
        cycles = self.cycles(instructions, constant_bytes, passes)
        return self.milliwatts_per_megahertz * cycles / 1e6

    def _fetching(self, constant_bytes: int, passes: int) -> float:
        fetched = constant_bytes if constant_bytes > self.cache_bytes else 0
        return fetched * passes * self.fetch_cycles_per_byte

    def to_json(self) -> dict[str, Any]:
        """Every field, in types that JSON has."""
        return {**vars(self), "sources": dict(self.sources)}
