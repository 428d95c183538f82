"""The exported C computes the bits of the slow engine, whatever compiles it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgernn.runtime.program import Program
from tests.exporters import c_programs
from tests.exporters.c_host import (
    CLANG,
    CXX,
    GCC,
    NATIVE,
    Build,
    Stepper,
    library,
    require,
    write_all,
)
from tests.programs import reference_run

STEPS = 400
Streams = list[NDArray[np.int16]]
Result = tuple[Streams, dict[str, NDArray[np.int16]]]


@cache
def programs() -> dict[str, Program]:
    return {
        **c_programs.stacks(),
        **c_programs.structures(range(24)),
        "every_operator": c_programs.every_operator(),
        "functions": c_programs.functions(),
        "wide": c_programs.wide(4096, 5),
        "wide_and_odd": c_programs.wide(1021, 3, seed=1),
        "one_column": c_programs.wide(1, 9, seed=2),
    }


@cache
def reference(name: str) -> tuple[Streams, Result]:
    """Inputs of a program, and what the slow engine makes of them."""
    program = programs()[name]
    inputs = c_programs.streams(program, STEPS)
    return inputs, reference_run(program, inputs)


def same(got: Result, expected: Result, where: str) -> None:
    for i, (a, b) in enumerate(zip(got[0], expected[0], strict=True)):
        np.testing.assert_array_equal(a, b, err_msg=f"{where}, output {i}")
    assert set(got[1]) == set(expected[1]), where
    for name, value in got[1].items():
        np.testing.assert_array_equal(value, expected[1][name], err_msg=f"{where}, state {name}")


@pytest.mark.parametrize(
    "build",
    [
        GCC,
        Build(GCC.compiler, NATIVE),
        CLANG,
        Build(CLANG.compiler, NATIVE),
        CXX,
        Build(CXX.compiler, NATIVE),
        Build((*GCC.compiler, "-O3", "-funroll-loops")),
        Build((*GCC.compiler, "-Os", "-fsigned-char", "-fshort-enums"), NATIVE),
    ],
    ids=str,
)
def test_every_program_gives_the_bits_of_the_slow_engine(build: Build, tmp_path: Path) -> None:
    require(build.compiler[0])
    loaded = library(write_all(programs(), tmp_path), tmp_path / "all.so", build)
    for name, program in programs().items():
        inputs, expected = reference(name)
        stepper = Stepper(program, loaded, name)
        same(stepper.run(inputs), expected, name)
        # A second recording, after a reset, is the first one again.
        stepper.reset()
        same(stepper.run(inputs), expected, f"{name}, after a reset")
