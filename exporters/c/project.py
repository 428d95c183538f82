"""What stands beside the C files: an example, and the project files of four build systems."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from edgernn.exporters.c.layout import fill
from edgernn.exporters.c.model import Model
from edgernn.exporters.c.ports import Port

TEMPLATES: Final = Path(__file__).parent / "templates"
PLACES: Final = {
    "CMakeLists.txt": "CMakeLists.txt",
    "idf_component.yml": "idf_component.yml",
    "library.properties": "library.properties",
    "module.yml": "zephyr/module.yml",
}
"""Template -> where it goes."""
_EXAMPLES: Final = {
    "example_main.c": "example_main.c",
    "stream.ino": "examples/stream/stream.ino",
}
_SHOWN: Final = 8
"""Elements of an output that the examples print."""


def project_files(model: Model, version: str, engine: Iterable[str]) -> dict[str, str]:
    """Path -> text. version: of edgernn. engine: the names of the engine's files."""
    texts = texts_of(model.name, [model.name], version, engine) | {
        "manner": "one step at a time",
        "arrays": "\n".join(f"static int16_t {p.argument}[{p.macro}_SIZE];" for p in model.ports),
    }
    files = {}
    for template, place in (PLACES | _EXAMPLES).items():
        sketch = place.endswith(".ino")
        # What one time step looks like, in main and in a sketch's loop.
        body = _step(model, " " * (4 if sketch else 8), SERIAL if sketch else PRINTF)
        files[place] = filled(template, texts | body)
    return files


def texts_of(
    name: str, sources: Iterable[str], version: str, engine: Iterable[str]
) -> dict[str, str]:
    """What the build systems are told. sources: the model's C files, without their suffix."""
    return {
        "name": name,
        "version": version,
        "sources": " ".join(f"{source}.c" for source in sources),
        "engine": "\n".join(f"  {file}" for file in engine if file.endswith(".c")),
    }


PRINTF: Final = ('printf(" %d", {});',)
SERIAL: Final = ('Serial.print(" ");', "Serial.print({});")
"""How a number is printed."""


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
        printed += shown(port, "", show)
    arguments = ["&state", *(port.argument for port in model.ports)]
    return {
        "ramp": "\n".join(indent + line for line in ramp),
        "call": fill(
            f"{indent}const edgernn_status_t status = {model.name}_step(", arguments, ");"
        ),
        "print": "\n".join(indent + line for line in printed),
    }


def shown(port: Port, row: str, show: Sequence[str]) -> list[str]:
    """Lines that print a row of an output, or the beginning of it. row: "" or where it begins."""
    count = f"{port.macro}_SIZE" if port.tensor.size <= _SHOWN else str(_SHOWN)
    element = f"{port.argument}[{row}i]"
    return [
        f"for (i = 0; i < {count}; ++i) {{",
        *(f"    {line.format(element)}" for line in show),
        "}",
    ]


def filled(template: str, texts: Mapping[str, str]) -> str:
    """A template with every @word@ replaced."""
    text = (TEMPLATES / template).read_text(encoding="utf-8")
    return re.sub("@([a-z]+)@", lambda found: texts[found[1]], text)
