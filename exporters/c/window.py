"""A window program as a folder of C: its stages as models that are stepped, and what runs them."""

from __future__ import annotations

from edgernn.exporters.c.export import engine_files, engine_version
from edgernn.exporters.c.header import header
from edgernn.exporters.c.identifiers import model_name
from edgernn.exporters.c.source import source
from edgernn.exporters.c.window_header import window_header
from edgernn.exporters.c.window_model import WindowModel
from edgernn.exporters.c.window_project import window_project_files
from edgernn.exporters.c.window_source import window_source
from edgernn.runtime.window import Window, validate_window


def to_c_window(window: Window, name: str = "model") -> dict[str, bytes]:
    """File name -> content: <name>.h and <name>.c, which run a window; <name>_stage1.h and .c and
    so on, the stages; the engine, an example and the project files, as `to_c` gives them.

    name: prefix of every symbol, a lower-case C identifier. Equal programs give equal bytes.
    Raises InputError for a name that cannot be one; FileFormatError for a program that is not
    valid.
    """
    validate_window(window)
    model = WindowModel(window, model_name(name))
    engine = engine_files()
    version = engine_version(engine)
    files = {f"{name}.h": window_header(model, version), f"{name}.c": window_source(model, version)}
    for stage in model.stages:
        files |= {
            f"{stage.name}.h": header(stage, version),
            f"{stage.name}.c": source(stage, version),
        }
    files |= window_project_files(model, version, engine)
    return {file: text.encode() for file, text in files.items()} | engine
