"""Lay out build/typing/edgernn from the package-dir table, for type checkers.

`runtime/` is imported as `edgernn.runtime` through packaging, which type checkers do not follow.
Real folders with a link per file let them see the packages as Python does.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def package_folders(root: Path) -> dict[str, str]:
    """package -> folder, from pyproject.toml, without a TOML parser (Python 3.10 has none)."""
    text = (root / "pyproject.toml").read_text()
    section = text.split("[tool.setuptools.package-dir]", 1)[1].split("\n[", 1)[0]
    pairs = (line.split("=") for line in section.strip().splitlines())
    return {name.strip().strip('"'): folder.strip().strip('"') for name, folder in pairs}


def lay_out(root: Path, target: Path) -> int:
    """Link every Python file of every package below target; returns how many."""
    shutil.rmtree(target, ignore_errors=True)
    count = 0
    for package, folder in package_folders(root).items():
        destination = target.joinpath(*package.split("."))
        destination.mkdir(parents=True, exist_ok=True)
        for source in [*(root / folder).glob("*.py"), *(root / folder).glob("py.typed")]:
            (destination / source.name).symlink_to(source)
            count += 1
    return count


if __name__ == "__main__":
    files = lay_out(ROOT, ROOT / "build" / "typing")
    sys.exit(0 if files else "no files found: is the package-dir table in pyproject.toml?")
