"""What an exported folder says of itself: files, checksums, settings, verification."""

from __future__ import annotations

import hashlib
import json
import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgernn.bench.machine import processor
from edgernn.folder import verify_folder
from edgernn.progress import Progress
from edgernn.runtime.errors import EdgernnError, FileFormatError
from edgernn.version import __version__

Facts = dict[str, Any]
STEPS = 1_000


def read_report(folder: Path) -> Mapping[str, Any]:
    """report.json; empty if there is none. FileFormatError if it is damaged."""
    path = folder / "report.json"
    if not path.is_file():
        return {}
    try:
        report = json.loads(path.read_text())
        if not isinstance(report, dict):
            raise TypeError
        for part in ("files", "sha256", "options", "calibration", "verification"):
            if report.get(part) is not None and not isinstance(report[part], dict):
                raise TypeError
    except (OSError, ValueError, TypeError, RecursionError):
        raise FileFormatError(f"{path} is damaged; export the program again") from None
    return report


def files(folder: Path, report: Mapping[str, Any]) -> list[Facts]:
    """Every file of the export: bytes, checksum, and whether it still has it.

    FileFormatError if the program itself is another one than was exported.
    """
    found: list[Facts] = []
    for name, digest in (report.get("sha256") or {}).items():
        path = folder / str(name)
        inside = ".." not in Path(name).parts and not Path(name).is_absolute()
        if not inside or not path.is_file():
            found.append({"name": str(name), "bytes": None, "sha256": str(digest), "state": "gone"})
            continue
        content = path.read_bytes()
        own = hashlib.sha256(content).hexdigest()
        state = "as exported" if own == digest else "changed since"
        if name == "model.safetensors" and own != digest:
            raise FileFormatError(
                f"{path} is damaged or another one: its checksum is not that of report.json; "
                "export the program again"
            )
        found.append({"name": str(name), "bytes": len(content), "sha256": own, "state": state})
    return found


def verification(
    folder: Path,
    report: Mapping[str, Any],
    listed: Sequence[Facts],
    progress: Progress | None = None,
) -> Facts:
    """Engines and their differing values: of the export, or, where it has none or a file of it was
    changed since, made now. listed: as `files` gives them."""
    changed = any(file["state"] == "changed since" for file in listed)
    given = None if changed else report.get("verification")
    source = "checked when it was exported"
    if not given:
        source = "checked for this report"
        try:
            given = verify_folder(folder, STEPS, progress=progress).as_json()
        except EdgernnError as error:
            return {"source": f"not checked: {error}", "steps": 0, "how": "", "rows": []}
    try:
        rows = [
            {
                "engine": str(row["engine"]),
                "compared": int(row["compared"]),
                "differing": int(row["differing"]),
                "first": str(row["first"]),
                "note": str(row["note"]),
            }
            for row in given["rows"]
        ]
        steps, how = int(given["steps"]), str(given.get("how", ""))
    except (LookupError, TypeError, ValueError):
        raise FileFormatError(
            f"{folder / 'report.json'} is damaged; export the program again"
        ) from None
    return {"source": source, "steps": steps, "how": how, "rows": rows}


def origin(folder: Path, report: Mapping[str, Any]) -> Facts:
    """When and by what it was exported; this machine and the versions that made the report."""
    written = time.gmtime((folder / "model.safetensors").stat().st_mtime)
    return {
        "exported": time.strftime("%Y-%m-%d %H:%M UTC", written),
        "exported_by": f"edgernn {report.get('edgernn', 'of an unknown version')}",
        "reported": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "reported_by": f"edgernn {__version__}",
        "machine": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "processor": processor(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "options": {str(k): v for k, v in (report.get("options") or {}).items()},
    }
