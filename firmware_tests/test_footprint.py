"""What a report promises of a model's flash, RAM and instructions against what the boards need."""

from __future__ import annotations

from functools import cache

from benchmarks.models import ROWS, Sizes
from edgernn.footprint import estimate, load_targets
from edgernn.runtime.program import Program
from firmware_tests.boards import BOARDS, Board
from firmware_tests.family import member, networks, steps
from firmware_tests.fit import TARGET_NAMES
from firmware_tests.samples import measure_programs
from firmware_tests.table import RESULTS, kept, markdown, measure_references
from firmware_tests.training import held_out

CHECKED = ("gru_64_32", "lstm_48_20", "grus_29_18")
LIMIT = 0.02
FAMILY = ("MGU", "LSTM, peephole", "LayerNorm GRU", "attention pooling", "variable length")
SIZES = Sizes(11, 5, 22, 15, 8)
"""Other than any that prices were taken from."""


def test_report_is_within_two_percent_of_the_board(board: Board) -> None:
    """Of models that no price was taken from."""
    programs = held_out()
    target = load_targets()[TARGET_NAMES[board.name]]
    for sample in measure_programs(board, {name: programs[name] for name in CHECKED}):
        promised = estimate(sample.model, target)
        assert promised.measured
        assert promised.weights == sample.weights
        for what, number, measured in (
            ("instructions", promised.instructions, sample.instructions),
            ("flash", promised.flash, sample.flash),
            ("RAM", promised.ram, sample.ram),
        ):
            error = number / measured - 1
            assert abs(error) <= LIMIT, f"{sample.name} {what}: {number}, not {measured}"


@cache
def family() -> dict[str, Program]:
    return steps(
        {**{name: member(ROWS[name], SIZES, 600) for name in FAMILY}, **networks([950, 951])},
        "network",
    )


def test_report_is_as_good_as_it_states_for_the_family(board: Board) -> None:
    """Of networks that no price was taken from; RAM of the smallest within 32 bytes."""
    target = load_targets()[TARGET_NAMES[board.name]]
    for sample in measure_programs(board, family()):
        promised = estimate(sample.model, target)
        of = promised.errors
        for what, number, measured, stated, least in (
            ("instructions", promised.instructions, sample.instructions, of.instructions.stated, 0),
            ("flash", promised.flash, sample.flash, of.of_flash(promised.flash, promised.code), 0),
            ("RAM", promised.ram, sample.ram, of.ram.stated, 32),
        ):
            most = max(least, stated * measured)
            text = f"{sample.name} {what}: {number}, not {measured}"
            assert abs(number - measured) <= most, text


def test_costs_are_those_of_the_table(board: Board) -> None:
    """More flash, RAM or instructions, or less, are a deliberate change: see table.py."""
    table = kept()[TARGET_NAMES[board.name]]
    measured = measure_references(board)
    assert measured.keys() == table.keys()
    for name, costs in measured.items():
        for what, number in costs.items():
            before = table[name][what]
            assert abs(number - before) <= LIMIT * before, f"{name} {what}: {number}, was {before}"


def test_results_show_the_table() -> None:
    assert set(kept()) == set(TARGET_NAMES.values()) == set(load_targets())
    assert len(BOARDS) == len(kept())
    shown = RESULTS.read_text(encoding="utf-8").splitlines()
    # The emulator's version is that of the machine that wrote it.
    tables = [line for line in markdown(kept()).splitlines() if line.startswith("|")]
    assert [line for line in shown if line.startswith("|")] == tables
