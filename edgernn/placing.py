"""Several files that appear in a folder together, or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from edgernn.runtime.errors import EdgernnError


def write_whole(path: Path, data: bytes) -> None:
    """Write a file, its folder with it, down to the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def put_in_place(
    directory: Path,
    content: Mapping[str, bytes],
    check: Callable[[Path], None] | None = None,
    earlier: Iterable[str] = (),
) -> None:
    """Stage files in a hidden folder beside their place, check them, then rename one by one.

    content: name, perhaps with a folder in front -> bytes. check: called with the folder of the
    staged files; may change them, and what it raises leaves the directory as it was. earlier:
    names that an earlier call may have left, which go if they are not among the new ones.
    EdgernnError if it cannot be written.
    """
    staging: Path | None = None
    created = [folder for folder in (directory, *directory.parents) if not folder.exists()]
    try:
        directory.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".edgernn-", dir=directory))
        for name, data in content.items():
            write_whole(staging / name, data)
        if check is not None:
            check(staging)
        for name in dict.fromkeys([*earlier, *content]):
            if name in content:
                (directory / name).parent.mkdir(parents=True, exist_ok=True)
                os.replace(staging / name, directory / name)
            else:
                # A file of an earlier export would no longer match.
                (directory / name).unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise EdgernnError(
            f"cannot write to {directory}: {reason}; choose another folder with --out"
        ) from None
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)
        for folder in created:
            # Only what this call made, and only if it stayed empty.
            with contextlib.suppress(OSError):
                folder.rmdir()
