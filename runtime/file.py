"""The program file: `edgernn.runtime.container` with a program's description and arrays.

The description is JSON: tensors, operators, states. An operator gives its tensors by their index,
or by name. The bytes of int8 weights are mapped, not copied.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn.runtime.container import Layout, pack, unpack
from edgernn.runtime.description import arrays_of, build, described
from edgernn.runtime.errors import EdgernnError, FileFormatError
from edgernn.runtime.program import Program
from edgernn.runtime.validate import validate
from edgernn.runtime.window import Window, validate_window

LAYOUT: Final = Layout(
    format="edgernn",
    version=1,
    description="program",
    dtypes=("I8", "I16", "I32", "I64"),
    dimensions=2,
    title="an edgernn program",
    source="`edgernn export --int8`",
)


def save_program(program: Program | Window, path: str | os.PathLike[str]) -> None:
    """Write a program; the file appears whole or not at all. EdgernnError if it cannot."""
    if isinstance(program, Window):
        validate_window(program)
    else:
        validate(program)
    write_atomically(path, to_bytes(program))


def load_program(path: str | os.PathLike[str]) -> Program:
    """Read a program, int8 weights mapped, not copied. FileFormatError if it is not sound, or of a
    window program, which `load_any` reads."""
    return _streaming(load_any(path), os.fspath(path))


def load_any(path: str | os.PathLike[str]) -> Program | Window:
    """Read a program or a window program. FileFormatError if it is not sound."""
    name = os.fspath(path)
    try:
        data = np.memmap(name, dtype=np.uint8, mode="r")
    except (OSError, ValueError) as error:
        raise FileFormatError(f"cannot read {name}: {error}") from None
    return any_from_bytes(data, name)


def to_bytes(program: Program | Window) -> bytes:
    """The file's content; the same program gives the same bytes.

    InputError if the metadata is not JSON, or too long for a header.
    """
    return pack(LAYOUT, described(program), arrays_of(program))


def from_bytes(data: NDArray[np.uint8], where: str) -> Program:
    """Parse and check a file's content; `where` is what messages call it."""
    return _streaming(any_from_bytes(data, where), where)


def _streaming(program: Program | Window, where: str) -> Program:
    if isinstance(program, Window):
        raise FileFormatError(
            f"{where} is a window program, which reads its input backwards too and cannot stream; "
            "give WindowRuntime.load whole windows"
        )
    return program


def any_from_bytes(data: NDArray[np.uint8], where: str) -> Program | Window:
    """`from_bytes` for a program of either kind."""
    try:
        return _parse(data, where)
    except EdgernnError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
        reason = f"{type(error).__name__}: {str(error)[:200]}"
        raise FileFormatError(f"{where} is not a valid edgernn program: {reason}") from None
    except RecursionError:
        raise FileFormatError(f"{where} is not a valid edgernn program: nested too deep") from None


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Write to a temporary name beside the target, then rename; nothing half-written stays."""
    target = Path(path)
    temporary = None
    try:
        if target.exists() and not target.is_file() and not target.is_dir():
            # To rename onto a device or a pipe would do away with it.
            raise EdgernnError(f"cannot write {target}: it is no ordinary file; name one")
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        # mkstemp makes the file private; give it the mode that open() would have.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, target)
        temporary = None
    except OSError as error:
        raise EdgernnError(f"cannot write {target}: {error.strerror or error}") from None
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def _parse(data: NDArray[np.uint8], where: str) -> Program | Window:
    program = build(*unpack(LAYOUT, data, where))
    if isinstance(program, Window):
        validate_window(program, where)
    else:
        validate(program, where)
    return program
