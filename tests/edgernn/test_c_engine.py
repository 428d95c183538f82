"""Exported C as an engine under test, and the C of the library itself."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from edgernn.engines.native import PORTABLE, CEngine
from edgernn.exporters.c import to_c
from edgernn.runtime import Program
from edgernn.runtime.errors import (
    EdgernnError,
    FileFormatError,
)
from edgernn.runtime.library import library_path
from edgernn.streams import random_streams
from edgernn.verify import verify
from tests.exporters.c_host import CLANG, GCC, WARNINGS, Build, execute, require
from tests.libraries import altered, compiler
from tests.libraries import build as quick_build
from tests.programs import random_program

AARCH64 = "aarch64-linux-gnu-gcc"


@pytest.fixture
def program() -> Program:
    return random_program(["gru", "lstm"], [7, 5], 3, seed=1, head=2)


def rows(program: Program, engine: CEngine) -> tuple[int, int]:
    """Values compared and differing, over a thousand closed-loop steps."""
    result = verify(
        program,
        [(engine, None)],
        random_streams([program.tensors[n] for n in program.inputs], 1000, 3),
        {},
    )
    return result.rows[1].compared, result.rows[1].differing


@pytest.mark.parametrize("flags", [PORTABLE, None], ids=["portable", "native"])
def test_exported_c_is_an_engine_under_test(
    program: Program, flags: tuple[str, ...] | None
) -> None:
    flags = compiler().native_flags() if flags is None else flags
    engine = CEngine(program, to_c(program, "kws"), flags, "gcc")
    assert re.fullmatch(r"C, gcc [\d.]+, \w+ kernels", engine.name)
    assert ("portable" in engine.name) or flags != PORTABLE
    assert rows(program, engine) == (1000 * (2 + 7 + 5 + 5), 0)


def test_exported_c_with_a_wrong_weight_is_found(program: Program) -> None:
    compiler()
    compared, differing = rows(program, CEngine(program, altered(to_c(program, "kws"), "kws")))
    assert 0 < differing < compared


def test_exported_c_that_is_not_the_programs_is_refused(program: Program) -> None:
    compiler()
    other = random_program(["gru"], [4], 3, 2)
    with pytest.raises(FileFormatError, match="built from another program"):
        CEngine(program, to_c(other))
    for files in ({}, to_c(program, "one") | to_c(program, "two")):
        with pytest.raises(FileFormatError, match="not that of one model"):
            CEngine(program, files)
    with pytest.raises(EdgernnError, match="error"):
        CEngine(program, to_c(program) | {"model.c": b"#error not today\n"})


@pytest.mark.parametrize("chosen", [GCC, CLANG], ids=str)
def test_our_c_compiles_without_a_warning(program: Program, tmp_path: Path, chosen: Build) -> None:
    quick_build(program, tmp_path, (*chosen.flags, "-O2", *WARNINGS), cc=chosen.compiler[0])


LOADER = """
#include <dlfcn.h>
#include <stdio.h>
int main(int count, char **arguments)
{
    void *library = dlopen(arguments[count - 1], RTLD_NOW);
    const char *(*kernels)(void);
    if (library == NULL) {
        puts(dlerror());
        return 1;
    }
    *(void **)&kernels = dlsym(library, "edgernn_library_kernels");
    puts(kernels());
    return 0;
}
"""


def test_a_library_loads_where_there_is_no_cpython(program: Program, tmp_path: Path) -> None:
    """Nothing that is declared of it may be needed to load the library."""
    path = library_path(quick_build(program, tmp_path))
    (tmp_path / "loader.c").write_text(LOADER)
    execute(["gcc", "-o", tmp_path / "loader", tmp_path / "loader.c", "-ldl"])
    assert execute([tmp_path / "loader", path]) == "portable\n"


SANITIZED = """
import sys
import numpy as np
from edgernn.runtime import StepRuntime
path = sys.argv[1]
native = StepRuntime.load(path, engine="native")
program = native.program
rng = np.random.default_rng(0)
x = [rng.integers(-32768, 32768, (3, 50, program.tensors[n].size)).astype(np.int16)
     for n in program.inputs]
for t in range(50):
    native.step_int(*(np.ascontiguousarray(v[0, t]) for v in x))
native.run_int(*(v[0] for v in x))
native.run_int(*x)
native.run_int(*(v[:, :0] for v in x))
try:
    native.step_int(*(v[0, 0][:-1] for v in x))
except ValueError:
    print("done")
"""


def test_no_call_reads_or_writes_beyond_an_array(tmp_path: Path) -> None:
    """Under the address and the undefined-behaviour sanitizer."""
    from tests.runtime.sketches import several

    compiler()
    asan = execute(["gcc", "-print-file-name=libasan.so"]).strip()
    if not os.path.isabs(asan):
        require("libasan")
    flags = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    for number, model in enumerate((random_program(["gru"], [7], 3, 0, head=1), several())):
        folder = tmp_path / str(number)
        folder.mkdir()
        path = quick_build(model, folder, (*PORTABLE, *flags))
        done = subprocess.run(
            [sys.executable, "-c", SANITIZED, str(path)],
            cwd="/",
            env=os.environ | {"LD_PRELOAD": asan, "ASAN_OPTIONS": "detect_leaks=0"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout == "done\n", done.stderr
