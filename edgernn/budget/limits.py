"""What a target allows: its flash, RAM and clock, or the share of them that a model may take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

from edgernn.runtime.errors import InputError
from edgernn.targets import Device
from edgernn.targets.units import (
    format_bytes,
    parse_bytes,
    parse_hertz,
    parse_seconds,
)


@dataclass(frozen=True)
class Budget:
    """A device, and what a model may take there; None is no limit.

    flash, ram: bytes. seconds: of a step, of a window of a program that takes windows; clock_hz:
    at which. instructions: likewise. period: seconds between two samples. accuracy_drop: percentage
    points.
    """

    device: Device
    flash: int | None = None
    ram: int | None = None
    seconds: float | None = None
    clock_hz: float | None = None
    instructions: int | None = None
    period: float | None = None
    accuracy_drop: float | None = None

    @property
    def limits_size(self) -> bool:
        """Is there a limit that the sizes of layers matter for?"""
        limits = (self.flash, self.ram, self.seconds, self.instructions, self.period)
        return any(limit is not None for limit in limits)


def _bytes(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    return parse_bytes(_text(value, "64 KiB"))


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InputError(f"{value!r} is not a whole number of 0 or more")
    return value


def _points(value: Any) -> float:
    sound = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not sound or not 0 <= value <= 100:
        raise InputError(f"{value!r} is not a number of percentage points from 0 to 100")
    return float(value)


def _text(value: Any, example: str) -> str:
    if not isinstance(value, str):
        raise InputError(f'{value!r} must be a number with its unit in quotes, as in "{example}"')
    return value


def _step(value: Any) -> tuple[float, float | None]:
    time, at, clock = _text(value, "2 ms").partition("@")
    return parse_seconds(time), parse_hertz(clock) if at else None


def _rate(value: Any) -> float:
    try:
        return parse_hertz(_text(value, "100 Hz"))
    except InputError as error:
        raise InputError(f"{error}; less than one sample a second is said with period") from None


OPTIONS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "flash": _bytes,
    "ram": _bytes,
    "reserve_flash": _bytes,
    "reserve_ram": _bytes,
    "step": _step,
    "clock": lambda value: parse_hertz(_text(value, "64 MHz")),
    "instructions": _count,
    "rate": _rate,
    "period": lambda value: parse_seconds(_text(value, "10 ms")),
    "accuracy_drop": _points,
}
"""What may be said of a target, on the command line with hyphens."""
EITHER: Final = (("flash", "reserve_flash"), ("ram", "reserve_ram"), ("rate", "period"))
"""Two ways to say one thing."""


def unknown_key(key: str, known: Mapping[str, Any] | tuple[str, ...], where: str) -> InputError:
    """The sentence about a key that means nothing here."""
    near = get_close_matches(key, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
    return InputError(f"{where}: there is no key {key[:60]!r}; {hint}")


def parse_options(given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Values of OPTIONS in bytes, Hz, seconds. InputError, which begins with `where`."""
    result = {}
    for key, value in given.items():
        if key not in OPTIONS:
            raise unknown_key(key, OPTIONS, where)
        try:
            result[key] = OPTIONS[key](value)
        except InputError as error:
            raise InputError(f"{where}, {key}: {error}") from None
    for one, other in EITHER:
        if one in result and other in result:
            raise InputError(f"{where}: {one} and {other} say the same thing; give one of them")
    if "clock" in result and result.get("step", (0, None))[1] is not None:
        raise InputError(f"{where}: step names a clock already; leave out the other one")
    return result


def budget_for(device: Device, options: Mapping[str, Any]) -> Budget:
    """The limits of a device under parsed options. InputError if they cannot be meant."""
    seconds, clock = options.get("step", (None, None))
    clock = options.get("clock", clock)
    clock = device.clock_hz if clock is None else clock
    period = options.get("period")
    if "rate" in options:
        period = 1.0 / options["rate"]
    if clock is None and (seconds is not None or period is not None):
        raise InputError(
            f"{device.name} is a core without a clock, so its time is not known: write "
            f"`--step 2ms@80MHz` or `--clock 80MHz`, or name a board"
        )
    return Budget(
        device,
        _share(device, "flash", device.flash_bytes, options),
        _share(device, "ram", device.ram_bytes, options),
        seconds,
        clock,
        options.get("instructions"),
        period,
        options.get("accuracy_drop"),
    )


def _share(device: Device, name: str, whole: int | None, options: Mapping[str, Any]) -> int | None:
    """The bytes that the model may take: a share given, or what the rest of the firmware leaves."""
    share, reserve = options.get(name), options.get(f"reserve_{name}")
    if share is None and reserve is None:
        return whole
    if share is not None:
        if whole is not None and share > whole:
            raise InputError(
                f"{name} {format_bytes(share)} is more than the {format_bytes(whole)} that "
                f"{device.name} has"
            )
        return int(share)
    assert reserve is not None
    if whole is None:
        raise InputError(
            f"{device.name} has no {name} of its own to reserve from; give the model's share, "
            f"`--{name}`"
        )
    if reserve > whole:
        raise InputError(
            f"reserve-{name} {format_bytes(reserve)} is more than the {format_bytes(whole)} that "
            f"{device.name} has"
        )
    return int(whole - reserve)
