"""Options and fixtures of the suites. Nothing here or in them asserts a time."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.records import Record, record
from edgernn.bench.timing import Timings, interleaved

Measure = Callable[..., Record]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("edgernn")
    group.addoption("--data", type=Path, help="Folder with real data sets, one .npz file each.")
    group.addoption("--rounds", type=int, default=15, help="Rounds of interleaved timing.")
    group.addoption("--seeds", default="0", help="Of the training, comma-separated.")


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> int:
    """Of interleaved timing."""
    return int(request.config.getoption("--rounds"))


@pytest.fixture
def measure(benchmark: BenchmarkFixture, rounds: int) -> Measure:
    """Time functions in interleaved rounds and keep the record.

    One benchmark is one whole comparison: pytest-benchmark times an engine after the other, which
    another load on the machine would turn into a difference between them.
    """

    def run(
        key: Mapping[str, Any],
        calls: Mapping[str, Callable[[], object]],
        ours: tuple[str, ...],
        per_call: int | Mapping[str, int] = 1,
        percentiles: bool = False,
        **options: Any,
    ) -> Record:
        # What is alive stays alive: looking through it between turns would take most of the time.
        gc.collect()
        gc.freeze()
        found: Timings = benchmark.pedantic(  # type: ignore[no-untyped-call]
            interleaved, args=(calls,), kwargs={"rounds": rounds, **options}, rounds=1
        )
        gc.unfreeze()
        steps = per_call if isinstance(per_call, Mapping) else dict.fromkeys(calls, per_call)
        samples = {name: found.medians(name) / steps.get(name, 1) for name in calls}
        more: dict[str, Any] = {}
        if percentiles:
            more["p99"] = {name: float(f"{found.summary(name).p99:.4g}") for name in calls}
        found_record = record(key, samples, ours, **more)
        keep_all(benchmark, [found_record])
        return found_record

    return run


def keep_all(benchmark: BenchmarkFixture, records: Sequence[Record]) -> None:
    """Put records where `benchmarks.run` finds them in pytest-benchmark's file again."""
    benchmark.extra_info["records"] = list(records)
