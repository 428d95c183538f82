"""How long until the first step is done, from the start of Python on, and how much memory then?"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import torch
from pytest_benchmark.fixture import BenchmarkFixture

import edgernn
from benchmarks import start_once
from benchmarks.conftest import keep_all
from benchmarks.records import record
from benchmarks.subjects import MIDDLE, OURS, subject
from edgernn.building import build

BARE = "Python alone"
PHASES = ("import", "load", "first step", "whole process")


def test_startup(benchmark: BenchmarkFixture, rounds: int, tmp_path: Path) -> None:
    s = subject("GRU", *MIDDLE)
    edgernn.export(s.program, tmp_path, ("tflite", "onnx"), verify_steps=64)
    build(tmp_path, verify_steps=64)
    torch.save(s.layer.state_dict(), tmp_path / "model.pt")
    found: dict[str, dict[str, list[float]]] = {
        what: {name: [] for name in start_once.ENGINES} for what in (*PHASES, "memory")
    }
    names, shuffle = list(start_once.ENGINES), random.Random(0)

    def start_all() -> None:
        shuffle.shuffle(names)
        for name in names:
            command = [sys.executable, start_once.__file__, name, str(tmp_path)]
            start = time.perf_counter()
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            whole = 1e3 * (time.perf_counter() - start)
            for what, value in (json.loads(done.stdout) | {"whole process": whole}).items():
                found[what][name].append(value)

    # The first round reads the files from the disk, and does not count.
    start_all()
    for values in found.values():
        for samples in values.values():
            samples.clear()
    benchmark.pedantic(start_all, rounds=max(3, rounds // 2))  # type: ignore[no-untyped-call]
    records = []
    for what, engines in found.items():
        # Of the phases alone, what one engine calls import is load to another.
        ours = OURS if what in ("whole process", "memory") else ()
        unit = "MiB" if what == "memory" else "ms"
        made = record({**s.key, "what": what}, engines, ours, unit)
        made["ratios"] = {k: v for k, v in made["ratios"].items() if not k.endswith(BARE)}
        records.append(made)
    keep_all(benchmark, records)
