"""The exported C, compiled by the local compiler and stepped through ctypes."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgernn.exporters.c import to_c
from edgernn.runtime.program import Program
from edgernn.runtime.state import state_from_bytes, state_to_bytes

WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-pedantic", "-Werror")
PORTABLE = ("-DEDGERNN_PORTABLE",)


def compilers(*names: str) -> list[str]:
    """Those of the compilers that this machine has."""
    return [name for name in names if shutil.which(name)]


def write(program: Program, folder: Path, name: str = "net") -> list[Path]:
    """Write the exported files; returns the C sources but for the example."""
    folder.mkdir(parents=True, exist_ok=True)
    sources = []
    for file, content in to_c(program, name).items():
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        if path.suffix == ".c" and file != "example_main.c":
            sources.append(path)
    return sources


class HostC:
    """A program's step as the local compiler builds it."""

    def __init__(
        self, program: Program, folder: Path, flags: Sequence[str] = PORTABLE, cc: str = "gcc"
    ) -> None:
        self.program = program
        library = folder / "net.so"
        sources = write(program, folder)
        command = [cc, "-std=c99", "-O2", "-shared", "-fPIC", *WARNINGS, *flags]
        done = subprocess.run(
            [*command, "-o", str(library), *map(str, sources)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        self._library = ctypes.CDLL(str(library))
        self._sizes = [program.tensors[t].size for t in program.outputs.values()]
        self.state = ctypes.create_string_buffer(
            len(state_to_bytes(program, {s.name: s.initial for s in program.states}))
        )
        self._library.net_reset(self.state)

    def step(self, *x: NDArray[np.int16]) -> tuple[int, list[NDArray[np.int16]]]:
        """The status, and the outputs in order."""
        # Every array ends where its memory ends, so that a sanitizer sees one element too far.
        ins = [np.ascontiguousarray(v) for v in x]
        outs = [np.full(n, 12345, np.int16) for n in self._sizes]
        pointers = [ctypes.c_void_p(v.ctypes.data) for v in (*ins, *outs)]
        return self._library.net_step(self.state, *pointers), outs

    def run(
        self, inputs: Sequence[NDArray[np.int16]], state: Mapping[str, Any] | None = None
    ) -> tuple[list[NDArray[np.int16]], dict[str, NDArray[np.int16]]]:
        """Inputs (T, F) each; outputs (T, O) each, and the last states."""
        if state is not None:
            self.state.raw = state_to_bytes(self.program, state)
        results: list[list[NDArray[np.int16]]] = [[] for _ in self._sizes]
        for t in range(len(inputs[0])):
            status, outs = self.step(*(x[t] for x in inputs))
            assert status == 0
            for result, value in zip(results, outs, strict=True):
                result.append(value)
        return [np.stack(r) for r in results], state_from_bytes(self.program, self.state.raw)
