"""The exported C, compiled by the local compiler and stepped through ctypes."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgernn.exporters.c import to_c
from edgernn.runtime.program import Program
from edgernn.runtime.state import state_from_bytes, state_to_bytes

WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-pedantic", "-Werror")
PORTABLE = ("-DEDGERNN_PORTABLE",)
NATIVE = ("-march=native",)


@dataclass(frozen=True)
class Build:
    """How C is compiled: the compiler with the language, and the family of kernels."""

    compiler: tuple[str, ...]
    flags: tuple[str, ...] = PORTABLE

    def __str__(self) -> str:
        family = "portable" if PORTABLE[0] in self.flags else "native"
        return f"{self.compiler[0]}-{family}"


GCC = Build(("gcc", "-std=c99"))
CLANG = Build(("clang", "-std=c99"))
CXX = Build(("g++", "-x", "c++", "-std=c++11"))


def require(*tools: str) -> None:
    """For tests: skip without a program; under CI=true nothing may be skipped."""
    absent = [tool for tool in tools if shutil.which(tool) is None]
    if absent and os.environ.get("CI") == "true":
        pytest.fail(f"not installed: {', '.join(absent)}")
    if absent:
        pytest.skip(f"not installed: {', '.join(absent)}")


def execute(command: Sequence[object], folder: Path | None = None, timeout: float = 120) -> str:
    """What a command prints; the test fails with it if the command does."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        timeout=timeout,
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}"
    return done.stdout


def write(program: Program, folder: Path, name: str = "net") -> list[Path]:
    """Write the exported files; returns the C sources but for the example."""
    sources = []
    for file, content in to_c(program, name).items():
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        if path.suffix == ".c" and file != "example_main.c":
            sources.append(path)
    return sources


def write_all(programs: Mapping[str, Program], folder: Path) -> list[Path]:
    """Several models in one folder, their engine once; returns the sources."""
    return sorted({path for name, p in programs.items() for path in write(p, folder, name)})


def library(sources: Sequence[Path], target: Path, build: Build = GCC) -> ctypes.CDLL:
    """Compile without a warning into a shared library, and load it."""
    command = [*build.compiler, "-O2", "-shared", "-fPIC", *WARNINGS, *build.flags, "-o", target]
    execute([*command, *sources])
    return ctypes.CDLL(str(target))


class Stepper:
    """A program's step in a loaded library."""

    def __init__(self, program: Program, loaded: ctypes.CDLL, name: str) -> None:
        self.program = program
        self._step = getattr(loaded, f"{name}_step")
        self._reset = getattr(loaded, f"{name}_reset")
        self._check = getattr(loaded, f"{name}_check")
        self._sizes = [program.tensors[t].size for t in program.outputs.values()]
        initial = {s.name: s.initial for s in program.states}
        self.state = ctypes.create_string_buffer(len(state_to_bytes(program, initial)))
        self.reset()

    def reset(self) -> None:
        """The initial state."""
        self._reset(self.state)

    def check(self) -> int:
        """Whether the state is this program's."""
        return int(self._check(self.state))

    def step(self, *x: NDArray[np.int16]) -> tuple[int, list[NDArray[np.int16]]]:
        """The status, and the outputs in order; an output that was not written holds 12345."""
        ins = [np.ascontiguousarray(v) for v in x]
        outs = [np.full(n, 12345, np.int16) for n in self._sizes]
        pointers = [ctypes.c_void_p(v.ctypes.data) for v in (*ins, *outs)]
        return int(self._step(self.state, *pointers)), outs

    def call(self, *pointers: Any) -> int:
        """The step with pointers as they are given."""
        return int(self._step(*pointers))

    def run(
        self, inputs: Sequence[NDArray[np.int16]], state: Mapping[str, Any] | None = None
    ) -> tuple[list[NDArray[np.int16]], dict[str, NDArray[np.int16]]]:
        """Inputs (T, F) each; outputs (T, O) each, and the last states."""
        if state is not None:
            self.state.raw = state_to_bytes(self.program, state)
        length = len(inputs[0])
        ins = [np.ascontiguousarray(x) for x in inputs]
        outs = [np.full((length, n), 12345, np.int16) for n in self._sizes]
        arrays = [(v.ctypes.data, v.strides[0]) for v in (*ins, *outs)]
        for t in range(length):
            status = self._step(self.state, *(ctypes.c_void_p(p + t * n) for p, n in arrays))
            assert status == 0
        return outs, state_from_bytes(self.program, self.state.raw)


class HostC(Stepper):
    """A program's step as the local compiler builds it, by itself."""

    def __init__(
        self, program: Program, folder: Path, flags: Sequence[str] = PORTABLE, cc: str = "gcc"
    ) -> None:
        build = Build((cc, "-std=c99"), tuple(flags))
        super().__init__(program, library(write(program, folder), folder / "net.so", build), "net")
