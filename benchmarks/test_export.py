"""How long does an export take, and how much memory?

From a live PyTorch layer to verified .tflite, .onnx and C, 1,000 steps of verification included.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.conftest import keep_all
from benchmarks.records import record

CASES = [("GRU", 16, 8), ("GRU", 64, 32), ("GRU", 256, 64), ("GRU", 512, 64), ("LSTM", 256, 64)]


@pytest.mark.parametrize(("cell", "hidden", "features"), CASES)
def test_export(
    benchmark: BenchmarkFixture, rounds: int, cell: str, hidden: int, features: int
) -> None:
    runs: list[dict[str, Any]] = []
    command = [sys.executable, "-m", "benchmarks.export_once", cell, str(hidden), str(features)]

    def run() -> None:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        runs.append(json.loads(done.stdout.splitlines()[-1]))

    benchmark.pedantic(run, rounds=max(1, rounds // 7))  # type: ignore[no-untyped-call]
    key = {"cell": cell, "hidden": hidden, "features": features}
    keep_all(
        benchmark,
        [
            record(key | {"what": what}, {n: [r[what][n] for r in runs] for n in names}, unit=unit)
            for what, unit, names in (
                ("seconds", "s", runs[0]["seconds"]),
                ("peak", "MiB", runs[0]["peak"]),
                ("files", "bytes", runs[0]["files"]),
            )
        ],
    )
