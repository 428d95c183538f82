"""Interleaved timing: every function takes its turn in every round, so noise hits all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np


def microseconds(
    functions: Mapping[str, Callable[[], object]], rounds: int = 15, seconds: float = 0.01
) -> dict[str, float]:
    """Median over the rounds of the microseconds a call takes, by name.

    seconds: how long a function is called in each round.
    """
    counts = {}
    for name, function in functions.items():
        function()
        start = time.perf_counter()
        for _ in range(20):
            function()
        each = (time.perf_counter() - start) / 20
        counts[name] = max(int(seconds / each), 5)
    results: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            start = time.perf_counter()
            for _ in range(counts[name]):
                function()
            results[name].append((time.perf_counter() - start) / counts[name] * 1e6)
    return {name: float(np.median(values)) for name, values in results.items()}
