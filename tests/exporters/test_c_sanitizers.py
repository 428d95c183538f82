"""The exported C under AddressSanitizer and UBSan, and what a mistake in the engine looks like."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from edgernn.runtime.program import Program
from edgernn.runtime.state import state_from_bytes, state_to_bytes
from tests.exporters import c_programs
from tests.exporters.c_host import CLANG, GCC, NATIVE, PORTABLE, Build, execute, require
from tests.exporters.c_table import write_table
from tests.exporters.test_c import Result, same
from tests.programs import reference_run

STEPS = 40
DRIVER = Path(__file__).parent / "step_driver.c"
SANITIZERS = (
    *("-g", "-O1", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"),
    "-fsanitize=address,undefined",
)
CLANG_ONLY = ("-fsanitize=implicit-conversion,integer-divide-by-zero,local-bounds",)


@cache
def programs() -> dict[str, Program]:
    stacks = c_programs.stacks()
    return {
        **{name: stacks[name] for name in ("gru", "lstm", "gru_of_one", "all_cells")},
        **c_programs.structures(range(20, 36), 30),
        "every_operator": c_programs.every_operator(),
        "functions": c_programs.functions(),
        "wide": c_programs.wide(4096, 5),
        "wide_and_odd": c_programs.wide(515, 6, seed=1),
        "one_column": c_programs.wide(1, 9, seed=2),
        "most_rows": c_programs.tall(65536),
    }


@cache
def case(name: str, restore: bool) -> tuple[int, bytes, Result]:
    """Steps, the driver's input, and what is to come of it; from any state if restore."""
    program, steps = programs()[name], 2 if name == "most_rows" else STEPS
    rng = np.random.default_rng(steps)
    x = c_programs.streams(program, steps)
    states = {s.name: s.initial for s in program.states}
    if restore:
        states = {n: rng.integers(-32768, 32768, len(v), np.int16) for n, v in states.items()}
    content = state_to_bytes(program, states) if restore else b""
    content += b"".join(v[t].tobytes() for t in range(steps) for v in x)
    return steps, content, reference_run(program, x, states)


def run(driver: Path, name: str, restore: bool) -> tuple[Result, Result]:
    """What the driver computes, and what the slow engine does."""
    program, folder = programs()[name], driver.parent
    steps, content, expected = case(name, restore)
    (folder / "input").write_bytes(content)
    count = steps if restore else -steps
    execute([driver, name, count, folder / "input", folder / "output"])
    data = (folder / "output").read_bytes()
    sizes = [program.tensors[t].size for t in program.outputs.values()]
    values = np.frombuffer(data, "<i2", steps * sum(sizes)).reshape(steps, -1)
    outputs = [values[:, a:b] for a, b in pairwise(np.cumsum([0, *sizes]))]
    return (outputs, state_from_bytes(program, data[2 * values.size :])), expected


@pytest.mark.parametrize(
    ("build", "restored"),
    [
        (Build(GCC.compiler, PORTABLE), 0),
        (Build(GCC.compiler, NATIVE), 1),
        (Build((*CLANG.compiler, *CLANG_ONLY), NATIVE), 0),
    ],
    ids=str,
)
def test_no_sanitizer_has_anything_to_say(build: Build, restored: int, tmp_path: Path) -> None:
    """Half of the programs from their initial state, half from any."""
    require(build.compiler[0])
    sources = write_table(programs(), tmp_path)
    driver = tmp_path / "driver"
    table = ("-DTABLE=portable_models", "-I", tmp_path)
    execute([*build.compiler, *SANITIZERS, *build.flags, *table, "-o", driver, *sources, DRIVER])
    for i, name in enumerate(programs()):
        restore = i % 2 == restored
        same(*run(driver, name, restore), f"{name}, restore {restore}")
