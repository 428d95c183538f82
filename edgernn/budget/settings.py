"""Budgets from a file: edgernn.toml, or the table [tool.edgernn] of a pyproject.toml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edgernn.budget.limits import EITHER, OPTIONS, Budget, budget_for, parse_options, unknown_key
from edgernn.runtime.errors import InputError
from edgernn.targets import device
from edgernn.toml_file import read_toml

OWN: Final = ("target", "targets", "data", "labels", "window")
"""Keys of [budget] beside the defaults of its targets."""


@dataclass(frozen=True)
class Settings:
    """What a file asks for. data: a path as `edgernn.arrays` takes it, "" for none; labels: the
    key of its labels, "" for `y` if it has that; window: steps, None for the model's own."""

    budgets: tuple[Budget, ...]
    data: str = ""
    labels: str = ""
    window: int | None = None


def load_settings(path: Path) -> Settings:
    """Read a file of budgets. InputError, naming file and key, for what is not one."""
    content = read_toml(path, "budgets")
    if path.name == "pyproject.toml":
        tool = _table(content.get("tool", {}), f"{path}: tool")
        own = _table(tool.get("edgernn", {}), f"{path}: tool.edgernn")
        where, begin = "tool.edgernn.budget", own
    else:
        where, begin = "budget", content
        for key in content:
            if key != "budget":
                raise unknown_key(key, ("budget",), str(path))
    if "budget" not in begin:
        raise InputError(f"{path} has no table [{where}]; see `edgernn budget --help`")
    return _settings(_table(begin["budget"], f"{path}: {where}"), path, where)


def _settings(given: Mapping[str, Any], path: Path, where: str) -> Settings:
    for key in given:
        if key not in OPTIONS and key not in OWN:
            raise unknown_key(key, (*OPTIONS, *OWN), f"{path}, [{where}]")
    defaults = {key: value for key, value in given.items() if key in OPTIONS}
    parse_options(defaults, f"{path}, [{where}]")
    files = given.get("targets", [])
    if not isinstance(files, list) or not all(isinstance(f, str) for f in files):
        raise InputError(f'{path}, [{where}]: targets must be a list of files, ["my_boards.toml"]')
    entries = given.get("target", [])
    if not isinstance(entries, list) or not entries:
        raise InputError(f"{path} names no target: it wants a table [[{where}.target]] for each")
    beside = [path.parent / file for file in files]
    budgets = tuple(
        _budget(entry, defaults, beside, f"{path}, [[{where}.target]] {number}")
        for number, entry in enumerate(entries, 1)
    )
    data = _text(given, "data", f"{path}, [{where}]")
    window = given.get("window")
    if window is not None and (type(window) is not int or window < 1):
        raise InputError(f"{path}, [{where}], window: it must be a number of steps")
    return Settings(
        budgets,
        str(path.parent / data) if data else "",
        _text(given, "labels", f"{path}, [{where}]"),
        window,
    )


def _budget(entry: Any, defaults: Mapping[str, Any], files: list[Path], where: str) -> Budget:
    own = dict(_table(entry, where))
    if not isinstance(own.get("device"), str):
        raise InputError(f'{where}: it needs a device, as in device = "nrf52840-dk"')
    name = own.pop("device")
    for key in own:
        if key not in OPTIONS:
            raise unknown_key(key, ("device", *OPTIONS), where)
    # What an entry says one way overrules what the defaults say the other.
    inherited = dict(defaults)
    for pair in EITHER:
        if not own.keys().isdisjoint(pair):
            for key in pair:
                inherited.pop(key, None)
    options = parse_options({**inherited, **own}, where)
    try:
        return budget_for(device(name, files), options)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _table(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{where} must be a table")
    return value


def _text(given: Mapping[str, Any], key: str, where: str) -> str:
    value = given.get(key, "")
    if not isinstance(value, str):
        raise InputError(f"{where}, {key}: it must be text in quotes")
    return value
