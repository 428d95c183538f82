"""A program as a folder of C: the model, and the engine beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from edgernn.exporters.c.identifiers import model_name
from edgernn.exporters.c.model import Model
from edgernn.runtime.program import Program
from edgernn.runtime.validate import validate

ENGINE: Final = Path(__file__).parent / "engine"


def to_c(program: Program, name: str = "model") -> dict[str, bytes]:
    """File name -> content: <name>.h, <name>.c and the engine, C99, for any compiler.

    name: prefix of every symbol, a lower-case C identifier. Equal programs give equal bytes.
    Raises InputError for a name that cannot be one; FileFormatError for a program that is not
    valid.
    """
    validate(program)
    model = Model(program, model_name(name))
    files = {f"{name}.h": model.header().encode(), f"{name}.c": model.source().encode()}
    for path in sorted(ENGINE.iterdir()):
        files[path.name] = path.read_bytes()
    return files
