"""Interleaved timing on a clock that we turn ourselves."""

from __future__ import annotations

import gc
import re

import numpy as np
import pytest

from edgernn.bench.table import microseconds, ratio
from edgernn.bench.timing import Ratio, Timings, interleaved, no_garbage, shuffled, timed


class Clock:
    """Nanoseconds; a reading costs some, and so does what moves it."""

    def __init__(self, cost: int = 0) -> None:
        self.now, self.cost = 0, cost

    def __call__(self) -> int:
        self.now += self.cost
        return self.now

    def takes(self, nanoseconds: int) -> None:
        self.now += nanoseconds


def stamps_of(*times: int) -> list[int]:
    return [0, *np.cumsum(times).tolist()]


def test_the_percentiles_are_those_of_all_calls_and_jitter_is_what_lies_between() -> None:
    timings = Timings()
    timings.add("a", stamps_of(*range(1000, 501_000, 1000)), 0.0)
    timings.add("a", stamps_of(*range(501_000, 1_001_000, 1000)), 0.0)
    summary = timings.summary("a")
    microseconds_each = np.arange(1, 1001)
    assert summary.calls == 1000
    assert summary.median == np.percentile(microseconds_each, 50)
    assert summary.p99 == pytest.approx(np.percentile(microseconds_each, 99))
    assert summary.p999 == pytest.approx(np.percentile(microseconds_each, 99.9))
    assert summary.worst == 1000
    assert summary.jitter == pytest.approx(summary.p99 - summary.median)


def test_the_timer_is_taken_off_and_nothing_is_below_zero() -> None:
    timings = Timings()
    timings.add("a", stamps_of(1060, 40, 560), 60.0)
    assert timings.times("a").tolist() == [1.0, 0.0, 0.5]


def test_a_ratio_is_taken_within_each_round() -> None:
    """The machine slows down tenfold, for all, in some rounds; in one, for one alone."""
    timings = Timings()
    for i, load in enumerate((1, 10, 1, 10, 10)):
        timings.add("slow", stamps_of(*[3000 * load] * 5), 0.0)
        timings.add("fast", stamps_of(*[1000 * load * (2 if i == 2 else 1)] * 5), 0.0)
    found = timings.ratio("slow", "fast")
    assert found == Ratio(3.0, 3.0, 3.0)
    assert timings.ratio("fast", "slow").value == pytest.approx(1 / 3)
    assert timings.fastest() == "fast"


def test_a_ratio_does_not_see_calls_that_were_interrupted() -> None:
    """More than half of those of one function, in every round."""
    timings = Timings()
    for _ in range(9):
        timings.add("a", stamps_of(*[9_000_000] * 6, *[2_000_000] * 4), 0.0)
        timings.add("b", stamps_of(*[1_000_000] * 10), 0.0)
    assert timings.microseconds("a") == 9000.0
    assert timings.ratio("a", "b") == Ratio(2.0, 2.0, 2.0)


def test_the_quartiles_of_the_rounds_are_the_spread() -> None:
    timings = Timings()
    for factor in (1, 2, 3, 4, 5):
        timings.add("a", stamps_of(*[1000 * factor] * 3), 0.0)
        timings.add("b", stamps_of(*[1000] * 3), 0.0)
    assert timings.ratio("a", "b") == Ratio(3.0, 2.0, 4.0)


def test_a_function_that_costs_nothing_still_has_a_ratio() -> None:
    timings = Timings()
    timings.add("a", stamps_of(5000, 5000), 0.0)
    timings.add("nothing", stamps_of(60, 60), 60.0)
    assert np.isfinite(timings.ratio("a", "nothing").value)


def test_every_function_takes_its_turn_in_every_round() -> None:
    clock, calls = Clock(), list[str]()

    def function(name: str, nanoseconds: int) -> None:
        calls.append(name)
        clock.takes(nanoseconds)

    timings = interleaved(
        {"a": lambda: function("a", 2000), "b": lambda: function("b", 500)},
        rounds=4,
        calls=3,
        warm=2,
        clock=clock,
    )
    assert [len(v) for v in timings.rounds.values()] == [4, 4]
    assert timings.times("a").tolist() == [2.0] * 12
    assert timings.times("b").tolist() == [0.5] * 12
    assert timings.ratio("a", "b").value == 4.0
    # After the first measure of 21 calls each: turns of two that do not count and three that do.
    turns = "".join(calls[42:])
    assert re.fullmatch(r"(a{5}b{5}|b{5}a{5}){4}", turns)


def test_the_cost_of_the_clock_itself_is_found_and_taken_off() -> None:
    clock = Clock(cost=70)
    timings = interleaved({"a": lambda: clock.takes(1000)}, 2, calls=4, clock=clock)
    assert timings.timer["a"] == [70.0, 70.0]
    assert timings.times("a").tolist() == [1.0] * 8


def test_calls_fill_the_seconds_that_are_given() -> None:
    clock = Clock()
    timings = interleaved({"a": lambda: clock.takes(10_000)}, 1, seconds=0.001, clock=clock)
    assert timings.summary("a").calls == 100


def test_orders_are_shuffled_and_repeat_with_the_seed() -> None:
    orders = list(shuffled("abcdef", 50, seed=3))
    assert all(sorted(order) == list("abcdef") for order in orders)
    assert len({tuple(order) for order in orders}) > 40
    assert orders == list(shuffled("abcdef", 50, seed=3))
    assert orders != list(shuffled("abcdef", 50, seed=4))


def test_arguments_are_given_in_order() -> None:
    seen: list[tuple[int, int]] = []
    clock = Clock(cost=1)
    stamps = timed(lambda a, b: seen.append((a, b)), [(1, 2), (3, 4)], clock)
    assert seen == [(1, 2), (3, 4)]
    assert stamps == [1, 2, 3]


def test_no_garbage_is_collected_while_it_runs_and_then_again() -> None:
    assert gc.isenabled()
    with no_garbage():
        assert not gc.isenabled()
    assert gc.isenabled()
    gc.disable()
    try:
        with no_garbage():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_numbers_have_the_digits_that_mean_something() -> None:
    assert [microseconds(v) for v in (0.4567, 12.34, 1234.5)] == ["0.46", "12.3", "1,234"]
    assert ratio(Ratio(0.0123, 0.01, 0.02)) == "0.012 (0.010..0.020)"
    assert ratio(Ratio(12.34, 11.0, 13.0)) == "12.3 (11.0..13.0)"
    assert ratio(None) == "-"
