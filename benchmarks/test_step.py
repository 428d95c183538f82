"""How long does one step take, by cell, size and engine?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.engines import step_calls
from benchmarks.subjects import LAYERS, MIDDLE, OURS, OWN, SIZES, subject

CASES = [(cell, *size) for cell in LAYERS for size in (SIZES if cell in OWN else (MIDDLE,))]


@pytest.mark.parametrize(("cell", "hidden", "features"), CASES)
def test_step(
    measure: Callable[..., Any], tmp_path: Path, cell: str, hidden: int, features: int
) -> None:
    s = subject(cell, hidden, features)
    measure(s.key, step_calls(s, tmp_path), OURS, percentiles=True)
