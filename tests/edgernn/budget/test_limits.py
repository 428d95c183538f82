"""A limit that is one byte, instruction or moment too small fails; just enough passes."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgernn.budget import Budget, Subject, budget_for, check, parse_options
from edgernn.runtime.errors import InputError
from edgernn.targets import device
from tests.edgernn.budget.subjects import CORES, core
from tests.programs import random_program, random_structure
from tests.windows import random_window

CELLS = ("gru", "lstm", "rnn_tanh", "rnn_relu")


def subject_of(kind: str, seed: int) -> Subject:
    """A random program: a stack of cells, a structure of no architecture, or a window."""
    if kind == "stack":
        cells = [CELLS[seed % 4], CELLS[seed // 4 % 4]]
        sizes = [1 + seed % 23, 1 + seed // 7 % 17]
        return Subject("stack", random_program(cells, sizes, 1 + seed % 9, seed, seed % 3))
    if kind == "structure":
        return Subject("structure", random_structure(seed))
    return Subject("window", random_window(seed, 8), steps=1 + seed % 40)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    st.sampled_from(["stack", "structure", "window"]),
    st.integers(0, 300),
    st.sampled_from(CORES),
)
def test_just_enough_passes_and_one_less_fails(kind: str, seed: int, name: str) -> None:
    subject = subject_of(kind, seed)
    open_budget = Budget(core(name), clock_hz=8e6, period=1.0)
    verdict = check(subject, open_budget)
    lines = {line.name: line for line in verdict.lines}
    assert verdict.fits
    assert lines["flash"].value == verdict.cost.weights + verdict.cost.tables + verdict.cost.code
    for limit in ("flash", "ram", "instructions"):
        value = lines[limit].value
        assert value == int(value) > 0
        assert check(subject, replace(open_budget, **{limit: int(value)})).fits
        over = check(subject, replace(open_budget, **{limit: int(value) - 1})).over
        assert [(line.name, line.over) for line in over] == [(limit, 1)]
    seconds = lines["time"].value
    assert check(subject, replace(open_budget, seconds=seconds)).fits
    late = check(subject, replace(open_budget, seconds=math.nextafter(seconds, 0))).over
    assert [line.name for line in late] == ["time"]


def test_every_line_of_a_board() -> None:
    subject = subject_of("stack", 5)
    board = device("nrf5340-dk")
    verdict = check(subject, budget_for(board, parse_options({"rate": "1 kHz"}, "here")))
    lines = {line.name: line for line in verdict.lines}
    cost = verdict.cost
    assert lines["flash"].limit == board.flash_bytes
    assert lines["ram"].limit == board.ram_bytes
    assert board.milliwatts_per_megahertz is not None
    assert board.clock_hz is not None
    cycles = cost.instructions * board.cycles_per_instruction
    assert lines["cycles"].value == pytest.approx(cycles)
    assert lines["time"].value == pytest.approx(cycles / board.clock_hz)
    assert lines["load"].value == pytest.approx(100 * 1000 * cycles / board.clock_hz)
    # mW / MHz is a thousandth of a uJ for each cycle, and a thousand steps a second make mW of mJ.
    energy = cycles * board.milliwatts_per_megahertz * 1e-6
    assert lines["energy"].value == pytest.approx(energy)
    assert lines["power"].value == pytest.approx(1000 * energy)
    program = subject.program
    io = 2 * (program.tensors["x"].size + program.tensors[program.outputs["y"]].size)  # type: ignore[union-attr]
    assert cost.ports == io
    assert cost.ram == cost.state + cost.stack + io
    assert 0 < lines["flash"].error < lines["time"].error  # type: ignore[operator]


def test_where_a_program_runs_from_ram_it_takes_that_too() -> None:
    subject = subject_of("stack", 5)
    computer = device("rpi-5")
    assert computer.runs_from_ram
    verdict = check(subject, budget_for(computer, {}))
    assert verdict.value("ram") == verdict.cost.ram + verdict.cost.flash
    ram = verdict.cost.ram + verdict.cost.flash
    assert check(subject, budget_for(computer, {"ram": ram})).fits
    assert not check(subject, budget_for(computer, {"ram": ram - 1})).fits


def test_a_load_over_100_percent_fails() -> None:
    subject = subject_of("stack", 9)
    seconds = next(
        line.value for line in check(subject, Budget(core(), clock_hz=1e6)).lines
        if line.name == "time"
    )  # fmt: skip
    assert check(subject, Budget(core(), clock_hz=1e6, period=seconds * 1.001)).fits
    over = check(subject, Budget(core(), clock_hz=1e6, period=seconds * 0.999)).over
    assert [line.name for line in over] == ["load"]


def test_a_window_has_the_time_of_all_its_samples() -> None:
    subject = subject_of("window", 3)
    lines = {
        line.name: line.value
        for line in check(subject, Budget(core(), clock_hz=1e6, period=0.01)).lines
    }
    assert lines["load"] == pytest.approx(100 * lines["time"] / (0.01 * subject.steps))


def test_a_longer_window_takes_more_ram_and_no_more_flash() -> None:
    subject = subject_of("window", 2)
    costs = [
        check(Subject("w", subject.program, steps=n), Budget(core())).cost for n in (10, 11, 12)
    ]
    assert costs[0].flash == costs[1].flash
    assert costs[2].ram - costs[1].ram == costs[1].ram - costs[0].ram > 0
    assert costs[1].instructions > costs[0].instructions


BOARD = "nrf52840-dk"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"flash": 1 << 20, "ram": 1 << 18, "clock_hz": 64e6}),
        ({"flash": "64KiB", "ram": 4096}, {"flash": 65536, "ram": 4096}),
        ({"reserve_flash": "1000 KiB"}, {"flash": 24 * 1024}),
        ({"reserve_ram": 1 << 18}, {"ram": 0}),
        ({"step": "2ms@80MHz"}, {"seconds": 0.002, "clock_hz": 80e6}),
        ({"step": "2 ms @ 80 MHz"}, {"seconds": 0.002, "clock_hz": 80e6}),
        ({"step": "2ms"}, {"seconds": 0.002, "clock_hz": 64e6}),
        ({"step": "2ms", "clock": "32 MHz"}, {"seconds": 0.002, "clock_hz": 32e6}),
        ({"rate": "100 Hz"}, {"period": 0.01}),
        ({"period": "10 ms"}, {"period": 0.01}),
        ({"instructions": 0, "accuracy_drop": 0.2}, {"instructions": 0, "accuracy_drop": 0.2}),
    ],
)
def test_what_a_board_leaves(options: dict[str, Any], expected: dict[str, float]) -> None:
    budget = budget_for(device(BOARD), parse_options(options, "here"))
    assert {key: getattr(budget, key) for key in expected} == expected


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cortex-m4", {"step": "2ms"}, "cortex-m4 is a core without a clock.*80MHz"),
        ("cortex-m4", {"rate": "100Hz"}, "core without a clock"),
        ("cortex-m4", {"reserve_flash": "1KiB"}, "no flash of its own to reserve from"),
        (BOARD, {"flash": "2MiB"}, "flash 2 MiB is more than the 1 MiB that nrf52840-dk has"),
        (BOARD, {"reserve_ram": "257KiB"}, "reserve-ram 257 KiB is more than the 256 KiB"),
        (BOARD, {"flash": "1KiB", "reserve_flash": "1KiB"}, "flash and reserve_flash say the same"),
        (BOARD, {"rate": "1Hz", "period": "1s"}, "rate and period say the same"),
        (BOARD, {"step": "1ms@1MHz", "clock": "1MHz"}, "step names a clock already"),
        (BOARD, {"flash": "64KB"}, "here, flash: '64KB' is not a size"),
        (BOARD, {"flash": 1.5}, "1.5 must be a number with its unit in quotes"),
        (BOARD, {"flash": True}, "True must be"),
        (BOARD, {"flash": -1}, "-1 must be"),
        (BOARD, {"step": "2"}, "here, step: '2' is not a time"),
        (BOARD, {"step": "2ms@"}, "here, step: '' is not a frequency"),
        (BOARD, {"instructions": -1}, "-1 is not a whole number"),
        (BOARD, {"instructions": 1.0}, "1.0 is not a whole number"),
        (BOARD, {"accuracy_drop": 101}, "101 is not a number of percentage points"),
        (BOARD, {"accuracy_drop": float("nan")}, "nan is not a number"),
        (BOARD, {"flahs": 1}, "no key 'flahs'; did you mean flash"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        budget_for(device(name), parse_options(options, "here"))
