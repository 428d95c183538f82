"""How far is int8 from float on real data? `--data FOLDER`, see `benchmarks/datasets.py`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.accuracy import Result, evaluate
from benchmarks.conftest import keep_all
from benchmarks.datasets import load
from benchmarks.subjects import quiet
from benchmarks.training import RECIPES, train
from edgernn.quantization import DEFAULT_ROUNDING


@pytest.mark.parametrize("name", RECIPES)
def test_accuracy(request: pytest.FixtureRequest, benchmark: BenchmarkFixture, name: str) -> None:
    folder: Path | None = request.config.getoption("--data")
    if folder is None:
        pytest.skip("no data: name a folder with --data")
    seeds = [int(seed) for seed in request.config.getoption("--seeds").split(",")]
    task, results = load(name, folder), list[Result]()

    def run() -> None:
        for seed in seeds:
            model = train(task, RECIPES[name], seed)
            results.extend(evaluate(task, model, seed, "test", [DEFAULT_ROUNDING], ["minmax"]))

    with quiet():
        benchmark.pedantic(run, rounds=1)  # type: ignore[no-untyped-call]
    keep_all(benchmark, [asdict(result) for result in results])
