"""Step latency under pytest-benchmark: spread, and comparison with a saved run.

    pytest benchmarks --benchmark-autosave --benchmark-compare

`python -m benchmarks.latency` interleaves the engines and gives the ratios; this gives each
engine's own distribution. Nothing is asserted about time.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.latency import SHAPES, steps

ENGINES = ("NumPy step_int", "NumPy, out=", "LiteRT", "ONNX Runtime float", "torch.nn.GRUCell")
FEATURES = dict(SHAPES)


@cache
def prepared(hidden: int) -> dict[str, Callable[[], object]]:
    return steps(hidden, FEATURES[hidden])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("hidden", FEATURES)
def test_step(benchmark: BenchmarkFixture, hidden: int, engine: str) -> None:
    benchmark(prepared(hidden)[engine])
