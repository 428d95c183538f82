"""TOML, written: Python has a reader from 3.11 on, and no writer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


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
