"""Packages that come with the `export` extra, asked for when they are needed."""

from __future__ import annotations

import importlib
from typing import Any

from edgernn.runtime.errors import MissingExtraError


def require_torch() -> Any:
    """The torch module, with the operators of edgernn.nn; MissingExtraError without torch."""
    torch = _require("torch")
    importlib.import_module("edgernn.nn")
    return torch


def require_safetensors() -> Any:
    """The safetensors.torch module; MissingExtraError if it is not installed."""
    return _require("safetensors.torch")


def _require(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = name.partition(".")[0]
        if error.name != missing:
            raise
        raise MissingExtraError(
            f"{missing} is not installed; install it with: pip install 'edgernn[export]'"
        ) from None
