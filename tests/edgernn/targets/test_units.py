"""Sizes, clocks and times as text."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgernn.runtime.errors import InputError
from edgernn.targets.units import (
    BYTES,
    HERTZ,
    MAX_BYTES,
    MAX_HERTZ,
    SECONDS,
    format_bytes,
    format_hertz,
    format_seconds,
    parse_bytes,
    parse_hertz,
    parse_seconds,
)

Parse = Callable[[str], float]
PARSERS: list[Parse] = [parse_bytes, parse_hertz, parse_seconds]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("65536", 65536),
        ("64 B", 64),
        ("64 kB", 64_000),
        ("64KiB", 65_536),
        ("1 MB", 1_000_000),
        ("1 MiB", 1 << 20),
        ("0.5 KiB", 512),
        ("1.5MB", 1_500_000),
        ("2 GB", 2_000_000_000),
        ("1024 GiB", MAX_BYTES),
        (" 64 KiB ", 65_536),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize(
    ("text", "clock"),
    [("32.768 kHz", 32768.0), ("80MHz", 8e7), ("2.4 GHz", 2.4e9), ("1 Hz", 1.0)],
)
def test_clocks(text: str, clock: float) -> None:
    assert parse_hertz(text) == clock


@pytest.mark.parametrize(
    ("text", "time"),
    [("2ms", 0.002), ("0.1 s", 0.1), ("62.5 us", 62.5e-6), ("5 µs", 5e-6), ("5 μs", 5e-6)],
)
def test_times(text: str, time: float) -> None:
    assert parse_seconds(text) == time


NONSENSE = [
    "",
    " ",
    "KiB",
    "MHz",
    "ms",
    "-1 KiB",
    "-1 MHz",
    "+1 s",
    "1e3 B",
    "1e3 Hz",
    "1_000 s",
    "1,000 kB",
    "1..5 ms",
    ".5 s",
    "5. s",
    "inf Hz",
    "nan s",
    "0x10 B",
    "1 2 kB",
    "1  kB",
    "1\tkB",
    "1 kB\n",
    "64 KiB 64 KiB",
    "٣ kB",
    "² s",
    "1 ㎑",
    "9" * 16 + " B",
    "9" * 16 + " Hz",
    "9" * 16 + " s",
    "1 kib",
    "1 mhz",
    "1 S",
    "1" * 100_000,
]


@pytest.mark.parametrize("parse", PARSERS)
@pytest.mark.parametrize("text", NONSENSE, ids=lambda text: repr(text[:20]))
def test_nonsense_is_refused(parse: Parse, text: str) -> None:
    with pytest.raises(InputError) as error:
        parse(text)
    assert len(str(error.value)) < 160
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["64 KB", "64 K", "64 k", "64 Kb", "64 kb", "64 M", "1 TB", "1 b"])
def test_a_unit_that_means_two_things_is_refused_with_those_that_do_not(text: str) -> None:
    with pytest.raises(InputError, match=r"is not a size: .* kB \(1000\), KiB \(1024\)"):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (parse_bytes, "1025 GiB"),
        (parse_bytes, "1.1 B"),
        (parse_bytes, "0.0001 KiB"),
        (parse_hertz, "0 MHz"),
        (parse_hertz, "0.5 Hz"),
        (parse_hertz, "101 GHz"),
        (parse_seconds, "0 s"),
        (parse_seconds, "0.5 ns"),
        (parse_seconds, "1000001 s"),
    ],
)
def test_beyond_all_bounds(parse: Parse, text: str) -> None:
    with pytest.raises(InputError, match=r"is (not|more)"):
        parse(text)


def test_a_clock_and_a_time_need_their_unit() -> None:
    for parse in (parse_hertz, parse_seconds):
        with pytest.raises(InputError, match="write a number and"):
            parse("80")


@settings(deadline=None)
@given(st.integers(0, MAX_BYTES))
def test_a_size_survives_its_text(size: int) -> None:
    assert parse_bytes(format_bytes(size)) == size


@settings(deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([u for u in BYTES if u]), st.booleans())
def test_a_size_is_the_product_of_number_and_unit(number: int, unit: str, space: bool) -> None:
    size = number * BYTES[unit]
    text = f"{number}{' ' * space}{unit}"
    if size <= MAX_BYTES:
        assert parse_bytes(text) == size
    else:
        with pytest.raises(InputError):
            parse_bytes(text)


@settings(deadline=None)
@given(st.decimals(0, 10**6, places=4), st.sampled_from(sorted(HERTZ)))
def test_a_clock_is_the_product_of_number_and_unit(number: object, unit: str) -> None:
    clock = Fraction(str(number)) * HERTZ[unit]
    if 1 <= clock <= MAX_HERTZ:
        assert parse_hertz(f"{number} {unit}") == float(clock)
    else:
        with pytest.raises(InputError):
            parse_hertz(f"{number} {unit}")


@settings(deadline=None)
@given(st.decimals(0, 10**6, places=4), st.sampled_from(sorted(SECONDS)))
def test_a_time_is_the_product_of_number_and_unit(number: object, unit: str) -> None:
    time = Fraction(str(number)) * SECONDS[unit]
    if Fraction(1, 10**9) <= time <= 10**6:
        assert parse_seconds(f"{number} {unit}") == float(time)
    else:
        with pytest.raises(InputError):
            parse_seconds(f"{number} {unit}")


@settings(deadline=None)
@given(st.text(max_size=20), st.sampled_from(PARSERS))
def test_any_text_is_a_quantity_or_refused(text: str, parse: Parse) -> None:
    try:
        value = parse(text)
    except InputError:
        return
    assert 0 <= value <= MAX_BYTES
    assert text.strip(" ")[0] in "0123456789"


@settings(deadline=None)
@given(st.floats(1.0, MAX_HERTZ))
def test_a_clock_is_shown_to_four_digits(clock: float) -> None:
    assert parse_hertz(format_hertz(clock)) == pytest.approx(clock, rel=6e-4)


@settings(deadline=None)
@given(st.floats(1e-9, 1e6))
def test_a_time_is_shown_to_four_digits(time: float) -> None:
    assert parse_seconds(format_seconds(time)) == pytest.approx(time, rel=6e-4)


def test_texts() -> None:
    sizes = [0, 514, 1000, 1536, 65536, 1_000_000, 8126464, 196604, 1 << 30]
    assert [format_bytes(size) for size in sizes] == [
        "0 B",
        "514 B",
        "1 kB",
        "1.5 KiB",
        "64 KiB",
        "1 MB",
        "7.75 MiB",
        "196604 B",
        "1 GiB",
    ]
    assert [format_hertz(c) for c in (1.0, 32768.0, 64e6, 1.4e9)] == [
        "1 Hz",
        "32.77 kHz",
        "64 MHz",
        "1.4 GHz",
    ]
    assert [format_seconds(t) for t in (1.0, 0.00213, 9.99999e-4, 62.5e-6, 2e-9)] == [
        "1 s",
        "2.13 ms",
        "1 ms",
        "62.5 us",
        "2 ns",
    ]
