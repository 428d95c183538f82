"""SUPPORTED.md says what the rules say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_it_is_what_the_rules_say_today() -> None:
    command = [sys.executable, str(ROOT / "tools" / "supported.py"), "--check"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
