"""What reference models cost on every board: measured, kept, and compared by a test.

    python -m firmware_tests.table      # rewrites measured.json and RESULTS.md

A change of more than 2 % is a deliberate one: then run this, and commit what it wrote.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from edgernn.footprint import load_targets
from edgernn.runtime.program import Program
from firmware_tests.boards import BOARDS, Board
from firmware_tests.fit import TARGET_NAMES
from firmware_tests.samples import Sample, measure_programs
from firmware_tests.toolchain import execute
from firmware_tests.training import reset_to_zero
from tests.programs import random_program

MEASURED: Final = Path(__file__).parent / "measured.json"
RESULTS: Final = Path(__file__).parent / "RESULTS.md"
REFERENCES: Final = {
    "gru_64_32": ("GRU, 64 units, 32 inputs", ["gru"], [64], 32, 0),
    "lstm_64_32": ("LSTM, 64 units, 32 inputs", ["lstm"], [64], 32, 0),
    "gru_128_40": ("GRU, 128 units, 40 inputs", ["gru"], [128], 40, 0),
    "lstm_128_40": ("LSTM, 128 units, 40 inputs", ["lstm"], [128], 40, 0),
    "gru_64_40_8": ("GRU, 64 units, 40 inputs, and 8 outputs", ["gru"], [64], 40, 8),
    "gru_16_6_2": ("GRU, 16 units, 6 inputs, and 2 outputs", ["gru"], [16], 6, 2),
    "grus_32_24_5": ("GRUs of 32 and 24 units, 13 inputs, 5 outputs", ["gru"] * 2, [32, 24], 13, 5),
}
"""Name -> what it is, cells, units, inputs, outputs of a last linear layer."""
COLUMNS: Final = ("instructions", "flash", "weights", "tables", "code", "ram", "state", "stack")


def references() -> dict[str, Program]:
    """The models, with random weights and states that begin at 0."""
    return {
        name: reset_to_zero(random_program(cells, units, features, seed, head))
        for seed, (name, (_, cells, units, features, head)) in enumerate(REFERENCES.items())
    }


def row(sample: Sample) -> dict[str, int]:
    """What is kept of a measurement."""
    return {
        "instructions": round(sample.instructions),
        "flash": sample.flash,
        "weights": sample.weights,
        "tables": sample.flash - sample.weights - sample.code,
        "code": sample.code,
        "ram": sample.ram,
        "state": sample.ram - sample.stack,
        "stack": sample.stack,
    }


def measure_references(board: Board) -> dict[str, dict[str, int]]:
    """Model -> what it costs on a board."""
    return {sample.name: row(sample) for sample in measure_programs(board, references())}


def kept() -> Mapping[str, Any]:
    """Target -> model -> what was measured when the table was last written."""
    table: dict[str, Any] = json.loads(MEASURED.read_text(encoding="ascii"))
    return table


def markdown(table: Mapping[str, Mapping[str, Mapping[str, int]]]) -> str:
    """RESULTS.md."""
    programs = references()
    cores = {name: BOARDS[board].core for board, name in TARGET_NAMES.items()}
    emulator = execute(["qemu-system-arm", "--version"], Path.cwd()).split("(")[0].strip()
    compilers = sorted({target.compiler for target in load_targets().values()})
    lines = [
        "# What models cost on the emulated boards",
        "",
        "Written by `python -m firmware_tests.table`; do not edit.",
        "",
        f"One step, {emulator}; {' and '.join(compilers)}. Instructions, not cycles.",
        "",
        "Bytes of flash: weights, tables and code. Bytes of RAM: state and stack, with the scratch",
        "arena. MAC: a multiplication by a weight.",
    ]
    for name, (title, *_) in REFERENCES.items():
        macs = programs[name].weight_count
        lines += [
            "",
            f"## {title}: {macs:,} MAC",
            "",
            "| | instructions | per MAC | flash | weights | tables | code | RAM | state | stack |",
            f"|---|{'--:|' * 9}",
        ]
        for target, models in table.items():
            if name not in models:
                continue
            cost = models[name]
            values = [f"{cost['instructions']:,}", f"{cost['instructions'] / macs:.2f}"]
            values += [f"{cost[column]:,}" for column in COLUMNS[1:]]
            lines.append(f"| {cores[target]} | {' | '.join(values)} |")
    return "\n".join([*lines, *_errors()]) + "\n"


def _errors() -> list[str]:
    """How far estimates are from the boards."""
    lines = [
        "",
        "## How far `edgernn.footprint` is from the boards",
        "",
        "Worst and mean error, in %, of held-out programs, by `python -m firmware_tests.fit`:",
        "stacks of the usual cells, networks of the whole family in other sizes, and random stacks",
        "with embeddings, normalization, convolutions, activations, sums, pooling and heads.",
        "measured: every loop is one whose like was measured, in another size or another network.",
        "summed: the same programs as if none of their loops had been, each a sum of operators.",
        "window: window programs, of 16, 5 and 1 steps.",
        "",
        "| | programs | | instructions | flash | RAM |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for target in load_targets().values():
        for kind, found in target.errors.items():
            shown = [
                f"{100 * error.worst:.1f}, {100 * error.mean:.1f}"
                for error in (found.instructions, found.flash, found.ram)
            ]
            lines.append(f"| {target.core} | {kind} | {found.programs} | {' | '.join(shown)} |")
    return lines


def main() -> None:
    """Measure on all boards and write both files."""
    table = {TARGET_NAMES[name]: measure_references(board) for name, board in BOARDS.items()}
    MEASURED.write_text(json.dumps(table, indent=1) + "\n", encoding="ascii")
    RESULTS.write_text(markdown(table), encoding="utf-8")


if __name__ == "__main__":
    main()
