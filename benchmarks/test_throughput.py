"""How long does a step take where many are done in one call: windows, and streams side by side?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.engines import window_calls
from benchmarks.subjects import OURS, subject

CASES = [
    ("GRU", 64, 32, 1, 50),
    ("GRU", 64, 32, 16, 50),
    ("GRU", 64, 32, 64, 50),
    ("GRU", 256, 64, 1, 50),
    ("GRU", 256, 64, 64, 50),
    ("LSTM", 64, 32, 1, 50),
    ("LSTM", 64, 32, 64, 50),
]


@pytest.mark.parametrize(("cell", "hidden", "features", "streams", "steps"), CASES)
def test_throughput(
    measure: Callable[..., Any],
    rounds: int,
    tmp_path: Path,
    cell: str,
    hidden: int,
    features: int,
    streams: int,
    steps: int,
) -> None:
    s = subject(cell, hidden, features)
    calls = window_calls(s, streams, steps, tmp_path)
    key = {**s.key, "streams": streams, "steps": steps}
    # A call is long already.
    measure(key, calls, OURS, per_call=streams * steps, rounds=max(3, rounds // 2), warm=1)
