"""Every family of vector kernels that can run here gives the bits of the slow engine.

Those of x86 run on this processor if it has their instructions, those of 64-bit Arm under qemu.
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from edgernn.runtime.program import UNIT, Matrix, Operator, Program
from edgernn.runtime.state import state_from_bytes, state_to_bytes
from tests.exporters import c_programs, test_c_operators
from tests.exporters.c_host import CLANG, GCC, Build, Stepper, execute, library, require, write_all
from tests.exporters.c_table import write_table
from tests.exporters.test_c import Result, Streams, same
from tests.exporters.test_c_sanitizers import DRIVER, SANITIZERS
from tests.programs import random_program, reference_run

STEPS = 60
CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Family:
    """flags: for the compiler. features: what the processor must have, as Linux calls it."""

    name: str
    flags: tuple[str, ...]
    features: frozenset[str]

    def __str__(self) -> str:
        return self.name

    def require(self) -> None:
        """Skip where the processor has no such instructions."""
        if platform.machine() not in ("x86_64", "AMD64"):
            pytest.skip(f"{self.name} is of x86-64, this is {platform.machine()}")
        text = CPUINFO.read_text() if CPUINFO.exists() else ""
        present = next((line for line in text.splitlines() if line.startswith("flags")), "")
        if missing := sorted(self.features - set(present.split())):
            pytest.skip(f"this processor has no {', '.join(missing)}")


AVX2 = Family("avx2", ("-mavx2",), frozenset({"avx2"}))
AVX512 = Family(
    "avx512",
    ("-mavx2", "-mavx512bw", "-mavx512vl", "-mavx512vnni"),
    frozenset({"avx2", "avx512f", "avx512bw", "avx512vl", "avx512_vnni"}),
)
NEON = Build(("aarch64-linux-gnu-gcc", "-std=c99"), ("-static",))
QEMU = "qemu-aarch64-static"
NEON_CASES = (
    *("rescale", "activation", "product", "add_0"),
    *("maximum", "select", "mask", "lookup", "rsqrt"),
)
TRAPS = ("-fsanitize=undefined", "-fsanitize-undefined-trap-on-error")


def extreme(rng: np.random.Generator, rows: int, columns: int) -> Matrix:
    """A product whose sums come as close to the ends of int32 as may be, and every shift."""
    weight = rng.choice([-127, -1, 0, 1, 127], (rows, columns)).astype(np.int8)
    any_weight = rng.integers(-127, 128, (rows, columns)).astype(np.int8)
    weight = np.where(rng.random((rows, 1)) < 0.5, weight, any_weight)
    room = (1 << 31) - 1 - 32768 * np.abs(weight.astype(np.int64)).sum(axis=1)
    part = rng.choice([-1.0, -0.5, 0.0, 0.001, 1.0], rows)
    multiplier = rng.choice([16384, 16385, 23170, 32766, 32767], rows)
    return Matrix(
        weight,
        np.trunc(room * part).astype(np.int64),
        multiplier.astype(np.int32),
        rng.integers(17, 33, rows).astype(np.int32),
    )


def products(seed: int, sizes: list[tuple[int, int]]) -> Program:
    """For each (rows, columns) a product, and a sum of two: the ways there are into the kernels."""
    rng = np.random.default_rng(seed)
    tensors, operators, outputs = {}, [], {}
    for i, (rows, columns) in enumerate(sizes):
        x = f"x{columns}"
        tensors[x] = (columns, UNIT)
        for part in ("a", "b", "c"):
            tensors[f"{part}{i}"] = (rows, UNIT)
            matrix = extreme(rng, rows, columns)
            operators.append(Operator("linear", (x,), (f"{part}{i}",), matrix))
        tensors[f"sum{i}"] = (rows, UNIT)
        operators.append(Operator("add", (f"a{i}", f"b{i}"), (f"sum{i}",)))
        outputs |= {f"c{i}": f"c{i}", f"sum{i}": f"sum{i}"}
    inputs = tuple(name for name in tensors if name.startswith("x"))
    return c_programs.made(tensors, operators, inputs, outputs)


@cache
def programs() -> dict[str, Program]:
    """Sizes on both sides of the kernels' blocks: rows of 4, 8, 16 and 32, columns of 4 to 16."""
    rng = np.random.default_rng(7)
    near = [(r, c) for r in (1, 4, 15, 16, 17, 31, 32, 33, 48, 67) for c in (1, 5, 8, 16, 31)]
    others = [(int(r), int(c)) for r, c in rng.integers(1, 80, (20, 2))]
    cells = ["gru", "lstm", "rnn_tanh", "rnn_relu"]
    stacks = {
        f"stack_{i}": random_program(
            [str(c) for c in rng.choice(cells, 2)],
            [int(n) for n in rng.integers(1, 70, 2)],
            int(rng.integers(1, 40)),
            i,
            int(rng.integers(0, 20)),
        )
        for i in range(5)
    }
    return {
        "block_edges": products(0, near),
        "any_size": products(1, others),
        **stacks,
        "gru_64": random_program(["gru"], [64], 32, 5),
        **c_programs.structures(range(50, 74)),
        "every_operator": c_programs.every_operator(),
        "functions": c_programs.functions(),
        "wide": c_programs.wide(1100, 9, seed=3),
    }


