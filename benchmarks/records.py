"""Raw results: one small JSON file per question, which everything else is made from.

A file says when, on what machine and with which versions it was measured, and has a list of
records. A record of quartiles is

    {"key": {"cell": "GRU", "hidden": 64, ...}, "unit": "us",
     "values": {"NumPy": [median, lower quartile, upper quartile], ...},
     "ratios": {"NumPy / LiteRT": [median, lower quartile, upper quartile], ...}}

where a ratio is that of two values of one round: what slows the machine slows both.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgernn.bench.machine import machine
from edgernn.runtime.errors import FileFormatError

RESULTS: Final = Path(__file__).parent / "results"
QUESTIONS: Final = ("step", "native", "throughput", "export", "startup", "accuracy", "instructions")
"""In the order in which they are measured; `test_<question>.py` has each."""
KEPT: Final = ("rounding", "family", "recipes", "memory")
"""Measured by commands of their own, because they take long."""
PACKAGES: Final = ("numpy", "torch", "ai-edge-litert", "onnxruntime")

Samples = Sequence[float] | NDArray[np.float64]
Record = dict[str, Any]
Result = dict[str, Any]


def quartiles(samples: Samples) -> list[float]:
    """Median, lower and upper quartile, with four digits."""
    return [float(f"{v:.4g}") for v in np.quantile(samples, [0.5, 0.25, 0.75])]


def record(
    key: Mapping[str, Any],
    samples: Mapping[str, Samples],
    ours: Sequence[str] = (),
    unit: str = "us",
    **more: Any,
) -> Record:
    """A record of quartiles. samples: name -> a value of each round; ours: the names whose ratio to
    every other is wanted."""
    ratios = {
        f"{a} / {b}": quartiles([x / y for x, y in zip(samples[a], samples[b], strict=True)])
        for a in ours
        for b in samples
        if a in samples and b not in ours
    }
    values = {name: quartiles(found) for name, found in samples.items()}
    if unit == "bytes":
        values = {name: [int(np.median(found))] * 3 for name, found in samples.items()}
    return {"key": dict(key), "unit": unit, "values": values, "ratios": ratios, **more}


def title(key: Mapping[str, Any]) -> str:
    """A key as one reads it: GRU, hidden 64, features 32."""
    return ", ".join(str(v) if isinstance(v, str) else f"{k} {v}" for k, v in key.items())


def versions() -> dict[str, str]:
    """Of Python, the packages that are measured, and the compiler."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    try:
        said = subprocess.run(
            ["gcc", "-dumpfullversion"], capture_output=True, text=True, check=True
        )
        found["gcc"] = said.stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        pass
    return found


def result(question: str, records: Sequence[Record], **more: Any) -> Result:
    """Records with the date, the machine and the versions they were measured with."""
    here = machine()
    head = {"question": question, "date": datetime.date.today().isoformat()}
    head |= {name: here[name] for name in ("processor", "architecture", "cores")}
    # The release of the kernel is of no interest.
    head["system"] = here["system"].split()[0]
    return {**head, "versions": versions(), **more, "records": list(records)}


def save(found: Result, folder: Path = RESULTS) -> Path:
    """Write `<question>.json`, one record a line, so that a change shows where it is."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{found['question']}.json"
    head = {k: v for k, v in found.items() if k != "records"}
    lines = ",\n  ".join(json.dumps(record) for record in found["records"])
    text = json.dumps(head, indent=1)[:-2] + f',\n "records": [\n  {lines}\n ]\n}}\n'
    partial = path.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
    return path


def load(question: str, folder: Path = RESULTS) -> Result | None:
    """What `save` wrote, or None if that question was never measured. FileFormatError."""
    path = folder / f"{question}.json"
    if not path.is_file():
        return None
    try:
        found: Result = json.loads(path.read_text(encoding="utf-8"))
        sound = found["question"] == question and isinstance(found["records"], list)
    except (ValueError, LookupError, TypeError):
        sound = False
    if not sound:
        raise FileFormatError(f"{path} is no result of `make bench`; run it again")
    return found


def find(found: Result | None, **key: Any) -> Record | None:
    """The first record whose key has these values."""
    for record in found["records"] if found else []:
        if all(record["key"].get(k) == v for k, v in key.items()):
            return dict(record)
    return None
