"""A TOML file of devices: every key and value checked, one sentence for the first that is wrong.

A table per device, `[name]`. With `core` it takes processor, instruction counts and cycles of
another entry; with `counts` it is a core itself. docs/targets.md has all keys.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from edgernn.footprint.targets import load_targets
from edgernn.runtime.errors import InputError
from edgernn.targets.device import Device
from edgernn.targets.units import MAX_BYTES, MAX_HERTZ, parse_bytes, parse_hertz
from edgernn.toml_file import read_toml

MAX_TEXT: Final = 4000
NAME: Final = re.compile(r"[a-z0-9][a-z0-9.-]{0,39}")
TEXTS: Final = ("title", "processor", "family", "notes", "counts_note")
NUMBERS: Final = {
    "cycles_per_instruction": (0.05, 100.0),
    "stall_factor": (0.5, 100.0),
    "cycles_error": (0.0, 1.0),
    "fetch_cycles_per_byte": (0.0, 1000.0),
    "milliwatts_per_megahertz": (1e-6, 1e4),
    "microamperes_per_megahertz": (1e-3, 1e7),
    "volts": (0.1, 60.0),
}
"""Key -> least and greatest value, both allowed."""
SIZES: Final = ("flash", "ram", "cache")
KEYS: Final = ("core", "counts", "clock", *SIZES, "runs_from_ram", "sources", *TEXTS, *NUMBERS)
SOURCES: Final = ("clock", *SIZES, "cycles_per_instruction", "stall_factor", "fetch", "power")


@dataclass(frozen=True)
class Entry:
    """A table of the file: what it says, and how its errors begin."""

    name: str
    values: Mapping[str, Any]
    where: str
    keys: tuple[str, ...] = field(default=KEYS)

    def check_keys(self) -> None:
        """Only what is known; a misspelt key would be a number that is silently not used."""
        for key in self.values:
            if key not in self.keys:
                near = get_close_matches(key, self.keys, n=1)
                hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(self.keys)}"
                raise InputError(f"{self.where}: there is no key {_shown(key)}; {hint}")

    def text(self, key: str, default: str = "") -> str:
        """One paragraph of printable text."""
        value = self.values.get(key, default)
        if not isinstance(value, str):
            raise self.error(key, "must be text in quotes")
        value = " ".join(value.split())
        if key in self.values and not value:
            raise self.error(key, "is empty: leave it out, or say something")
        if len(value) > MAX_TEXT:
            raise self.error(key, f"is longer than {MAX_TEXT} characters")
        if not value.isprintable():
            raise self.error(key, "has characters that cannot be printed")
        return value

    def number(self, key: str) -> float | None:
        """A number within its bounds, or None."""
        if key not in self.values:
            return None
        value, (least, most) = self.values[key], NUMBERS[key]
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.error(key, f"is {_shown(value)}, but must be a number without quotes")
        # Of inf and nan too the comparison is false.
        if not least <= value <= most:
            raise self.error(key, f"is {_shown(value)}, but must lie in {least:g} to {most:g}")
        return float(value)

    def size(self, key: str) -> int | None:
        """Bytes, at least one, or None."""
        value = self._quantity(key, "64 KiB")
        if value is None:
            return None
        if isinstance(value, str):
            value = self._parsed(key, value, parse_bytes)
        if not isinstance(value, int):
            raise self.error(key, f"is {_shown(value)}, but must be a whole number of bytes")
        if not 0 < value <= MAX_BYTES:
            raise self.error(key, f"is {_shown(value)} bytes, but must lie in 1 byte to 1 TiB")
        return value

    def clock(self, key: str) -> float | None:
        """Hertz, or None."""
        value = self._quantity(key, "64 MHz")
        if value is None:
            return None
        if isinstance(value, str):
            value = self._parsed(key, value, parse_hertz)
        if not 1 <= value <= MAX_HERTZ:
            raise self.error(key, f"is {_shown(value)} Hz, but must lie in 1 Hz to 100 GHz")
        return float(value)

    def flag(self, key: str) -> bool:
        """true or false, false if it is not there."""
        value = self.values.get(key, False)
        if not isinstance(value, bool):
            raise self.error(key, f"is {_shown(value)}, but must be true or false")
        return value

    def _quantity(self, key: str, example: str) -> Any:
        value = self.values.get(key)
        if value is None or (isinstance(value, str | int | float) and not isinstance(value, bool)):
            return value
        raise self.error(key, f'must be a number with its unit in quotes, as in "{example}"')

    def _parsed(self, key: str, text: str, parse: Any) -> Any:
        try:
            return parse(text)
        except InputError as error:
            raise InputError(f"{self.where}, {key}: {error}") from None

    def error(self, key: str, problem: str) -> InputError:
        """The sentence about a key."""
        return InputError(f"{self.where}: {key} {problem}")


def read_devices(path: Path, known: Mapping[str, Device]) -> dict[str, Device]:
    """The devices of a file, which may build on those known and on those above them in it."""
    devices: dict[str, Device] = {}
    for name, values in read_toml(path, "targets").items():
        where = f"{path}, [{name}]"
        if NAME.fullmatch(name) is None:
            raise InputError(
                f"{path}: {_shown(name)} is not a name: use up to 40 of a-z, 0-9, dot and hyphen, "
                "a letter or digit first"
            )
        if not isinstance(values, dict):
            raise InputError(f"{path}: {name} is a value, not a device: write a table [{name}]")
        if name in known:
            raise InputError(f"{where}: there is already a target of this name, choose another")
        devices[name] = _device(Entry(name, values, where), {**known, **devices})
    if not devices:
        raise InputError(f"{path} describes no device: it wants a table [name] for each")
    return devices


def _device(entry: Entry, known: Mapping[str, Device]) -> Device:
    entry.check_keys()
    base = _base(entry, known)
    clock, flash, ram = entry.clock("clock"), entry.size("flash"), entry.size("ram")
    cycles, error = _cycles(entry, base)
    sources = _sources(entry)
    if base is not None and "cycles_per_instruction" not in sources:
        inherited = base.sources.get("cycles_per_instruction")
        sources |= {"cycles_per_instruction": inherited} if inherited else {}
    return Device(
        name=entry.name,
        title=entry.text("title", entry.name),
        processor=entry.text("processor", base.processor if base else entry.name),
        core=base.core if base else _counts(entry),
        clock_hz=clock,
        flash_bytes=flash,
        ram_bytes=ram,
        cycles_per_instruction=cycles,
        cycles_error=error,
        milliwatts_per_megahertz=_power(entry),
        family=entry.text("family", "core" if base is None else "own"),
        sources=sources,
        notes=entry.text("notes"),
        counts_note=entry.text("counts_note", base.counts_note if base else ""),
        fetch_cycles_per_byte=entry.number("fetch_cycles_per_byte") or 0.0,
        cache_bytes=entry.size("cache") or 0,
        runs_from_ram=entry.flag("runs_from_ram"),
    )


def _base(entry: Entry, known: Mapping[str, Device]) -> Device | None:
    if ("core" in entry.values) == ("counts" in entry.values):
        raise InputError(
            f'{entry.where}: it needs `core`, the name of a core, as in core = "cortex-m4"; or, if '
            "it is a core itself, `counts`, whose instructions are taken; and not both"
        )
    if "core" not in entry.values:
        return None
    name = entry.text("core")
    if name not in known:
        raise entry.error("core", f"is {_shown(name)}, which is no target; {_near(name, known)}")
    return known[name]


def _counts(entry: Entry) -> str:
    name, counted = entry.text("counts"), load_targets()
    if name not in counted:
        raise entry.error(
            "counts",
            f"is {_shown(name)}, whose instructions were not counted; {_near(name, counted)}",
        )
    return name


def _near(name: str, names: Mapping[str, Any]) -> str:
    near = get_close_matches(name, names, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else "for example cortex-m4 is one"


def _cycles(entry: Entry, base: Device | None) -> tuple[float, float]:
    """Cycles per instruction and their relative error."""
    own, factor = entry.number("cycles_per_instruction"), entry.number("stall_factor")
    error = entry.number("cycles_error")
    if own is not None and factor is not None:
        raise entry.error("stall_factor", "is for the core's cycles: leave it or the cycles out")
    if base is None and (own is None or error is None):
        raise InputError(
            f"{entry.where}: a core needs cycles_per_instruction and cycles_error (0.25 if they "
            "may be a quarter more or less)"
        )
    if own is None:
        assert base is not None
        own = base.cycles_per_instruction * (1.0 if factor is None else factor)
    if error is None:
        assert base is not None
        error = base.cycles_error
    return own, error


def _power(entry: Entry) -> float | None:
    """mW/MHz, given or from what data sheets give: a current per MHz, and the voltage."""
    given = entry.number("milliwatts_per_megahertz")
    current, volts = entry.number("microamperes_per_megahertz"), entry.number("volts")
    if (current is None) != (volts is None):
        raise entry.error("microamperes_per_megahertz", "and volts belong together: give both")
    if current is None or volts is None:
        return given
    if given is not None:
        raise entry.error("milliwatts_per_megahertz", "is there, and a current too: give one")
    return current * volts / 1000


def _sources(entry: Entry) -> dict[str, str]:
    table = entry.values.get("sources", {})
    if not isinstance(table, dict):
        raise entry.error("sources", 'must be a table: clock = "data sheet X, table 5", ...')
    inner = Entry(entry.name, table, f"{entry.where}, sources", SOURCES)
    inner.check_keys()
    return {key: inner.text(key) for key in table}


def _shown(value: object) -> str:
    text = repr(value) if not isinstance(value, int) or abs(value) < 10**30 else "over 10^30"
    return text if len(text) <= 60 else text[:57] + "..."
