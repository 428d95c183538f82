"""How many instructions does a step take on the emulated boards, and how many bytes?

Measured again, beside what `firmware_tests` keeps. Needs the cross compilers and QEMU.
"""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.conftest import keep_all
from firmware_tests.boards import BOARDS
from firmware_tests.fit import TARGET_NAMES
from firmware_tests.table import measure_references
from firmware_tests.toolchain import missing


@pytest.mark.parametrize("name", BOARDS)
def test_instructions(benchmark: BenchmarkFixture, name: str) -> None:
    board = BOARDS[name]
    if absent := missing(board.toolchain):
        pytest.skip(f"{', '.join(absent)} not installed; `make toolchain` installs it")
    found = benchmark.pedantic(measure_references, args=(board,), rounds=1)  # type: ignore[no-untyped-call]
    target = TARGET_NAMES[name]
    keep_all(
        benchmark,
        [{"key": {"target": target, "model": m}, "costs": costs} for m, costs in found.items()],
    )
