"""What stands beside the C files: an example, and the project files of four build systems."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from edgernn.exporters.c.layout import fill
from edgernn.exporters.c.model import Model

TEMPLATES: Final = Path(__file__).parent / "templates"
_PLACES: Final = {
    "CMakeLists.txt": "CMakeLists.txt",
    "example_main.c": "example_main.c",
    "idf_component.yml": "idf_component.yml",
    "library.properties": "library.properties",
    "module.yml": "zephyr/module.yml",
    "stream.ino": "examples/stream/stream.ino",
}
"""Template -> where it goes."""
_SHOWN: Final = 8
"""Elements of an output that the examples print."""


def project_files(model: Model, version: str, engine: Sequence[str]) -> dict[str, str]:
    """Path -> text. version: of edgernn. engine: the names of the engine's C files."""
    texts = {
        "name": model.name,
        "version": version,
        "engine": "\n".join(f"  {file}" for file in engine),
        "arrays": "\n".join(f"static int16_t {p.argument}[{p.macro}_SIZE];" for p in model.ports),
    }
    files = {}
    for template, place in _PLACES.items():
        sketch = place.endswith(".ino")
        # What one time step looks like, in main and in a sketch's loop.
        body = _step(model, " " * (4 if sketch else 8), _SERIAL if sketch else _PRINTF)
        files[place] = _filled((TEMPLATES / template).read_text(encoding="utf-8"), texts | body)
    return files


_PRINTF: Final = ('printf(" %d", {});',)
_SERIAL: Final = ('Serial.print(" ");', "Serial.print({});")


def _step(model: Model, indent: str, show: Sequence[str]) -> dict[str, str]:
    """The parts of a time step, in lines of C."""
    ramp, printed = [], []
    for port in model.inputs:
        ramp += [
            f"/* From floats: {port.helper}(values, {port.argument}); */",
            f"for (i = 0; i < {port.macro}_SIZE; ++i) {{",
            f"    {port.argument}[i] = (int16_t)(500 * t);",
            "}",
        ]
    for port in model.outputs:
        count = f"{port.macro}_SIZE" if port.tensor.size <= _SHOWN else str(_SHOWN)
        printed += [
            f"for (i = 0; i < {count}; ++i) {{",
            *(f"    {line.format(f'{port.argument}[i]')}" for line in show),
            "}",
        ]
    arguments = ["&state", *(port.argument for port in model.ports)]
    return {
        "ramp": "\n".join(indent + line for line in ramp),
        "call": fill(
            f"{indent}const edgernn_status_t status = {model.name}_step(", arguments, ");"
        ),
        "print": "\n".join(indent + line for line in printed),
    }


def _filled(template: str, texts: Mapping[str, str]) -> str:
    """The template with every @word@ replaced."""
    return re.sub("@([a-z]+)@", lambda found: texts[found[1]], template)
