"""Devices from files: the built-in ones, and a user's own."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Final

from edgernn.runtime.errors import InputError
from edgernn.targets.device import Device
from edgernn.targets.reading import read_devices

DATA: Final = Path(__file__).parent / "data"
CORES: Final = "cores.toml"


def load_devices(files: Sequence[Path] = ()) -> dict[str, Device]:
    """Name -> device: the built-in ones, cores first, then those of a user's TOML files.

    InputError, naming file, device and key, for what is not such a file or defines a name again.
    """
    devices = dict(_built_in())
    for path in files:
        devices.update(read_devices(Path(path), devices))
    return devices


def device(name: str, files: Sequence[Path] = ()) -> Device:
    """One device by its name. InputError with the names most like it if there is none."""
    devices = load_devices(files)
    if name in devices:
        return devices[name]
    part = name.lower()
    # Of a chip, as of "rp2040", only the titles know.
    having = [n for n, d in devices.items() if len(part) > 2 and part in f"{n} {d.title}".lower()]
    having.sort(key=lambda n: part not in n)
    near = having[:3] or get_close_matches(part, devices, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise InputError(
        f"there is no target {name[:60]!r}: {hint}`edgernn budget --targets` lists all of them, "
        "and a TOML file can describe another"
    )


@cache
def _built_in() -> dict[str, Device]:
    devices: dict[str, Device] = {}
    others = sorted(path for path in DATA.glob("*.toml") if path.name != CORES)
    for path in (DATA / CORES, *others):
        devices.update(read_devices(path, devices))
    return devices
