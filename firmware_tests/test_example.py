"""The exported folder as a firmware project: its CMakeLists.txt, cross-compiled, on every board."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from edgernn.exporters.c import to_c
from firmware_tests.boards import BOARDS, Board
from firmware_tests.build import SOURCES, memory_script, toolchain_flags
from firmware_tests.conftest import require as needs
from firmware_tests.toolchain import execute
from tests.exporters.c_host import require
from tests.programs import random_program

SUPPORT = ("console.c", "semihosting.c")


def write(folder: Path) -> Path:
    program = random_program(["gru", "lstm"], [11, 6], 5, 0, 3)
    for name, content in to_c(program, "net").items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def cmake(source: Path, build: Path, *options: str) -> Path:
    """Build a folder's library and example; returns the example."""
    require("cmake", "ninja")
    execute(["cmake", "-S", source, "-B", build, "-G", "Ninja", *options], source)
    execute(["cmake", "--build", build], source)
    return build / "net_example"


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the example prints on this machine."""
    folder = tmp_path_factory.mktemp("host")
    example = cmake(write(folder / "c"), folder / "build")
    return subprocess.run([example], check=True, capture_output=True, text=True).stdout


# A library that is none for firmware has no printf for it either.
@pytest.mark.parametrize(
    "board",
    [board for board in BOARDS.values() if board.toolchain.specs],
    ids=lambda board: f"{board.core}",
)
def test_the_example_prints_on_the_board_what_it_prints_here(
    board: Board, printed: str, tmp_path: Path
) -> None:
    needs([board])
    gcc = f"{board.toolchain.prefix}gcc"
    flags = [*board.compile_flags, *toolchain_flags(board)]
    sources = [SOURCES / s for s in (board.toolchain.startup, *SUPPORT)]
    execute([gcc, *flags, "-DHARNESS", "-O2", "-c", *sources], tmp_path)
    (tmp_path / "memory.ld").write_text(memory_script(board), encoding="ascii")
    objects = [str(tmp_path / f"{s.stem}.o") for s in sources]
    link = ["-nostartfiles", "-Wl,--wrap=main", f"-L{tmp_path}", f"-T{SOURCES / 'sections.ld'}"]
    example = cmake(
        write(tmp_path / "c"),
        tmp_path / "build",
        "-DCMAKE_SYSTEM_NAME=Generic",
        "-DCMAKE_TRY_COMPILE_TARGET_TYPE=STATIC_LIBRARY",
        f"-DCMAKE_C_COMPILER={gcc}",
        f"-DCMAKE_C_FLAGS={' '.join([*flags, '-Werror'])}",
        f"-DCMAKE_EXE_LINKER_FLAGS={' '.join([*link, *objects])}",
    )
    command = [
        *(board.toolchain.emulator, *board.machine, "-display", "none", "-monitor", "none"),
        *("-serial", "none", "-semihosting-config", "enable=on,target=native"),
        *("-kernel", example),
    ]
    said = execute(command, tmp_path)
    assert said.splitlines() == printed.splitlines()
    assert len(printed.splitlines()) == 10
