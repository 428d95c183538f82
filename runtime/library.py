"""A program's step as a shared library: its place, and loading it.

`edgernn build` makes it, from C that is generated from the program. What it holds is declared in
edgernn/native/edgernn_library.h.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import struct
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from edgernn.runtime.errors import EdgernnError, FileFormatError
from edgernn.runtime.file import to_bytes
from edgernn.runtime.program import Program

VERSION: Final = 1
_MACHINES: Final = {"amd64": "x86_64", "arm64": "aarch64", "i386": "i686", "i586": "i686"}
_NARROW: Final = {"x86_64": "i686", "aarch64": "arm"}
_PREFIX: Final = "edgernn_library_"
_CPUINFO: Final = Path("/proc/cpuinfo")
_opened: Final[dict[str, list[tuple[int, ...]]]] = {}
"""The files that this process has loaded, by path."""


def platform_tag() -> str:
    """What a library must be made for to be loaded here, for instance linux-aarch64."""
    machine = platform.machine().lower()
    machine = _MACHINES.get(machine, machine)
    if sys.maxsize < 1 << 32:
        # A 64-bit kernel may run a 32-bit Python, as it does on many a Raspberry Pi.
        machine = "arm" if machine.startswith("arm") else _NARROW.get(machine, machine)
    return f"{sys.platform}-{machine}"


def library_path(program: str | os.PathLike[str], tag: str | None = None) -> Path:
    """Where a program file's library lies: beside it, as <stem>.native-<platform tag>.so."""
    path = Path(program)
    return path.with_name(f"{path.stem}.native-{tag or platform_tag()}.so")


def processor_features() -> frozenset[str] | None:
    """What this processor can do, as Linux calls it; None where that cannot be known."""
    try:
        with _CPUINFO.open(encoding="ascii", errors="replace") as lines:
            for line in lines:
                key, _, value = line.partition(":")
                if key.strip() in ("flags", "Features"):
                    return frozenset(value.split())
    except OSError:
        pass
    return None


class Library:
    """A loaded library.

    path: of the file. program: what it must have been built from. FileFormatError for any other,
    and for what cannot be loaded here. Loading runs code of the library.
    """

    def __init__(self, path: str | os.PathLike[str], program: Program) -> None:
        self.path = os.path.abspath(path)
        _require_whole(self.path)
        name = _name_for_loader(self.path)
        try:
            # The first keeps Python's lock, for what is short or makes an object; the other not.
            self._short, self._long = ctypes.PyDLL(name), ctypes.CDLL(name)
        except OSError as error:
            raise FileFormatError(
                f"cannot load {self.path}: {error}; build it again for this machine with "
                "`edgernn build`"
            ) from None
        if self._constant(ctypes.c_int, "version").value != VERSION:
            raise FileFormatError(
                f"{self.path} was built by another version of edgernn; run `edgernn build` again"
            )
        if self._text("sha256") != hashlib.sha256(to_bytes(program)).hexdigest():
            raise FileFormatError(
                f"{self.path} was built from another program than the one beside it; "
                "run `edgernn build` again"
            )
        present = processor_features()
        lacking = set() if present is None else set(self._text("features").split()) - present
        if lacking:
            raise FileFormatError(
                f"{self.path} was built for another processor, this one lacks "
                f"{', '.join(sorted(lacking))}; run `edgernn build` here, or with --portable there"
            )
        self.state_bytes = int(self._constant(ctypes.c_size_t, "state_bytes").value)
        for function in ("kernels", "message"):
            self._function(self._short, function).restype = ctypes.c_char_p
        self.kernels: str = self._function(self._short, "kernels")().decode()
        self._reset = self._function(self._short, "reset")
        self._run = self._function(self._long, "run")
        self._run_batch = self._function(self._long, "run_batch")

    def reset(self, state: int) -> None:
        """Put the initial state at this address."""
        self._reset(ctypes.c_void_p(state))

    def run(self, state: int, x: Sequence[int], y: Sequence[int], steps: int) -> None:
        """Many steps: addresses of the state, of (T, F) per input and of (T, O) per output.

        Python's lock is released meanwhile.
        """
        self._check(self._run(*_arguments(state, x, y), ctypes.c_size_t(steps)))

    def run_batch(
        self, state: int, x: Sequence[int], y: Sequence[int], streams: int, steps: int
    ) -> None:
        """The same for (N, T, F) and (N, T, O), every stream from the initial state."""
        counts = ctypes.c_size_t(streams), ctypes.c_size_t(steps)
        self._check(self._run_batch(*_arguments(state, x, y), *counts))

    def step_function(self, stream: ctypes.Structure) -> Any:
        """A Python function of one step, as `Engine.step_function`.

        stream: a `library_stream_t`; the function keeps it.
        """
        make = self._function(self._short, "step_function")
        make.argtypes, make.restype = [ctypes.py_object], ctypes.py_object
        return make(stream)

    def _check(self, status: int) -> None:
        if status:
            message = self._function(self._short, "message")(status).decode()
            raise EdgernnError(f"{self.path}: {message}")

    def _function(self, library: ctypes.CDLL, name: str) -> Any:
        try:
            return getattr(library, _PREFIX + name)
        except AttributeError:
            raise self._foreign() from None

    def _constant(self, kind: Any, name: str) -> Any:
        try:
            return kind.in_dll(self._short, _PREFIX + name)
        except ValueError:
            raise self._foreign() from None

    def _text(self, name: str) -> str:
        return ctypes.string_at(ctypes.addressof(self._constant(ctypes.c_char, name))).decode()

    def _foreign(self) -> FileFormatError:
        return FileFormatError(
            f"{self.path} is not a library of edgernn's; run `edgernn build` again"
        )


def _arguments(state: int, x: Sequence[int], y: Sequence[int]) -> tuple[Any, ...]:
    pointers = [(ctypes.c_void_p * len(group))(*group) for group in (x, y)]
    return ctypes.c_void_p(state), *pointers


def _require_whole(path: str) -> None:
    """A library that was cut off, as by a copy that broke down, would crash when it is read."""
    try:
        with open(path, "rb") as stream:
            head = stream.read(64)
            size = os.fstat(stream.fileno()).st_size
    except OSError as error:
        folder = os.path.dirname(path)
        raise FileFormatError(
            f"cannot read {path}: {error.strerror}; make it with `edgernn build {folder}`, "
            'or load with engine="numpy"'
        ) from None
    if head[:4] == b"\x7fELF" and len(head) == 64:
        order, wide = "<" if head[5] == 1 else ">", head[4] == 2
        # Where the table of sections begins, which ends the file; how large and many they are.
        (begin,) = struct.unpack_from(order + ("Q" if wide else "I"), head, 40 if wide else 32)
        each, number = struct.unpack_from(f"{order}HH", head, 58 if wide else 46)
        if begin + each * number <= size:
            return
    elif head and head[:4] != b"\x7fELF":
        # Not one of Linux: the loader says what it thinks of it.
        return
    raise FileFormatError(f"{path} is cut off; copy it again, or run `edgernn build` again")


def _name_for_loader(path: str) -> str:
    """The path, spelt anew for every file that was put there while this process was running.

    A loader knows a library by its name, and would give the old one again.
    """
    found = os.stat(path)
    file = (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)
    files = _opened.setdefault(path, [])
    if file not in files:
        files.append(file)
    return os.path.join(os.path.dirname(path), *["."] * files.index(file), os.path.basename(path))
