"""The comparison of the C with the slow engine can fail: a mistake in any kernel is seen."""

from __future__ import annotations

import re
import shutil
from functools import cache
from pathlib import Path

import pytest

from edgernn.runtime.program import Program
from tests.exporters import c_programs, test_c_operators
from tests.exporters.c_host import GCC, PORTABLE, Build, Stepper, library, write_all
from tests.exporters.test_c import Result, Streams, same
from tests.programs import reference_run

OPERATORS = {
    "add without a rail": ("add", "a, b", "a + b"),
    "add with a rail too low": ("add", "a, b", "right == 32767 ? 32766 : right"),
    "sub the other way": ("sub", "a, b", "edgernn_scalar_sub(b, a)"),
    "sub_twice without a rail": ("sub_twice", "a, b", "a - 2 * b"),
    "add_half with ties upwards": ("add_half", "a, b", "(a + b + 1) >> 1"),
    "sub_half without the rail that one pair leaves": (
        "sub_half",
        "a, b",
        "a - b == 65535 ? -32768 : right",
    ),
    "mul with one rounding": ("mul", "a, b", "a * b == 1 << 30 ? 32767 : (a * b + 16384) >> 15"),
    "mul without its rail": ("mul", "a, b", "a * b == 1 << 30 ? -32768 : right"),
    "rescale that truncates": ("rescale", "a, q, left, shift", "right - (a == 12345)"),
    "sigmoid wrong at one number": ("logistic", "a, shift", "right + (a == -32768)"),
    "tanh not quite odd": ("tanh", "a, shift", "right + (a < 0 && right == -3)"),
    "relu of the least number": ("relu", "a", "a == -32768 ? a : right"),
    "maximum without signs": ("maximum", "a, b", "a < 0 && b >= 0 ? a : right"),
    "select by the low byte": ("select", "mask, a, b", "(mask & 255) != 0 ? a : b"),
    "rsqrt wrong at one number": ("rsqrt", "a, gain", "right - (a == 12345)"),
    "rsqrt of the least number": ("rsqrt", "a, gain", "a == -32768 ? 0 : right"),
}
"""An operator, its operands, and what it gives instead; `right` is what it should."""
TEXTS = {
    "weight": ("net_0.c", r"EDGERNN_BLOCK8\((-?\d+),", r"EDGERNN_BLOCK8((\1) / 2 + 1,"),
    "weight of the last columns": ("net_0.c", r"EDGERNN_BLOCK4\((-?\d+),", r"EDGERNN_BLOCK4(0,"),
    "multiplier": ("net_0.c", r"ROWS\((-?\d+), (\d+),", r"ROWS(\1, (\2) - 9,"),
    "shift": ("net_0.c", r"ROWS\((-?\d+), (\d+), (\d+),", r"ROWS(\1, \2, \3 - 1,"),
    "bias": ("net_0.c", r"ROWS\((-?\d+),", r"ROWS((\1) / 2 + 9999,"),
    "wide bias": ("net_3.c", r"\{(-?\d+)LL,", r"{(\1LL) / 2,"),
    "initial state": ("net_0.c", r"memcpy\(state->", "if (0) memcpy(state->"),
    "entry of the table": ("edgernn.c", r"40149", "40150"),
    "constant": ("net_1.c", r"constant_k\[7\] = \{\n    32767", "constant_k[7] = {\n    32766"),
    "entry of a look-up": ("net_1.c", r"(table_\d+\[513\] = \{\n    -?\d+), -?\d+", r"\1, 7"),
    "entry of a row": ("net_1.c", r"(table_\d+\[35\] = \{\n    )-?\d+", r"\g<1>1"),
    "where a row is cut": ("net_1.c", r"edgernn_row\((\w+) \+ 2,", r"edgernn_row(\1 + 1,"),
    "rounding of a look-up": ("edgernn_scalar.h", r"127\) \+ 64", "127) + 63"),
    "last bit of a root": ("edgernn_scalar.h", r"rest >= more >> 2", "rest > more >> 2"),
    "where a root saturates": ("edgernn_scalar.h", r"if \(x <= \(int32_t\)1 <<", "if (x < 1 <<"),
    "token beyond the table": ("edgernn.c", r"\*id : rows - 1", "*id : 0"),
    "token below 0": ("edgernn.c", r"\*id < 0 \? 0", "*id < 0 ? rows - 1"),
    "chunks of a wide row": ("edgernn.c", r"sums\[i\] \+= part", "sums[i] = part"),
    "rounding of a wide row": ("edgernn.c", r"constants->shift - 1", "constants->shift - 2"),
}
"""File, pattern, and what stands there instead."""


@cache
def cases() -> list[tuple[Program, Streams, Result]]:
    programs = [
        c_programs.stacks()["all_cells"],
        c_programs.functions(),
        c_programs.every_operator(),
        c_programs.wide(600, 9),
    ]
    result = []
    for program in programs:
        x = c_programs.streams(program, 300)
        result.append((program, x, reference_run(program, x)))
    # The large ones last: a comparison ends at the first difference.
    large = ("tokens", "maximum", "select", "lookup", "rsqrt", "product", "rescale", "activation")
    return result + [test_c_operators.cases()[n] for n in large]


def compare(folder: Path) -> None:
    """Compile what is in the folder, and hold every program against the slow engine."""
    sources = [p for p in folder.glob("*.c") if p.name != "example_main.c"]
    loaded = library(sources, folder / "all.so", Build(GCC.compiler, (*PORTABLE, "-O1")))
    for i, (program, x, expected) in enumerate(cases()):
        same(Stepper(program, loaded, f"net_{i}").run(x), expected, f"net_{i}")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    write_all({f"net_{i}": program for i, (program, _, _) in enumerate(cases())}, folder)
    compare(folder)
    return folder


def seen(folder: Path) -> None:
    with pytest.raises(AssertionError, match="Arrays are not equal"):
        compare(folder)


@pytest.mark.parametrize("what", TEXTS)
def test_a_wrong_number_is_seen(what: str, sound: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(sound, tmp_path / "mutated"))
    file, pattern, instead = TEXTS[what]
    text, count = re.subn(pattern, instead, (folder / file).read_text())
    assert count, f"{file} no longer has {pattern}"
    (folder / file).write_text(text)
    seen(folder)


@pytest.mark.parametrize("what", OPERATORS)
def test_a_wrong_operator_is_seen(what: str, sound: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(sound, tmp_path / "mutated"))
    put_in(folder, *OPERATORS[what])
    seen(folder)


def put_in(folder: Path, operator: str, operands: str, instead: str) -> None:
    """Let every model in a folder compute an operator otherwise."""
    include = '#include "edgernn_lanes.h"\n'
    parameters = ", ".join(f"int32_t {operand}" for operand in operands.split(", "))
    mutant = (
        f"static inline int32_t mutant({parameters})\n{{\n"
        f"    const int32_t right = edgernn_{operator}({operands});\n    (void)right;\n"
        f"    return {instead};\n}}\n#undef edgernn_{operator}\n#define edgernn_{operator} mutant\n"
    )
    for path in folder.glob("*.c"):
        text = path.read_text()
        if f"edgernn_{operator}(" in text:
            path.write_text(text.replace(include, include + mutant))
