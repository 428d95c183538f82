"""Cross compilers and emulators: are they here, and running them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from firmware_tests.boards import Toolchain


class ToolError(RuntimeError):
    """A compiler or an emulator failed; the message has its command and all that it said."""


def execute(command: Sequence[str | os.PathLike[str]], folder: Path, timeout: float = 60) -> str:
    """What a command prints, standard output and error together. ToolError if it fails."""
    shown = " ".join(str(part) for part in command)
    try:
        done = subprocess.run(
            [str(part) for part in command],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            timeout=timeout,
        )
    except FileNotFoundError:
        raise ToolError(f"{command[0]} is not installed; `make toolchain` installs it") from None
    except subprocess.TimeoutExpired as error:
        said = (error.stdout or b"").decode(errors="replace")
        raise ToolError(f"{shown}\ndid not end within {timeout:g} s\n{said}") from None
    if done.returncode:
        raise ToolError(f"{shown}\nreturned {done.returncode}\n{done.stdout}")
    return done.stdout


def missing(toolchain: Toolchain) -> list[str]:
    """The programs of a toolchain that are not installed."""
    programs = [toolchain.prefix + tool for tool in ("gcc", "nm", "objdump", "size")]
    absent = [name for name in (*programs, toolchain.emulator) if shutil.which(name) is None]
    if not absent:
        # The C library is a package of its own; its specs are found only if it is installed.
        file = toolchain.specs or "libc.a"
        where = execute([programs[0], f"-print-file-name={file}"], Path()).strip()
        library = {"nano.specs": "newlib", "picolibc.specs": "picolibc"}.get(file, "libc6-dev")
        absent += [] if Path(where).is_absolute() else [library]
    return absent
