"""What a model takes of a board's flash and RAM, from the linker map of its smallest firmware."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from firmware_tests.build import Image, empty, minimal
from firmware_tests.toolchain import ToolError, execute

_SECTION: Final = re.compile(
    r"^ ?(\.[\w.]+|\*fill\*|COMMON)?\s+0x([0-9a-f]+)\s+0x([0-9a-f]+)\s*(.*)$"
)
_MEMORY: Final = (".text", ".rodata", ".data", ".bss")


@dataclass(frozen=True)
class Sizes:
    """Bytes of the smallest firmware that steps a model, less those of the empty firmware.

    flash = weights + tables + code. weights: constants of the model's files. tables: constants of
    the engine's. code: instructions of both, of what they take from the C library, of the main
    program (about 50 bytes), first values of variables, and alignment. state: the model's state.
    static: other variables of model and engine. The input and output of the step are the
    application's and are not counted.
    """

    flash: int
    weights: int
    tables: int
    code: int
    state: int
    static: int


@dataclass(frozen=True)
class Piece:
    """An input section that the linker kept: its name, its place, and the file it came from."""

    section: str
    address: int
    size: int
    file: str


def pieces(linker_map: Path) -> list[Piece]:
    """What lies in the memory of a board, in order of addresses; padding has no file."""
    text = linker_map.read_text(encoding="utf-8", errors="replace")
    body = text.split("Linker script and memory map", 1)[1]
    # A long section name stands on a line of its own.
    lines = re.sub(r"^( \.\S+)\n\s+", r"\1 ", body, flags=re.MULTILINE).splitlines()
    found, output = [], ""
    for line in lines:
        if line[:1] == ".":
            output = line.split()[0]
        match = _SECTION.match(line)
        if match and line[:1] == " " and match[1] and output in _MEMORY:
            file = "" if match[1] == "*fill*" else match[4]
            found.append(Piece(match[1], int(match[2], 16), int(match[3], 16), file))
    return [piece for piece in found if piece.size]


def totals(image: Image, elf: Path) -> tuple[int, int]:
    """Bytes of flash and of RAM, without the stack, that the size tool finds in a firmware."""
    return _totals(f"{image.board.toolchain.prefix}size", elf, elf.stat().st_mtime_ns)


@cache
def _totals(tool: str, elf: Path, _changed: int) -> tuple[int, int]:
    printed = execute([tool, elf], elf.parent)
    text, data, bss = (int(number) for number in printed.splitlines()[1].split()[:3])
    return text + data, data + bss


def sizes(image: Image, model: str | None = None) -> Sizes:
    """The sizes of a model of an image."""
    name = image.models[image.index(model)].name
    elf = minimal(image, name)
    flash, ram = totals(image, elf)
    flash_empty, _ = totals(image, empty(image))
    found = pieces(elf.with_suffix(".map"))
    if sum(p.size for p in found) != flash + ram - _initialised(found):
        raise ToolError(f"the linker map of {elf} and its size do not agree")
    weights = tables = state = static = 0
    for piece in found:
        own, engine = piece.file in image.objects, piece.file.startswith("edgernn")
        # What the compiler itself keeps there, for vector registers, belongs to the code.
        literal = ".cst" in piece.section
        constant = piece.section.startswith((".rodata", ".srodata")) and not literal
        if own and constant and engine:
            tables += piece.size
        elif own and constant:
            weights += piece.size
        if own and piece.section.startswith((".bss", ".sbss", ".data", ".sdata", "COMMON")):
            static += piece.size
        if piece.section.endswith("bss.state") and not own:
            state += piece.size
    total = flash - flash_empty
    return Sizes(total, weights, tables, total - weights - tables, state, static)


def _initialised(found: list[Piece]) -> int:
    """What is counted twice, in flash and in RAM; a map has it once."""
    return sum(p.size for p in found if p.section.startswith((".data", ".sdata")))
