"""Libraries of programs for the tests, as `edgernn build` makes them but for its verification."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgernn.exporters.c import to_c
from edgernn.native.compiler import Compiler
from edgernn.native.library import compile_library
from edgernn.runtime import Program, StepRuntime, save_program
from edgernn.runtime.library import library_path
from tests.exporters.c_host import PORTABLE, WARNINGS, require

QUICK = ("-O1",)
"""For tests that compile a lot: the optimizer takes most of the time."""


def compiler(command: str = "gcc") -> Compiler:
    """For tests: skips without it; under CI=true nothing may be skipped."""
    require(command)
    return Compiler(command)


def build(
    program: Program,
    folder: Path,
    flags: Sequence[str] = (*PORTABLE, *QUICK, *WARNINGS),
    features: Sequence[str] = (),
    cc: str = "gcc",
) -> Path:
    """Write model.safetensors and its library, compiled without a warning; returns the program."""
    path = folder / "model.safetensors"
    save_program(program, path)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        made = compile_library(
            program, to_c(program), "model", Path(scratch), compiler(cc), flags, features
        )
        made.replace(library_path(path))
    return path


def native(
    program: Program, folder: Path, flags: Sequence[str] = (*PORTABLE, *QUICK)
) -> StepRuntime:
    """A runtime of that program's library."""
    runtime = StepRuntime.load(build(program, folder, flags), engine="native")
    assert runtime.engine == "native"
    return runtime


def both(path: Path) -> tuple[StepRuntime, StepRuntime]:
    """A program file on the NumPy engine, and on its library."""
    return StepRuntime.load(path), StepRuntime.load(path, engine="native")


def listed(value: Any) -> list[np.ndarray]:
    """The outputs, of which a program with one output gives no tuple."""
    return list(value) if isinstance(value, tuple) else [value]


def altered(files: dict[str, bytes], name: str) -> dict[str, bytes]:
    """The same C with one weight changed, and the checksum of the right one."""
    text = files[f"{name}.c"].decode()
    place = re.search(r"EDGERNN_BLOCK[48]\((-?\d+),", text)
    assert place is not None
    value = "100" if int(place[1]) < 0 else "-100"
    changed = text[: place.start(1)] + value + text[place.end(1) :]
    return files | {f"{name}.c": changed.encode()}
