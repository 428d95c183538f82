"""What figures were measured on."""

from __future__ import annotations

import datetime
import os
import platform
from pathlib import Path
from typing import Any

import numpy as np

from edgernn.version import __version__

_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


def machine() -> dict[str, Any]:
    """Processor, cores, load and versions."""
    found: dict[str, Any] = {
        "processor": processor(),
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "numpy": np.__version__,
        "edgernn": __version__,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }
    if hasattr(os, "getloadavg"):
        found["load"] = round(os.getloadavg()[0], 2)
    if _GOVERNOR.is_file():
        found["governor"] = _GOVERNOR.read_text().strip()
    return found


def described(found: dict[str, Any]) -> str:
    """The same in one line."""
    parts = [f"{found['processor']}, {found['cores']} cores", found["system"], found["python"]]
    if "load" in found:
        parts.append(f"load {found['load']}")
    if found.get("governor", "performance") != "performance":
        parts.append(f"governor {found['governor']}: the clock may change")
    return "; ".join([*parts, found["date"]])


def processor() -> str:
    """Its name, where the system says it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    for key in ("model name", "Model", "Hardware"):
        for line in lines:
            name, _, value = line.partition(":")
            if name.strip() == key:
                return value.strip()
    return platform.processor() or platform.machine()
