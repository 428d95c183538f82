"""A program as a folder of C: the model, the engine, and what build systems want beside them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from edgernn.exporters.c.header import header
from edgernn.exporters.c.identifiers import model_name
from edgernn.exporters.c.model import Model
from edgernn.exporters.c.project import project_files
from edgernn.exporters.c.source import source
from edgernn.runtime.program import Program
from edgernn.runtime.validate import validate

ENGINE: Final = Path(__file__).parent / "engine"


def to_c(program: Program, name: str = "model") -> dict[str, bytes]:
    """File name -> content: <name>.h and <name>.c, the engine, C99 for any compiler, an example,
    and the project files of CMake, Arduino, ESP-IDF and Zephyr, some of them in folders.

    name: prefix of every symbol, a lower-case C identifier. Equal programs give equal bytes.
    Raises InputError for a name that cannot be one; FileFormatError for a program that is not
    valid.
    """
    validate(program)
    model = Model(program, model_name(name))
    engine = engine_files()
    version = engine_version(engine)
    files = {f"{name}.h": header(model, version), f"{name}.c": source(model, version)}
    files |= project_files(model, version, engine)
    return {file: text.encode() for file, text in files.items()} | engine


def engine_files() -> dict[str, bytes]:
    """The engine, the same for every model: file name -> content."""
    return {path.name: path.read_bytes() for path in sorted(ENGINE.iterdir())}


def engine_version(engine: Mapping[str, bytes]) -> str:
    """The version of edgernn that the engine is of."""
    found = re.search(r'#define EDGERNN_VERSION "([^"]+)"', engine["edgernn.h"].decode())
    assert found is not None
    return found[1]
