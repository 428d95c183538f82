"""The exported C on every board: the same bits as NumPy, in outputs and states, step after step."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import pairwise

import numpy as np
import pytest

from edgernn.runtime import StepRuntime
from edgernn.runtime.state import state_from_bytes, state_to_bytes
from firmware_tests import binary
from firmware_tests.boards import BOARDS, Board
from firmware_tests.build import Image, build, minimal
from firmware_tests.conftest import require
from firmware_tests.emulator import count_instructions, run, trace
from firmware_tests.models import FOREIGN, expected, first_difference, models, programs
from firmware_tests.sizes import pieces

EDGERNN_ERROR_STATE = 2
BUILDS = {
    "O2": ("-O2", ()),
    "portable": ("-O2", ("EDGERNN_PORTABLE",)),
    "Os": ("-Os", ()),
    "O3": ("-O3", ()),
}

ImageOf = Callable[..., Image]


def builds_of(board: Board) -> list[str]:
    """What is tried on a board: of AArch64, whose kernels are tested on the desk as well, less."""
    return [kind for kind in BUILDS if board.kernels != "neon" or kind in ("O2", "portable")]


CASES = [(name, kind) for name, board in BOARDS.items() for kind in builds_of(board)]


@pytest.fixture(scope="session")
def image_of(tmp_path_factory: pytest.TempPathFactory) -> ImageOf:
    """The image of all models for a board, built once: (board, key of BUILDS) -> Image."""

    @cache
    def made(name: str, kind: str) -> Image:
        optimize, defines = BUILDS[kind]
        folder = tmp_path_factory.mktemp(f"{name}-{kind}")
        return build(BOARDS[name], models(), folder, optimize, defines)

    return lambda board, kind="O2": made(board.name, kind)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_outputs_and_states_are_those_of_numpy(name: str, image_of: ImageOf, kind: str) -> None:
    board = BOARDS[name]
    require([board])
    image = image_of(board, kind)
    differing = {}
    for i, model in enumerate(programs()):
        wanted = expected(model)
        # Every other one with buffers that are aligned to int16 and no better.
        result = run(image, wanted.inputs, model=model, trace=True, skew=i % 2 == 1)
        assert result.status == 0, model
        found = first_difference(result.outputs, wanted.outputs)
        if found or result.states != wanted.states:
            differing[model] = found or "a state"
    assert differing == {}


def test_the_kernels_are_those_of_the_core(board: Board, image_of: ImageOf) -> None:
    inputs = expected("gru").inputs[:1]
    assert run(image_of(board), inputs, model="gru").kernels == board.kernels
    assert run(image_of(board, "portable"), inputs, model="gru").kernels == "portable"


@pytest.mark.parametrize("name", ["all_cells", "structure_3"])
def test_a_state_moves_from_board_to_board_and_to_numpy_and_back(
    image_of: ImageOf, name: str
) -> None:
    require(BOARDS.values())
    program, wanted = programs()[name], expected(name)
    runtime = StepRuntime(program)
    sizes = np.cumsum([program.tensors[n].size for n in program.inputs])[:-1]
    state = state_to_bytes(program, runtime.state)
    # A part on each board, in this order and back, and between them one in NumPy.
    order = [*BOARDS.values(), *reversed(BOARDS.values())]
    ends = np.linspace(0, len(wanted.inputs), 2 * len(order) + 1, dtype=int).tolist()
    for part, (begin, end) in enumerate(pairwise(ends)):
        x = wanted.inputs[begin:end]
        if part % 2:
            result = run(image_of(order[part // 2]), x, state, name)
            outputs, state = result.outputs, result.state
        else:
            runtime.state = state_from_bytes(program, state)
            y = runtime.run_int(*(np.ascontiguousarray(v) for v in np.split(x, sizes, axis=1)))
            outputs = np.concatenate(y if isinstance(y, tuple) else (y,), axis=1)
            state = state_to_bytes(program, runtime.state)
        assert not first_difference(outputs, wanted.outputs[begin:end]), part
        assert state == wanted.states[end - 1], part


def test_a_state_that_is_not_the_models_is_refused_and_nothing_changes(
    board: Board, image_of: ImageOf
) -> None:
    image, wanted = image_of(board), expected("gru")
    foreign = run(image, wanted.inputs[:5], model=FOREIGN).state
    own = wanted.states[4]
    assert len(foreign) == len(own)
    for state in (foreign, bytes(len(own)), bytes([own[0] ^ 1]) + own[1:]):
        result = run(image, wanted.inputs[5:8], state, "gru")
        assert result.status == EDGERNN_ERROR_STATE
        # What the harness puts there before a step.
        assert (result.outputs == 0x7777).all()
        assert result.state == state
    assert run(image, wanted.inputs[5:8], own, "gru").status == 0


def test_no_heap_no_floats_and_of_the_c_library_only_string_h(
    board: Board, image_of: ImageOf
) -> None:
    for kind in builds_of(board):
        image = image_of(board, kind)
        for name in ("all_cells", "wide", "structure_3", "structure_5"):
            elf = minimal(image, name)
            assert binary.heap_symbols(image, elf) == [], name
            assert binary.float_symbols(image, elf) == [], name
            assert binary.float_instructions(image, elf) == [], name
            library = {p.file for p in pieces(elf.with_suffix(".map")) if "libc" in p.file}
            assert all("mem" in file.rpartition("(")[2] for file in library), library


def test_the_count_of_a_step_is_that_of_a_trace_of_every_instruction(
    board: Board, image_of: ImageOf
) -> None:
    image, x = image_of(board), expected("lstm").inputs[:1]
    assert count_instructions(image, x, "lstm").tolist() == [len(trace(image, x[0], "lstm"))]
