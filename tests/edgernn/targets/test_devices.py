"""The devices: the built-in ones, and files that are right, wrong or hostile."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgernn.footprint import load_targets
from edgernn.runtime.errors import InputError
from edgernn.targets import Device, device, load_devices
from edgernn.targets.device import FETCH_ERROR
from edgernn.targets.reading import KEYS, SOURCES, read_devices

DOCUMENTATION = Path(__file__).parents[3] / "docs" / "targets.md"
BUILT_IN = load_devices()
BOARDS = [d for d in BUILT_IN.values() if d.family != "core"]
each = pytest.mark.parametrize("found", BUILT_IN.values(), ids=list(BUILT_IN))
BOARD = 'core = "cortex-m4"\nclock = "64 MHz"\nflash = "256 KiB"\nram = "32 KiB"\n'


def written(tmp_path: Path, text: str | bytes, name: str = "own.toml") -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def refusal(tmp_path: Path, text: str | bytes) -> str:
    path = written(tmp_path, text)
    with pytest.raises(InputError) as error:
        load_devices([path])
    message = str(error.value)
    assert str(path) in message
    assert message.isprintable()
    assert len(message) < 500 + len(str(path))
    return message.replace(str(path), "F")


def test_every_core_whose_instructions_were_measured_is_there_by_its_name() -> None:
    bare = {d.name for d in BUILT_IN.values() if d.family == "core"}
    # Of AArch64 there are several, each with cycles of its own.
    assert set(load_targets()) - {"aarch64"} <= bare
    assert next(iter(BUILT_IN)) == "cortex-m0plus"
    assert len(BOARDS) >= 40
    assert {d.family for d in BOARDS} >= {"STM32", "Nordic", "Espressif", "Raspberry Pi", "Arduino"}


@each
def test_the_counts_of_a_device_are_measured_ones(found: Device) -> None:
    assert found.core in load_targets()


@each
def test_a_built_in_device_is_complete_and_says_where_its_numbers_come_from(found: Device) -> None:
    assert found.title
    assert found.processor
    assert 0.4 < found.cycles_per_instruction < 2.5
    assert 0.05 <= found.cycles_error <= 0.5
    expected = {"cycles_per_instruction"}
    if found.family == "core":
        assert found.clock_hz is None
        assert found.flash_bytes is None
        assert found.ram_bytes is None
    else:
        assert found.clock_hz is not None
        assert found.ram_bytes is not None
        assert 1e6 <= found.clock_hz <= 3e9
        assert 8 << 10 <= found.ram_bytes <= 16 << 30
        expected |= {"clock", "ram"}
        # A computer, or what is loaded from elsewhere, has its programs in RAM.
        assert found.flash_bytes is not None or found.runs_from_ram
    if found.flash_bytes is not None:
        assert 16 << 10 <= found.flash_bytes <= 64 << 20
        expected.add("flash")
    if found.fetch_cycles_per_byte:
        expected.add("fetch")
        assert 0.05 < found.fetch_cycles_per_byte < 30
        assert not found.runs_from_ram
    if found.cache_bytes:
        expected.add("cache")
        assert found.fetch_cycles_per_byte > 0
    if found.milliwatts_per_megahertz is not None:
        expected.add("power")
        assert 0.01 < found.milliwatts_per_megahertz < 2
    assert expected <= set(found.sources) <= {*expected, "stall_factor"}
    assert all(len(source) > 5 for source in found.sources.values())


@each
def test_whose_counts_are_a_relatives_says_so(found: Device) -> None:
    own = {
        "cortex-m0plus": r"Cortex-M0\+",
        "cortex-m55": "Cortex-M55",
        "rv32imc": "RV32IM|Hazard3",
        "aarch64": "Cortex-A",
    }.get(found.core, found.core.replace("cortex-m", "Cortex-M"))
    assert bool(found.counts_note) != bool(re.match(own, found.processor))


def test_time_and_energy() -> None:
    board = device("nucleo-l476rg")
    assert board.milliwatts_per_megahertz == pytest.approx(0.3)
    assert board.cycles(10_000) == pytest.approx(14_100)
    assert board.seconds(10_000) == pytest.approx(14_100 / 80e6)
    assert board.seconds(10_000, 8e6) == pytest.approx(14_100 / 8e6)
    # 80 MHz at 0.3 mW/MHz are 24 mW, and so for the time of the step.
    assert board.millijoules(10_000) == pytest.approx(24 * board.seconds(10_000))


def test_constants_in_slow_memory_cost_cycles_beyond_the_cache() -> None:
    pico = device("rpi-pico")
    assert pico.cache_bytes == 14 << 10
    assert pico.cycles(1000, 14 << 10) == pico.cycles(1000)
    assert pico.cycles(1000, 20_000) == pytest.approx(pico.cycles(1000) + 7 * 20_000)
    assert pico.seconds(1000, None, 20_000) == pytest.approx(pico.cycles(1000, 20_000) / 125e6)
    uncached = device("nrf52840-dk")
    energy = uncached.millijoules(1000, 100)
    assert energy == pytest.approx((1410 + 50) * 0.052 * 3.0 / 1e6)


def test_a_window_reads_its_constants_in_each_step() -> None:
    board = device("nrf52840-dk")
    assert board.cycles(0, 100, 20) == pytest.approx(20 * board.cycles(0, 100))
    assert board.seconds(0, 1e6, 100, 20) == pytest.approx(1e-3)
    assert board.relative_error(1000) == board.cycles_error == 0.15
    assert board.relative_error(0, 100) == FETCH_ERROR
    assert board.relative_error(0) == 0.15
    # 1410 cycles within 15 %, 500 within 50 %.
    assert board.relative_error(1000, 1000) == pytest.approx((211.5 + 250) / 1910)


def test_a_core_has_no_clock_and_no_energy() -> None:
    core = device("cortex-m4")
    assert core.millijoules(1000) is None
    assert core.seconds(1000, 1e6) == pytest.approx(1410e-6)
    with pytest.raises(InputError, match="cortex-m4 is a core without a clock: give one"):
        core.seconds(1000)
    for clock in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(InputError, match="positive and finite"):
            core.seconds(1000, clock)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("nrf52840", "nrf52840-dk"),
        ("cortex-m5", "cortex-m55"),
        ("RPI-PICO", "rpi-pico"),
        ("RP2350", "rpi-pico2"),
    ],
)
def test_an_unknown_name_is_answered_with_those_like_it(name: str, near: str) -> None:
    with pytest.raises(InputError, match=f"no target '{name}': did you mean .*{near}"):
        device(name)


def test_a_name_like_no_other_is_answered_with_the_list() -> None:
    with pytest.raises(InputError, match=r"no target 'x{60}': `edgernn budget --targets` lists"):
        device("x" * 1000)


def test_the_documented_file_is_one(tmp_path: Path) -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", DOCUMENTATION.read_text("utf-8"), re.DOTALL)
    found = load_devices([written(tmp_path, text)])
    unit, turbo, core = (found[n] for n in ("field-unit", "field-unit-turbo", "dsp-core"))
    assert list(found)[: len(BUILT_IN)] == list(BUILT_IN)
    assert unit == replace(
        unit,
        core="cortex-m4",
        processor="Cortex-M4",
        family="Acme",
        clock_hz=48e6,
        flash_bytes=256 << 10,
        ram_bytes=24 << 10,
        cycles_per_instruction=BUILT_IN["cortex-m4"].cycles_per_instruction,
        cycles_error=BUILT_IN["cortex-m4"].cycles_error,
        milliwatts_per_megahertz=pytest.approx(0.1638),
        fetch_cycles_per_byte=0.25,
        runs_from_ram=False,
    )
    assert unit.sources["clock"] == "clocks.c"
    assert "DDI 0439D" in unit.sources["cycles_per_instruction"]
    assert turbo.title == "field-unit-turbo"
    assert turbo.family == "own"
    assert turbo.clock_hz == 80e6
    assert turbo.milliwatts_per_megahertz is None
    assert turbo.fetch_cycles_per_byte == 0
    assert core.family == "core"
    assert core.cycles(100) == pytest.approx(120)


def test_every_key_is_documented() -> None:
    text = DOCUMENTATION.read_text("utf-8")
    for key in (*KEYS, *SOURCES):
        assert f"`{key}`" in text, key


def test_values_without_units_are_bytes_and_hertz(tmp_path: Path) -> None:
    text = (
        '[x]\ncore = "cortex-m4"\nclock = 64e6\nflash = 262144\nram = "32768"\nstall_factor = 2\n'
    )
    found = load_devices([written(tmp_path, b"\xef\xbb\xbf" + text.encode())])["x"]
    assert (found.clock_hz, found.flash_bytes, found.ram_bytes) == (64e6, 256 << 10, 32 << 10)
    assert found.cycles(100) == pytest.approx(282)


def test_a_core_may_stand_above_in_the_same_file_and_in_one_before(tmp_path: Path) -> None:
    core = '[mine]\ncounts = "rv32imc"\ncycles_per_instruction = 1\ncycles_error = 0\n'
    first = written(tmp_path, core + '[a]\ncore = "mine"\n', "a.toml")
    second = written(tmp_path, '[b]\ncore = "a"\nclock = "1 MHz"\n', "b.toml")
    assert load_devices([first, second])["b"].core == "rv32imc"
    with pytest.raises(InputError, match="which is no target"):
        load_devices([second])
    with pytest.raises(InputError, match="already a target of this name"):
        load_devices([first, first])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("colck = 5", "F, [x]: there is no key 'colck'; did you mean clock?"),
        ("zzzzzzzzz = 5", "F, [x]: there is no key 'zzzzzzzzz'; known are core, "),
        ("flash = -5", "F, [x]: flash is -5 bytes, but must lie in 1 byte to 1 TiB"),
        ("flash = 0", "F, [x]: flash is 0 bytes"),
        ('ram = "0 B"', "F, [x]: ram is 0 bytes"),
        ("flash = 1.5", "F, [x]: flash is 1.5, but must be a whole number of bytes"),
        ("flash = 9000000000000000000", "must lie in 1 byte to 1 TiB"),
        ("flash = " + "9" * 4000, "flash is over 10^30 bytes"),
        ("flash = inf", "whole number of bytes"),
        ("flash = true", 'F, [x]: flash must be a number with its unit in quotes, as in "64 KiB"'),
        ("ram = [1]", "F, [x]: ram must be a number with its unit"),
        ("ram = 2020-01-01", "F, [x]: ram must be a number with its unit"),
        ('ram = "64 KB"', "F, [x], ram: '64 KB' is not a size: write bytes, kB (1000), KiB (1024)"),
        ('ram = "2000 GiB"', "F, [x], ram: '2000 GiB' is more than 1 TiB"),
        ("clock = inf", "F, [x]: clock is inf Hz, but must lie in 1 Hz to 100 GHz"),
        ("clock = nan", "F, [x]: clock is nan Hz"),
        ("clock = -1", "F, [x]: clock is -1 Hz"),
        ('clock = "fast"', "F, [x], clock: 'fast' is not a frequency"),
        ("clock = {}", "F, [x]: clock must be a number with its unit in quotes"),
        ('cycles_error = "0.2"', "F, [x]: cycles_error is '0.2', but must be a number without"),
        ("cycles_error = true", "F, [x]: cycles_error is True, but must be a number"),
        ("cycles_error = nan", "F, [x]: cycles_error is nan, but must lie in 0 to 1"),
        ("cycles_error = 1.1", "F, [x]: cycles_error is 1.1, but must lie in 0 to 1"),
        ("cycles_per_instruction = 0", "cycles_per_instruction is 0, but must lie in 0.05 to 100"),
        ("cycles_per_instruction = inf", "cycles_per_instruction is inf"),
        ("cycles_per_instruction = 1\nstall_factor = 1", "stall_factor is for the core's cycles"),
        ("stall_factor = -1", "stall_factor is -1, but must lie in 0.5 to 100"),
        ("fetch_cycles_per_byte = -0.1", "fetch_cycles_per_byte is -0.1, but must lie in 0 to"),
        ("volts = 3.3", "microamperes_per_megahertz and volts belong together: give both"),
        (
            "volts = 3\nmicroamperes_per_megahertz = 9\nmilliwatts_per_megahertz = 1",
            "milliwatts_per_megahertz is there, and a current too: give one",
        ),
        ('runs_from_ram = "yes"', "F, [x]: runs_from_ram is 'yes', but must be true or false"),
        ("title = 5", "F, [x]: title must be text in quotes"),
        ('title = " "', "F, [x]: title is empty"),
        ('notes = "\\u001b[31m"', "F, [x]: notes has characters that cannot be printed"),
        (f'notes = "{"x" * 5000}"', "F, [x]: notes is longer than 4000 characters"),
        ("sources = 5", "F, [x]: sources must be a table"),
        (
            'sources = {clokc = "x"}',
            "F, [x], sources: there is no key 'clokc'; did you mean clock?",
        ),
        ("sources = {clock = 5}", "F, [x], sources: clock must be text in quotes"),
        ("[x.y]\nz = 1", "F, [x]: there is no key 'y'; known are core"),
        ('counts = "cortex-m4"', "F, [x]: it needs `core`, the name of a core, as in core = "),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, line: str, message: str) -> None:
    key = line.split()[0]
    board = "".join(x for x in BOARD.splitlines(keepends=True) if not x.startswith(f"{key} "))
    assert message in refusal(tmp_path, f"[x]\n{board}{line}\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "F describes no device: it wants a table [name] for each"),
        ("# nothing", "F describes no device"),
        ("x = 5", "F: x is a value, not a device: write a table [x]"),
        ("[[x]]\n" + BOARD, "F: x is a value, not a device"),
        ("[x]", "F, [x]: it needs `core`"),
        ('[x]\ncore = "cortex-m5"', "core is 'cortex-m5', which is no target; did you mean"),
        ('[x]\ncore = "§§"', "core is '§§', which is no target; for example cortex-m4 is one"),
        ("[x]\ncore = 4", "F, [x]: core must be text in quotes"),
        ('[x]\ncore = "x"', "core is 'x', which is no target"),
        ('[x]\ncore = "y"\n[y]\n' + BOARD, "core is 'y', which is no target"),
        ('[x]\ncounts = "cortex-m4"', "a core needs cycles_per_instruction and cycles_error"),
        (
            '[x]\ncounts = "m4"\ncycles_per_instruction = 1\ncycles_error = 0',
            "counts is 'm4', whose instructions were not counted",
        ),
        ("[cortex-m4]\n" + BOARD, "F, [cortex-m4]: there is already a target of this name"),
        ("[X]\n" + BOARD, "F: 'X' is not a name: use up to 40 of a-z, 0-9"),
        ('["a b"]\n' + BOARD, "F: 'a b' is not a name"),
        ('["\\u001b"]\n' + BOARD, "is not a name"),
        (f"[{'a' * 41}]\n" + BOARD, "is not a name"),
        ("[x\n", "F is not a TOML file: "),
        ("[x]\n[x]\n", "F is not a TOML file: "),
        (b"\xff\xfe[x]", "F is not a TOML file: "),
        (b"[x]\0", "F is not a TOML file: "),
        ("[x]\nflash = " + "9" * 5000, "F is not a TOML file: "),
        ("x = " + "[" * 100_000, "F is not a TOML file: "),
        ("# " + "x" * (1 << 20), "F is over 1 MiB"),
    ],
    ids=lambda v: repr(v[:30]),
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str | bytes, message: str) -> None:
    assert message in refusal(tmp_path, text)


def test_no_file(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.toml", tmp_path / ("x" * 300), Path("a\0b")):
        with pytest.raises(InputError, match="cannot read the targets of"):
            load_devices([path])


values = st.one_of(
    st.integers(),
    st.floats(),
    st.booleans(),
    st.text(max_size=8),
    st.sampled_from(["64 KiB", "64 MHz", "cortex-m4", 1, 0.5]),
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), values, max_size=6))
def test_any_values_make_a_device_or_one_sentence(
    tmp_path_factory: pytest.TempPathFactory, entries: dict[str, object]
) -> None:
    # json writes numbers, truth values and most texts as TOML does.
    lines = [f"{k} = {json.dumps(v, ensure_ascii=False)}" for k, v in entries.items()]
    text = "[x]\n" + "\n".join(lines).replace("NaN", "nan").replace("Infinity", "inf")
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    message = ""
    try:
        found = read_devices(path, BUILT_IN)["x"]
    except InputError as error:
        message = str(error)
    if message:
        assert str(path) in message
        assert message.isprintable()
    else:
        assert found.cycles(1) > 0
        assert found.core in load_targets()


@each
def test_a_device_survives_json(found: Device) -> None:
    assert Device(**json.loads(json.dumps(found.to_json(), allow_nan=False))) == found


def test_they_are_read_once() -> None:
    assert load_devices() is not load_devices()
    assert load_devices()["esp32"] is load_devices()["esp32"]
