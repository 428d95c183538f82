"""Sizes, clocks and times as people write them: "64 KiB", "80 MHz", "2 ms".

A prefix means what its standard says: kB is 1000 bytes, KiB is 1024. KB, which means either, is
refused, and so is whatever else is not a number and a unit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Final

from edgernn.runtime.errors import InputError

MAX_BYTES: Final = 1 << 40
MAX_HERTZ: Final = 10**11
MAX_SECONDS: Final = 10**6
BYTES: Final = {
    "": 1,
    "B": 1,
    "kB": 1000,
    "KiB": 1 << 10,
    "MB": 10**6,
    "MiB": 1 << 20,
    "GB": 10**9,
    "GiB": 1 << 30,
}
HERTZ: Final = {"Hz": 1, "kHz": 1000, "MHz": 10**6, "GHz": 10**9}
SECONDS: Final = {
    "ns": Fraction(1, 10**9),
    "us": Fraction(1, 10**6),
    "µs": Fraction(1, 10**6),  # the micro sign
    "μs": Fraction(1, 10**6),  # the Greek letter, which looks the same
    "ms": Fraction(1, 1000),
    "s": Fraction(1),
}
_NUMBER: Final = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?) ?([^\W\d_]{0,4})")


def parse_bytes(text: str) -> int:
    """ "64 KiB", "1 MB", "0.5KiB" or "65536" -> bytes, 0 to 1 TiB. InputError for anything else."""
    number = _parse(text, BYTES, "a size: write bytes, kB (1000), KiB (1024), MB, MiB, GB or GiB")
    if number.denominator != 1:
        raise InputError(f"{_shown(text)} is not a whole number of bytes")
    if number > MAX_BYTES:
        raise InputError(f"{_shown(text)} is more than 1 TiB, the largest size")
    return int(number)


def parse_hertz(text: str) -> float:
    """ "80 MHz" -> 8e7, up to 100 GHz. InputError for anything else."""
    number = _parse(text, HERTZ, "a frequency: write a number and Hz, kHz, MHz or GHz")
    if not 1 <= number <= MAX_HERTZ:
        raise InputError(f"{_shown(text)} is not a frequency between 1 Hz and 100 GHz")
    return float(number)


def parse_seconds(text: str) -> float:
    """ "2 ms" -> 0.002, 1 ns to a million seconds. InputError for anything else."""
    number = _parse(text, SECONDS, "a time: write a number and ns, us, ms or s")
    if not Fraction(1, 10**9) <= number <= MAX_SECONDS:
        raise InputError(f"{_shown(text)} is not a time between 1 ns and 1000000 s")
    return float(number)


def format_bytes(size: int) -> str:
    """65536 -> "64 KiB". Of the units that leave at most two decimals, exactly, the largest that
    gives at least 1; what has none is in bytes. `parse_bytes` reads it back."""
    found = (1, "B")
    for unit, factor in BYTES.items():
        # A power of two first: 1024000 bytes are 1000 KiB, not 1024 kB.
        if unit and size >= factor and size * 100 % factor == 0:
            better = _digits(size, factor) <= _digits(size, found[0])
            found = (factor, unit) if better else found
    return f"{_decimal(Fraction(size, found[0]))} {found[1]}"


def format_hertz(clock: float) -> str:
    """64e6 -> "64 MHz", 4 significant digits at most."""
    return _format(clock, [("GHz", 1e9), ("MHz", 1e6), ("kHz", 1e3), ("Hz", 1.0)])


def format_seconds(seconds: float) -> str:
    """0.00213 -> "2.13 ms", 4 significant digits at most."""
    return _format(seconds, [("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9)])


def _parse(text: str, units: Mapping[str, int | Fraction], meaning: str) -> Fraction:
    match = _NUMBER.fullmatch(text.strip(" "))
    if match is None or match[2] not in units:
        raise InputError(f"{_shown(text)} is not {meaning}")
    return Fraction(match[1]) * units[match[2]]


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")


def _digits(size: int, factor: int) -> int:
    return len(_decimal(Fraction(size, factor)))


def _decimal(number: Fraction) -> str:
    return (
        f"{float(number):.2f}".rstrip("0").rstrip(".") if number.denominator != 1 else str(number)
    )


def _format(value: float, units: list[tuple[str, float]]) -> str:
    unit, factor = next(((u, f) for u, f in units if value >= f * 0.99995), units[-1])
    number = float(f"{value / factor:.4g}")
    # Never 1e+06: it could not be read back.
    return f"{number:.0f} {unit}" if number >= 1000 else f"{number:g} {unit}"