@cache
def reference(name: str) -> tuple[Streams, Result]:
    program = programs()[name]
    inputs = c_programs.streams(program, STEPS)
    return inputs, reference_run(program, inputs)


@pytest.mark.parametrize("compiler", [GCC, CLANG], ids=["gcc", "clang"])
@pytest.mark.parametrize("family", [AVX2, AVX512], ids=str)
def test_a_family_gives_the_bits_of_the_slow_engine(
    family: Family, compiler: Build, tmp_path: Path
) -> None:
    family.require()
    require(compiler.compiler[0])
    build = Build(compiler.compiler, family.flags)
    loaded = library(write_all(programs(), tmp_path), tmp_path / "all.so", build)
    loaded.edgernn_kernels.restype = ctypes.c_char_p
    assert loaded.edgernn_kernels() == family.name.encode()
    for name, program in programs().items():
        inputs, expected = reference(name)
        same(Stepper(program, loaded, name).run(inputs), expected, name)


# The best family of this processor, which -march=native takes, has the following elsewhere.


def test_the_elementwise_operators_of_avx2_over_all_there_is(tmp_path: Path) -> None:
    AVX2.require()
    require("gcc")
    cases = test_c_operators.cases()
    sources = write_all({name: program for name, (program, _, _) in cases.items()}, tmp_path)
    loaded = library(sources, tmp_path / "all.so", Build(GCC.compiler, AVX2.flags))
    for name, (program, inputs, expected) in cases.items():
        same(Stepper(program, loaded, name).run(inputs), expected, name)


def test_avx2_reads_and_writes_nothing_beyond_an_array(tmp_path: Path) -> None:
    AVX2.require()
    require("gcc")
    made = {name: program for name, program in programs().items() if name != "block_edges"}
    driver = driven(made, tmp_path, Build(GCC.compiler, (*AVX2.flags, *SANITIZERS)))
    for name, program in made.items():
        inputs, expected = reference(name)
        same(run([driver], program, name, inputs), expected, name)


def test_neon_gives_the_bits_of_the_slow_engine(tmp_path: Path) -> None:
    require(NEON.compiler[0], QEMU)
    cases = {name: (program, *reference(name)) for name, program in programs().items()}
    elementwise = test_c_operators.cases()
    cases |= {name: elementwise[name] for name in NEON_CASES}
    made = {name: program for name, (program, _, _) in cases.items()}
    driver = driven(made, tmp_path, Build(NEON.compiler, (*NEON.flags, "-O2", *TRAPS)))
    assert b"neon\0" in driver.read_bytes()
    for name, (program, inputs, expected) in cases.items():
        same(run([QEMU, "-cpu", "cortex-a53", driver], program, name, inputs), expected, name)


def driven(programs: Mapping[str, Program], folder: Path, build: Build) -> Path:
    """An executable that steps any of the programs."""
    sources = write_table(programs, folder)
    table = ("-DTABLE=portable_models", "-I", folder)
    executable = folder / "driver"
    execute([*build.compiler, *build.flags, *table, "-o", executable, *sources, DRIVER])
    return executable


def run(command: list[str | Path], program: Program, name: str, inputs: Streams) -> Result:
    """Outputs (T, O) and last states, from the initial state on."""
    folder, steps = Path(command[-1]).parent, len(inputs[0])
    initial = state_to_bytes(program, {s.name: s.initial for s in program.states})
    rows = b"".join(x[t].tobytes() for t in range(steps) for x in inputs)
    (folder / "input").write_bytes(initial + rows)
    execute([*command, name, steps, folder / "input", folder / "output"])
    data = (folder / "output").read_bytes()
    sizes = [program.tensors[t].size for t in program.outputs.values()]
    values = np.frombuffer(data, "<i2", steps * sum(sizes)).reshape(steps, -1)
    outputs = [values[:, a:b] for a, b in pairwise(np.cumsum([0, *sizes]))]
    return outputs, state_from_bytes(program, data[2 * values.size :])
