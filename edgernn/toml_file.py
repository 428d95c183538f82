"""A TOML file of the user's: read whole, or refused in one sentence."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Final

from edgernn.runtime.errors import InputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]

MAX_FILE: Final = 1 << 20


def read_toml(path: str | os.PathLike[str], what: str) -> dict[str, Any]:
    """Its tables. what: what it should be, for messages: "budgets", "targets".

    InputError if it cannot be read, is no TOML, or longer than 1 MiB.
    """
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read the {what} of {os.fspath(path)}: {reason}") from None
    if len(data) > MAX_FILE:
        raise InputError(f"{os.fspath(path)} is over 1 MiB: that is no file of {what}")
    try:
        # A file from Windows may begin with a mark that TOML does not know.
        tables: dict[str, Any] = tomllib.loads(data.decode("utf-8-sig"))
    except RecursionError:
        raise InputError(
            f"{os.fspath(path)} is not a TOML file: its values are nested too deep"
        ) from None
    except ValueError as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{os.fspath(path)} is not a TOML file: {reason}") from None
    return tables
