"""The boards themselves: that what measures and checks the models is right, and can fail."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from firmware_tests import binary
from firmware_tests.boards import BOARDS, Board
from firmware_tests.build import SOURCES, Image, Model, build, minimal
from firmware_tests.conftest import require
from firmware_tests.emulator import count_instructions, run, stack_bytes, trace
from firmware_tests.sizes import pieces, sizes
from firmware_tests.toolchain import ToolError

PROBES = SOURCES / "probes"
ZEROS = np.zeros((3, 5), np.int16)
SIZED = {
    "sized.h": b"""
        #include <stdint.h>
        typedef int edgernn_status_t;
        typedef struct { uint32_t tag; int16_t h[4]; } sized_state_t;
        void sized_reset(sized_state_t *state);
        int sized_step(sized_state_t *state, const int16_t *x, int16_t *y);
        int16_t edgernn_value(int16_t i);
    """,
    "sized.c": b"""
        #include "sized.h"
        static const int8_t constants[100] = {1};
        static volatile uint32_t first[2] = {1, 2};
        static volatile uint32_t zero;
        void sized_reset(sized_state_t *state) { state->tag = zero; }
        int sized_step(sized_state_t *state, const int16_t *x, int16_t *y) {
            zero = state->tag + first[0];
            *y = (int16_t)(constants[*x & 63] + edgernn_value(*x));
            return 0;
        }
    """,
    "edgernn_part.c": b"""
        #include "sized.h"
        static const int16_t table[28] = {2};
        int16_t edgernn_value(int16_t i) { return table[i & 15]; }
    """,
    # Written with the others, and not compiled.
    "example_main.c": b"#error",
}


def probe(name: str, suffix: str, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> Model:
    files = (f"{name}.h", f"{name}.{suffix}")
    return Model(name, {f: (PROBES / f).read_bytes() for f in files}, inputs, outputs)


def known(board: Board, folder: Path, loops: int, stack: int = 0, word: int = 0) -> Image:
    """A step of known length and stack, of so many arguments that some are on the stack."""
    defines = [f"KNOWN_LOOPS={loops}", f"KNOWN_STACK={stack}", f"KNOWN_WORD={word:#x}"]
    return build(board, [probe("known", "S", (1,) * 5, (1,) * 4)], folder, defines=defines)


def wrong(board: Board, folder: Path, *defines: str) -> Image:
    return build(board, [probe("wrong", "c", (1,), (1,))], folder, defines=defines)


@pytest.mark.parametrize(("loops", "length"), [(0, 2), (10, 23), (1000, 2003), (49152, 98307)])
def test_loops_of_known_length_are_counted_exactly(
    board: Board, tmp_path: Path, loops: int, length: int
) -> None:
    counted = count_instructions(known(board, tmp_path, loops), ZEROS)
    assert counted.tolist() == [length] * 3


def test_a_loop_that_overruns_the_clock_is_counted_with_a_coarser_one(
    board: Board, tmp_path: Path
) -> None:
    # 733 * 4096: see known.S.
    counted = count_instructions(known(board, tmp_path, 733 << 12), ZEROS)
    np.testing.assert_allclose(counted, 2 * (733 << 12) + 3, rtol=0, atol=4)


@pytest.mark.parametrize("depth", [0, 4, 100, 508])
def test_a_stack_of_known_depth_is_found_though_it_holds_the_paint(
    board: Board, tmp_path: Path, depth: int
) -> None:
    paint = re.findall(r"paints\[2\] = \{(\w+)u, (\w+)u\}", (SOURCES / "harness.c").read_text())
    for i, word in enumerate(paint[0]):
        image = known(board, tmp_path / str(i), 1, depth, int(word, 16))
        assert stack_bytes(image, ZEROS).tolist() == [depth] * 3


@pytest.mark.parametrize(
    ("deed", "message"),
    [
        (1, "wrote outside of a buffer"),
        (2, "wrote outside of a buffer"),
        (3, "changed its input"),
        (4, "wrote outside of a buffer"),
        (5, "exception"),
    ],
)
def test_a_step_that_does_what_it_may_not_is_caught(
    board: Board, tmp_path: Path, deed: int, message: str
) -> None:
    image = wrong(board, tmp_path)
    for skew in (False, True):
        with pytest.raises(ToolError, match=message):
            run(image, np.array([[0], [deed]], np.int16), skew=skew)


def test_a_refusal_ends_the_run_and_its_status_is_told(board: Board, tmp_path: Path) -> None:
    result = run(wrong(board, tmp_path), np.array([[0], [6], [0]], np.int16), trace=True)
    assert result.status == 2
    assert result.outputs.tolist() == [[0], [6]]
    first, second = (np.frombuffer(state, "<i2").tolist() for state in result.states)
    assert (first, second) == ([7, 0, 0, 0], [7, 0, 6, 0])


def test_states_go_in_and_out(board: Board, tmp_path: Path) -> None:
    image = wrong(board, tmp_path)
    state = bytes(range(8))
    inputs = np.array([[9], [10]], np.int16)
    result = run(image, inputs, state)
    assert (result.status, result.state, result.outputs.tolist()) == (0, state, [[9], [10]])
    for other in (state + b"\0", state[:-1]):
        with pytest.raises((ToolError, ValueError)):
            run(image, inputs, other)


def test_floats_and_a_heap_are_found(board: Board, tmp_path: Path) -> None:
    found = {}
    # Without a C library there is no heap either.
    library = bool(board.toolchain.specs)
    for define in ("WRONG_NOTHING", "WRONG_FLOAT", *(["WRONG_HEAP"] if library else [])):
        image = wrong(board, tmp_path / define, define)
        elf = minimal(image)
        floats = binary.float_symbols(image, elf) + binary.float_instructions(image, elf)
        found[define] = bool(floats), bool(binary.heap_symbols(image, elf))
    assert found == {
        "WRONG_NOTHING": (False, False),
        "WRONG_FLOAT": (True, False),
        **({"WRONG_HEAP": (False, True)} if library else {}),
    }


def test_a_compiler_warning_is_an_error(board: Board, tmp_path: Path) -> None:
    model = probe("wrong", "c", (1,), (1,))
    bad = model.sources["wrong.c"] + b"\nint unused(int a);\nint unused(int a) { return 0; }\n"
    changed = Model("wrong", {**model.sources, "wrong.c": bad}, (1,), (1,))
    with pytest.raises(ToolError, match="unused"):
        build(board, [changed], tmp_path)


def test_sizes_are_those_of_the_linked_pieces(board: Board, tmp_path: Path) -> None:
    image = build(board, [Model("sized", SIZED, (1,), (1,))], tmp_path)
    found = sizes(image)
    assert (found.weights, found.tables) == (100, 56)
    # The state; and a variable with a first value, which takes flash as well, and one without.
    assert (found.state, found.static) == (12, 8 + 4)
    step, table = (
        next(p for p in pieces(tmp_path / "minimal_sized.map") if p.section == name)
        for name in (".text.sized_step", ".text.edgernn_value")
    )
    assert found.flash == found.weights + found.tables + found.code
    # The call of the step, and words of alignment; AArch64 has functions at multiples of 16.
    most = 160 if "aarch64" in board.toolchain.prefix else 80
    assert 0 <= found.code - step.size - table.size - 8 < most


@pytest.mark.parametrize("name", ["mps2-an386", "mps3-an547", "rv32imc", "virt"])
def test_the_count_is_that_of_a_trace_of_every_instruction(name: str, tmp_path: Path) -> None:
    """QEMU's own log of what it executed knows nothing of clocks."""
    require([BOARDS[name]])
    image = known(BOARDS[name], tmp_path, 500)
    executed = trace(image, ZEROS[0])
    assert executed == ["known_step"] * 1003
    assert count_instructions(image, ZEROS[:1]).tolist() == [1003]
