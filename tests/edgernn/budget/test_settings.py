"""Budgets from a file: what it says, and each mistake in it in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgernn.budget import load_settings
from edgernn.runtime.errors import InputError

GOOD = """
[budget]
rate = "100 Hz"
accuracy_drop = 0.5
reserve_ram = "1 KiB"
data = "test.npz"
labels = "digit"
window = 12
targets = ["mine.toml"]

[[budget.target]]
device = "nrf52840-dk"
flash = "64 KiB"
ram = 4096
step = "2 ms"
accuracy_drop = 0.2

[[budget.target]]
device = "mine"
period = "1 s"
instructions = 30000
"""
MINE = """
[mine]
core = "cortex-m4"
clock = "20 MHz"
flash = "32 KiB"
ram = "3 KiB"
"""


def written(path: Path, text: str, name: str = "edgernn.toml") -> Path:
    (path / "mine.toml").write_text(MINE)
    (path / name).write_text(text)
    return path / name


def test_a_file_says_targets_and_limits(tmp_path: Path) -> None:
    settings = load_settings(written(tmp_path, GOOD))
    first, second = settings.budgets
    assert (first.device.name, first.flash, first.ram) == ("nrf52840-dk", 65536, 4096)
    assert (first.seconds, first.period, first.accuracy_drop) == (0.002, 0.01, 0.2)
    assert (second.device.name, second.flash, second.ram) == ("mine", 32 << 10, 2 << 10)
    assert (second.period, second.instructions, second.accuracy_drop) == (1.0, 30000, 0.5)
    assert (second.clock_hz, second.seconds) == (20e6, None)
    assert settings.data == str(tmp_path / "test.npz")
    assert (settings.labels, settings.window) == ("digit", 12)


def test_a_pyproject_has_the_same_under_tool(tmp_path: Path) -> None:
    text = GOOD.replace("[budget]", "[tool.edgernn.budget]").replace(
        "[[budget.", "[[tool.edgernn.budget."
    )
    more = '[project]\nname = "x"\n[tool.other]\na = 1\n'
    found = load_settings(written(tmp_path, more + text, "pyproject.toml"))
    assert found == load_settings(written(tmp_path, GOOD))


ENTRY = '[[budget.target]]\ndevice = "nrf52840-dk"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"has no table \[budget\]"),
        ("budget = 3", "budget must be a table"),
        ("[budget]", r"names no target: it wants a table \[\[budget.target\]\]"),
        ("[budget]\ntarget = 3", "names no target"),
        ("[budget]\nflahs = 3\n" + ENTRY, r"\[budget\]: there is no key 'flahs'; did you mean fl"),
        ("[budgets]\n" + ENTRY, "there is no key 'budgets'; did you mean budget"),
        (ENTRY + "clock_hz = 3", r"target\]\] 1: there is no key 'clock_hz'; did you mean clock"),
        (ENTRY + "zzz = 3", "no key 'zzz'; known are device, flash, ram"),
        (ENTRY + ENTRY + 'ram = "4 KB"', r"target\]\] 2, ram: '4 KB' is not a size"),
        (ENTRY + "ram = 4.5", "4.5 must be a number with its unit in quotes"),
        (ENTRY + 'ram = "1 MiB"', "ram 1 MiB is more than the 256 KiB that nrf52840-dk has"),
        (ENTRY + "step = 2", 'must be a number with its unit in quotes, as in "2 ms"'),
        (ENTRY + 'rate = "1 Hz"\nperiod = "1 s"', "rate and period say the same"),
        (ENTRY + "accuracy_drop = true", "True is not a number of percentage points"),
        (ENTRY + "instructions = 1e3", "1000.0 is not a whole number"),
        (
            '[[budget.target]]\ndevice = "nrf52840"\n',
            r"target\]\] 1: there is no target 'nrf52840'",
        ),
        ('[[budget.target]]\ndevice = "cortex-m4"\nstep = "1 ms"', "a core without a clock"),
        ("[[budget.target]]\nflash = 3", "it needs a device"),
        ("[[budget.target]]\ndevice = 3", "it needs a device"),
        ('[budget]\nrate = "1"\n' + ENTRY, r"\[budget\], rate: '1' is not a frequency"),
        ("[budget]\ntargets = 'x'\n" + ENTRY, "targets must be a list of files"),
        ("[budget]\ntargets = ['none.toml']\n" + ENTRY, "cannot read the targets of .*none.toml"),
        ("[budget]\nwindow = 0\n" + ENTRY, "window: it must be a number of steps"),
        ("[budget]\ndata = 3\n" + ENTRY, "data: it must be text in quotes"),
        ("[budget", "is not a TOML file"),
        ("x = " + 4000 * "[" + 4000 * "]", "nested too deep"),
    ],
)
def test_each_mistake_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(InputError, match=message) as caught:
        load_settings(path)
    assert str(path) in str(caught.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        load_settings(tmp_path / "none.toml")
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="is not a TOML file"):
        load_settings(tmp_path / "b.toml")
    (tmp_path / "c.toml").write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(InputError, match="over 1 MiB"):
        load_settings(tmp_path / "c.toml")
