"""The C of a job, compiled here: generated from the program, so it is no code from outside."""

from __future__ import annotations

import tempfile
from pathlib import Path

from edgernn.native.compiler import Compiler
from edgernn.runtime.errors import MissingExtraError
from edgernn.runtime.program import Program
from edgernn.runtime.window import Window


def compile_job(program: Program | Window, folder: Path) -> Path:
    """Write library.so for this very processor; returns its path.

    MissingExtraError without a compiler, EdgernnError if the C does not compile.
    """
    try:
        compiler = Compiler()
    except MissingExtraError:
        raise MissingExtraError(
            "there is no C compiler; install one, for instance with `sudo apt install gcc`, or "
            "name it in CC"
        ) from None
    flags, target = compiler.native_flags(), folder / "library.so"
    with tempfile.TemporaryDirectory(prefix="edgernn-", dir=folder) as scratch:
        if isinstance(program, Program):
            from edgernn.exporters.c import to_c
            from edgernn.native.library import compile_library

            files = to_c(program, "model")
            made = compile_library(program, files, "model", Path(scratch), compiler, flags, ())
        else:
            from edgernn.engines.native_window import compile_window
            from edgernn.exporters.c.window import to_c_window

            windowed = to_c_window(program, "model")
            made = compile_window(program, windowed, Path(scratch), compiler, flags)
        made.replace(target)
    return target
