"""What stands beside the C files of a window program."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from edgernn.exporters.c.layout import fill
from edgernn.exporters.c.ports import Port
from edgernn.exporters.c.project import PLACES, PRINTF, SERIAL, filled, shown, texts_of
from edgernn.exporters.c.window_header import call_arguments
from edgernn.exporters.c.window_model import WindowModel

_EXAMPLES: Final = {
    "example_window.c": "example_main.c",
    "window.ino": "examples/window/window.ino",
}


def window_project_files(model: WindowModel, version: str, engine: Iterable[str]) -> dict[str, str]:
    """Path -> text. version: of edgernn. engine: the names of the engine's files."""
    sources = [model.name, *(stage.name for stage in model.stages)]
    ramp = [line for port in model.inputs for line in _ramp(port)]
    texts = texts_of(model.name, sources, version, engine) | {
        "manner": "over whole windows",
        "arrays": "\n".join(f"static int16_t {p.argument}[{_length(p)}];" for p in model.ports),
        "buffer": f"static int16_t buffer[{model.name.upper()}_BUFFER_SIZE(STEPS)];",
        "ramp": _indented(ramp),
        "call": fill(
            f"    const edgernn_status_t status = {model.name}_window(",
            call_arguments(model, "STEPS"),
            ");",
        ),
    }
    files = {}
    for template, place in (PLACES | _EXAMPLES).items():
        if place.endswith(".ino"):
            lines = _printed(model, SERIAL, (), "Serial.println();", ())
        else:
            step, once = ('printf("step %d:", t);',), ('printf("once:");',)
            lines = _printed(model, PRINTF, step, 'printf("\\n");', once)
        files[place] = filled(template, texts | {"print": _indented(lines)})
    return files


def _length(port: Port) -> str:
    return f"STEPS * {port.macro}_SIZE" if port.every else f"{port.macro}_SIZE"


def _indented(lines: Iterable[str]) -> str:
    return "\n".join(f"    {line}" for line in lines)


def _ramp(port: Port) -> list[str]:
    return [
        f"/* From floats: {port.helper}(values, {port.argument}, STEPS); */",
        "for (t = 0; t < STEPS; ++t) {",
        f"    for (i = 0; i < {port.macro}_SIZE; ++i) {{",
        f"        {port.argument}[t * {port.macro}_SIZE + i] = (int16_t)(500 * t);",
        "    }",
        "}",
    ]


def _printed(
    model: WindowModel, show: Sequence[str], step: Sequence[str], end: str, once: Sequence[str]
) -> list[str]:
    """A line for each step, and one for what there is once. step, once: how they begin."""
    lines: list[str] = []
    every = [port for port in model.outputs if port.every]
    single = [port for port in model.outputs if not port.every]
    if every:
        rows = [line for p in every for line in shown(p, f"t * {p.macro}_SIZE + ", show)]
        lines.append("for (t = 0; t < STEPS; ++t) {")
        lines += [f"    {line}" for line in (*step, *rows, end)] + ["}"]
    if single:
        lines += [*once, *(line for p in single for line in shown(p, "", show)), end]
    return lines
