"""TOML, read and written: Python has the reader from 3.11 on, and no writer."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a file."""
    return tomllib.loads(path.read_text(encoding="utf-8"))


def key(name: str) -> str:
    """A key, quoted if it must be."""
    return name if name.replace("-", "").replace("_", "").isalnum() else json.dumps(name)


def value(given: Any) -> str:
    """A string, a number, or a table in one line."""
    if isinstance(given, Mapping):
        return f"{{ {', '.join(pairs(given))} }}"
    # Strings of TOML are those of JSON, as far as we write them.
    return json.dumps(given)


def pairs(values: Mapping[str, Any]) -> list[str]:
    """A line for each."""
    return [f"{key(name)} = {value(given)}" for name, given in values.items()]
