"""Timing in interleaved rounds: every function takes its turn in every round, in a new order.

Load on a machine comes and goes. Within a round it hits all alike, so a ratio is taken inside a
round, and the median of these ratios over the rounds is what repeats. It is a ratio of lower
quartiles: on a busy machine another process interrupts half of all calls that take milliseconds,
but hardly ever three quarters. This module needs the standard library and NumPy alone.
"""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Clock = Callable[[], int]
"""Nanoseconds, as time.perf_counter_ns."""

WARM_CALLS: Final = 16
_TIMER_CALLS: Final = 200


@dataclass(frozen=True)
class Summary:
    """Of the times of single calls, in microseconds. jitter: p99 - median; calls: how many."""

    calls: int
    median: float
    mean: float
    p99: float
    p999: float
    worst: float

    @property
    def jitter(self) -> float:
        """How far the slow calls lie above the usual one, microseconds."""
        return self.p99 - self.median


@dataclass(frozen=True)
class Ratio:
    """The median over the rounds of the ratio in each round; low, high: its quartiles.

    In a round it is the ratio of the lower quartiles of the calls.
    """

    value: float
    low: float
    high: float


@dataclass
class Timings:
    """The times of single calls, the cost of the timer taken off.

    rounds: name -> one array of nanoseconds for each round. timer: name -> what the timer costs in
    each round, nanoseconds a call, already subtracted.
    """

    rounds: dict[str, list[FloatArray]] = field(default_factory=dict)
    timer: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, stamps: Sequence[int] | NDArray[np.int64], timer: float) -> None:
        """A turn: n + 1 clock readings around n calls, and what a reading costs."""
        each = np.diff(np.asarray(stamps, np.int64)).astype(np.float64)
        # A clock has a resolution: what is faster than the timer counts as nothing.
        self.rounds.setdefault(name, []).append(np.maximum(each - timer, 0.0))
        self.timer.setdefault(name, []).append(timer)

    def times(self, name: str) -> FloatArray:
        """Microseconds of every call of every round."""
        return np.concatenate(self.rounds[name]) / 1e3

    def medians(self, name: str) -> FloatArray:
        """(rounds,) the median of each round, microseconds."""
        return np.array([np.median(times) for times in self.rounds[name]]) / 1e3

    def microseconds(self, name: str) -> float:
        """The median over the rounds of the median call of each."""
        return float(np.median(self.medians(name)))

    def summary(self, name: str) -> Summary:
        """Percentiles over all calls of all rounds."""
        times = self.times(name)
        median, p99, p999 = np.percentile(times, [50, 99, 99.9])
        return Summary(
            times.size, float(median), float(times.mean()), float(p99), float(p999),
            float(times.max()),
        )  # fmt: skip

    def ratio(self, name: str, to: str) -> Ratio:
        """How long `name` takes for what takes `to` one unit of time."""
        ours, theirs = self._undisturbed(name), self._undisturbed(to)
        count = min(len(ours), len(theirs))
        # One tick of the clock at least, so that a function without cost has a ratio too.
        ratios = ours[:count] / np.maximum(theirs[:count], 1e-3)
        low, middle, high = np.percentile(ratios, [25, 50, 75])
        return Ratio(float(middle), float(low), float(high))

    def _undisturbed(self, name: str) -> FloatArray:
        """(rounds,) the lower quartile of each round, microseconds."""
        return np.array([np.percentile(times, 25) for times in self.rounds[name]]) / 1e3

    def fastest(self) -> str:
        """The name with the least time."""
        return min(self.rounds, key=self.microseconds)


def interleaved(
    functions: Mapping[str, Callable[[], object]],
    rounds: int = 15,
    *,
    calls: int | None = None,
    seconds: float = 0.01,
    warm: int = WARM_CALLS,
    seed: int = 0,
    clock: Clock = time.perf_counter_ns,
) -> Timings:
    """Time functions of this process, one call at a time, in turns of many calls.

    Each function is called `calls` times in each of the `rounds`, by default as often as fits into
    `seconds`, at least 5 times, after `warm` calls that do not count. The order is shuffled in
    every round; garbage is collected between the rounds only.
    """
    counts = {}
    for name, function in functions.items():
        function()
        stamps = timed(function, [()] * 20, clock)
        each = max((stamps[-1] - stamps[0]) / 20e9, 1e-9)
        counts[name] = calls if calls is not None else max(int(seconds / each), 5)
    result = Timings({name: [] for name in functions}, {name: [] for name in functions})
    for order in shuffled(functions, rounds, seed):
        for name in order:
            function = functions[name]
            with no_garbage():
                for _ in range(warm):
                    function()
                cost = timer_cost(clock)
                stamps = timed(function, [()] * counts[name], clock)
            result.add(name, stamps, cost)
    return result


def shuffled(names: Iterable[str], rounds: int, seed: int) -> Iterator[list[str]]:
    """The order of each round."""
    generator, order = random.Random(seed), list(names)
    for _ in range(rounds):
        generator.shuffle(order)
        yield list(order)


def timed(
    function: Callable[..., object], arguments: Sequence[tuple[Any, ...]], clock: Clock
) -> list[int]:
    """Call it with each of the arguments; the clock before the first and after every call."""
    stamps = [clock()]
    note = stamps.append
    for values in arguments:
        function(*values)
        note(clock())
    return stamps


def timer_cost(clock: Clock = time.perf_counter_ns) -> float:
    """Nanoseconds that `timed` adds to a call: a reading of the clock and a turn of the loop."""
    stamps = [clock()]
    note = stamps.append
    for _ in range(_TIMER_CALLS):
        note(clock())
    return float(np.median(np.diff(stamps)))


@contextmanager
def no_garbage() -> Iterator[None]:
    """Collect garbage now, and not before the end of this block."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
