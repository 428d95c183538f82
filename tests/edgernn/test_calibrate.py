"""Calibration: what is learned does not depend on how the data is cut, and bad data is refused."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgernn import calibrate as module
from edgernn.calibrate import METHODS, as_sequences, calibrate
from edgernn.graph import Graph, Node, Output
from edgernn.ranges import Ranges
from edgernn.runtime import InputError
from tests.programs import random_graph

GRAPH = random_graph(["gru", "lstm", "rnn_relu"], [5, 4, 3], features=2, seed=0, head=2)
RNG = np.random.default_rng(0)
DATA = RNG.standard_normal((5, 40, 2)).astype(np.float32)


def two_inputs() -> Graph:
    node = Node("concat", ("a", "b"), ("c",))
    return Graph({"a": 2, "b": 1, "c": 3}, ("a", "b"), (Output("c", "c", False),), (node,))


def linear(weight: float, size: int = 1) -> Graph:
    arrays = {
        "weight": np.full((size, 1), weight, np.float32),
        "bias": np.zeros(size, np.float32),
    }
    node = Node("linear", ("x",), ("y",), arrays)
    return Graph({"x": 1, "y": size}, ("x",), (Output("y", "y", False),), (node,))


def assert_alike(one: Ranges, other: Ranges) -> None:
    assert set(one.amplitudes) == set(other.amplitudes)
    assert set(one.second) == set(other.second)
    for name, amplitude in one.amplitudes.items():
        assert amplitude == pytest.approx(other.amplitude(name), rel=1e-5)
    for name in one.second:
        mine, its = one.moments(name), other.moments(name)
        np.testing.assert_allclose(mine.mean, its.mean, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(mine.covariance, its.covariance, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("piece", "batch"), [(7, 2), (1, 64), (39, 1), (40, 5)])
def test_pieces_and_batches_learn_what_one_pass_does(
    method: Any, piece: int, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sequences = as_sequences(GRAPH, DATA)
    whole = calibrate(GRAPH, sequences, method)
    monkeypatch.setattr(module, "PIECE", piece)
    monkeypatch.setattr(module, "BATCH", batch)
    assert_alike(calibrate(GRAPH, sequences, method), whole)


def test_sequences_of_many_lengths_are_each_run_from_the_initial_state() -> None:
    lengths = [3, 40, 3, 17, 1]
    parts = [DATA[i, :n] for i, n in enumerate(lengths)]
    ranges = calibrate(GRAPH, as_sequences(GRAPH, parts))
    largest: dict[str, float] = {}
    for part in parts:
        for name, a in calibrate(GRAPH, as_sequences(GRAPH, part)).amplitudes.items():
            largest[name] = max(largest.get(name, 0.0), a)
    assert {n: pytest.approx(a, rel=1e-5) for n, a in largest.items()} == dict(ranges.amplitudes)


def test_lists_tuples_and_arrays_are_the_same_data() -> None:
    wanted = calibrate(GRAPH, as_sequences(GRAPH, DATA))
    for data in (list(DATA), tuple(DATA), DATA.tolist(), DATA.astype(np.float64), {"x": DATA}):
        assert_alike(calibrate(GRAPH, as_sequences(GRAPH, data)), wanted)
    one = calibrate(GRAPH, as_sequences(GRAPH, DATA[0]))
    assert_alike(calibrate(GRAPH, as_sequences(GRAPH, DATA[:1])), one)


def test_mean_covariance_and_largest_are_those_of_the_data() -> None:
    ranges = calibrate(GRAPH, as_sequences(GRAPH, DATA))
    flat = DATA.reshape(-1, 2).astype(np.float64)
    assert ranges.amplitude("x") == np.abs(DATA).max()
    np.testing.assert_allclose(ranges.moments("x").mean, flat.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(ranges.moments("x").covariance, np.cov(flat.T, bias=True))


def test_everything_the_lowering_asks_for_is_there() -> None:
    ranges = calibrate(GRAPH, as_sequences(GRAPH, DATA))
    assert set(GRAPH.sizes) <= set(ranges.amplitudes)
    assert {"l2_h.gx", "l2_h.gh", "l2_h.a"} <= set(ranges.amplitudes)
    assert {"x", "l0_h", "l1_h", "l2_h"} <= set(ranges.second)


def test_several_inputs_come_as_a_tuple_or_by_name() -> None:
    graph, a, b = two_inputs(), DATA[:2], DATA[:2, :, :1] * 3
    wanted = calibrate(graph, as_sequences(graph, (a, b)))
    assert wanted.amplitude("b") == np.abs(b).max()
    assert_alike(calibrate(graph, as_sequences(graph, {"b": list(b), "a": a})), wanted)
    for data, reason in (
        (a, "tuple of as many"),
        ((a, b, b), "tuple of as many"),
        ({"a": a}, "has no 'b'"),
        ((a, b[:1]), "differ"),
        ((a, b[:, :5]), "differ"),
        ((b, a), "reads"),
    ):
        with pytest.raises(InputError, match=reason):
            as_sequences(graph, data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ([], "is empty"), (np.zeros((0, 5, 2)), "is empty"), (np.zeros((3, 0, 2)), "is empty"),
        ([np.zeros((0, 2))], "is empty"), (np.zeros((3, 5, 3)), r"sequence 0 .* \(T, 2\)"),
        (np.zeros(2), r"\(T, 2\)"), (np.zeros((1, 2, 3, 2)), r"\(T, 2\)"), (3.0, r"\(T, 2\)"),
        ([np.zeros((4, 2)), np.zeros((4, 3))], "sequence 1"), (None, r"\(T, 2\)"),
        ([[[1.0, 2.0], [3.0]]], "not an array of numbers"), ("text", "calibration"),
        (np.zeros((2, 4, 2), complex), "complex"), ([["a", "b"]], "calibration"),
        ([np.zeros((4, 2)), None], "sequence 1"), ({"y": np.zeros((4, 2))}, "has no 'x'"),
    ],
    ids=lambda v: str(v)[:24].replace("\n", " "),
)  # fmt: skip
def test_data_of_another_form_is_refused(data: Any, reason: str) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        as_sequences(GRAPH, data)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e39])
def test_nan_and_infinity_are_refused_with_their_place(bad: float) -> None:
    data = DATA.astype(np.float64)
    data[3, 17, 1] = bad
    for form in (data, list(data), data.tolist()):
        with pytest.raises(InputError, match="at sequence 3, step 17, feature 1"):
            as_sequences(GRAPH, form)


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(InputError, match="none of minmax, percentile, mse"):
        calibrate(GRAPH, as_sequences(GRAPH, DATA), "median")  # type: ignore[arg-type]


def test_a_model_that_overflows_is_refused_by_value() -> None:
    graph = linear(3e38)
    with np.errstate(over="ignore"), pytest.raises(InputError, match="overflows at y"):
        calibrate(graph, as_sequences(graph, np.full((1, 3, 1), 1e3)))


def test_methods_differ_in_how_they_treat_an_outlier() -> None:
    x = RNG.uniform(-1, 1, (1, 40_000, 1)).astype(np.float32)
    x[0, 777, 0] = 1000.0
    graph = linear(1.0)
    reach = {m: calibrate(graph, as_sequences(graph, x), m).amplitude("y") for m in METHODS}
    assert reach["minmax"] == 1000.0
    assert 0.99 < reach["percentile"] < 1.5
    # One clipped value of 1000 costs more than the coarser steps of all others.
    assert reach["mse"] == 1000.0
    x[0, 777, 0] = 1.0005
    many = calibrate(graph, as_sequences(graph, x), "mse").amplitude("y")
    assert many == pytest.approx(1.0005, rel=1e-3)


def test_every_method_survives_a_value_that_is_always_zero() -> None:
    graph = linear(0.0)
    for method in METHODS:
        ranges = calibrate(graph, as_sequences(graph, DATA[:, :, :1]), method)
        assert ranges.amplitude("y") == 0.0


def progress_into(seen: list[tuple[int, int]]) -> Callable[[int, int], None]:
    return lambda done, total: seen.append((done, total))


def test_progress_counts_every_step_of_every_pass() -> None:
    methods: list[tuple[Any, int]] = [("minmax", 1), ("mse", 2)]
    for method, passes in methods:
        seen: list[tuple[int, int]] = []
        sequences = as_sequences(GRAPH, [DATA[0], DATA[1, :7], DATA[2]])
        calibrate(GRAPH, sequences, method, progress_into(seen))
        assert [done for done, _ in seen] == sorted(done for done, _ in seen)
        assert seen[-1] == (passes * 87, passes * 87)


def test_memory_is_that_of_one_piece_however_long_the_data() -> None:
    graph = linear(1.0, size=64)
    peaks = []
    for steps in (2_000, 40_000):
        sequences = as_sequences(graph, np.ones((1, steps, 1), np.float32))
        tracemalloc.start()
        try:
            calibrate(graph, sequences, "percentile")
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    # The values of one pass over the long data are 10 MB; the copy of the input is 160 kB.
    assert peaks[1] < peaks[0] + 300_000
