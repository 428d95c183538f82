"""What is in a linked firmware: functions of the heap, arithmetic of floats."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from firmware_tests.build import Image
from firmware_tests.toolchain import execute

_HEAP: Final = re.compile(r"_*(sbrk|[mc]alloc|re(c)?alloc|free|memalign|cfree)(_r)?")
# The helpers of the Arm ABI, and those of libgcc; h, s, d and t are half to quadruple precision.
_FLOAT: Final = re.compile(
    r"__aeabi_(c?[fd]\w+|u?[il]2[fd]|h2f\w*)"
    r"|__(add|sub|mul|div|neg|eq|ne|gt|ge|lt|le|unord|cmp|powi)[hsdt]f[23]"
    r"|__(fix|fixuns|float|floatun|floatuns|extend|trunc)[hsdt][fi][hsdt][fi]\d?"
)
_INSTRUCTION: Final = re.compile(r"^\s*[0-9a-f]+:\t[0-9a-f ]+\t(\S+)", re.MULTILINE)


def symbols(image: Image, elf: Path) -> list[str]:
    """All names in a firmware."""
    printed = execute([f"{image.board.toolchain.prefix}nm", elf], image.folder)
    return [line.split()[-1] for line in printed.splitlines()]


def heap_symbols(image: Image, elf: Path) -> list[str]:
    """The names that belong to a heap."""
    return [name for name in symbols(image, elf) if _HEAP.fullmatch(name)]


def float_symbols(image: Image, elf: Path) -> list[str]:
    """The names of functions that compute with floats for a core that cannot."""
    return [name for name in symbols(image, elf) if _FLOAT.fullmatch(name)]


def instructions(image: Image, elf: Path) -> list[str]:
    """The mnemonics of a firmware, in order of addresses."""
    objdump = f"{image.board.toolchain.prefix}objdump"
    return _INSTRUCTION.findall(execute([objdump, "-d", elf], image.folder))


def float_instructions(image: Image, elf: Path) -> list[str]:
    """The mnemonics that use the FPU, or with Helium its arithmetic of floats.

    Without Helium anything of the FPU's: saving its registers alone makes interrupts slower.
    """
    found = instructions(image, elf)
    if "aarch64" in image.board.toolchain.prefix:
        # fmov carries bits, of whatever they are.
        return [name for name in found if re.match(r"f(?!mov)|[su]cvtf|bf", name)]
    if "riscv" in image.board.toolchain.prefix:
        return [name for name in found if re.match(r"(c\.)?f(?!ence)", name)]
    if image.board.vectors:
        return [name for name in found if name.startswith("v") and ".f" in name]
    return [name for name in found if name.startswith("v")]
