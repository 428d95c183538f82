"""The step in C behind the interface of an engine: a built library, or exported C."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn.native.compiler import Compiler
from edgernn.native.library import compile_library
from edgernn.runtime.engine import StepRuntime
from edgernn.runtime.errors import FileFormatError
from edgernn.runtime.native import NativeEngine
from edgernn.runtime.program import Program

Int16Array = NDArray[np.int16]
PORTABLE: Final = ("-DEDGERNN_PORTABLE",)
"""Flags for plain C."""


class LibraryEngine:
    """A library of `edgernn build`, as `StepRuntime` steps it.

    path: of the library. program: what it was built from; FileFormatError if it was another, or if
    the library does not fit this machine.
    """

    def __init__(self, path: str | os.PathLike[str], program: Program) -> None:
        native = NativeEngine(program, path)
        self.kernels, self.binding = native.kernels, native.binding
        self.name = f"native, {self.kernels} kernels"
        self.runtime = StepRuntime(program, native)

    def step(
        self, inputs: Mapping[str, Int16Array], states: Mapping[str, Int16Array]
    ) -> tuple[dict[str, Int16Array], dict[str, Int16Array]]:
        """One step: (outputs, next states), fresh arrays (size,) by name.

        inputs, states: name -> (size,) int16. Raises InputError for one that does not fit.
        """
        runtime = self.runtime
        runtime.state = states
        y = runtime.step_int(*(inputs[name] for name in runtime.program.inputs))
        values = y if isinstance(y, tuple) else (y,)
        return dict(zip(runtime.program.outputs, values, strict=True)), runtime.state


class CEngine(LibraryEngine):
    """Exported C, compiled by a compiler of this machine.

    files: file name -> content, as `edgernn.exporters.c.to_c` gives it; it is going to run, so C
    from outside does not belong here. flags: for the compiler, for instance PORTABLE, or
    `Compiler.native_flags()`. cc: the compiler, by default this machine's. FileFormatError for C
    of another program, MissingExtraError without a compiler, EdgernnError if the C does not
    compile.
    """

    def __init__(
        self,
        program: Program,
        files: Mapping[str, bytes],
        flags: Sequence[str] = PORTABLE,
        cc: str | None = None,
    ) -> None:
        compiler = Compiler(cc)
        headers = [name[:-2] for name in files if name.endswith(".h") and "/" not in name]
        models = [name for name in headers if not name.startswith("edgernn")]
        if len(models) != 1 or f"{models[0]}.c" not in files:
            raise FileFormatError("the C is not that of one model; export it again")
        # A loaded library needs its file no longer.
        with tempfile.TemporaryDirectory(prefix="edgernn-") as folder:
            path = compile_library(program, files, models[0], Path(folder), compiler, flags, ())
            super().__init__(path, program)
        self.name = f"C, {compiler.version}, {self.kernels} kernels"
