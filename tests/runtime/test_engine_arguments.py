"""What StepRuntime takes and what it refuses, with the state as it was."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgernn.runtime import InputError, StepRuntime
from edgernn.runtime.engine import quantize
from edgernn.runtime.program import GATE, UNIT, Scale, Tensor
from tests.programs import random_integers, random_program
from tests.runtime.sketches import several, small


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"wrong": np.zeros(5, np.int16)},
        {"sl0_h": np.zeros(5, np.int16), "more": np.zeros(5, np.int16)},
        {"sl0_h": np.zeros(4, np.int16)},
        {"sl0_h": np.zeros((1, 5), np.int16)},
        {"sl0_h": np.zeros(5, np.float32)},
        {"sl0_h": np.zeros(5, np.int64)},
        {"sl0_h": np.zeros(5, ">i2")},
        {"sl0_h": [0] * 5},
        [np.zeros(5, np.int16)],
        None,
    ],
    ids=str,
)
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(values: Any) -> None:
    runtime = small()
    before = runtime.state
    with pytest.raises(InputError, match="sl0_h"):
        runtime.state = values
    np.testing.assert_array_equal(runtime.state["sl0_h"], before["sl0_h"])


def test_a_wrong_second_state_leaves_the_first_as_it_was() -> None:
    runtime = StepRuntime(random_program(["lstm"], [3], 2, seed=15))
    before = runtime.state
    with pytest.raises(InputError, match="sl0_c"):
        runtime.state = {"sl0_h": np.ones(3, np.int16), "sl0_c": np.ones(4, np.int16)}
    for name, value in runtime.state.items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused_and_the_state_stays(bad: float) -> None:
    runtime = small()
    runtime.step(np.ones(3))
    before = runtime.state["sl0_h"]
    x = np.zeros((4, 3))
    x[2, 1] = bad
    for call, value in ((runtime.step, x[2]), (runtime.run, x), (runtime.run, x[None])):
        with pytest.raises(InputError, match="NaN or infinity"):
            call(value)
        np.testing.assert_array_equal(runtime.state["sl0_h"], before)


def test_a_bad_second_input_is_found_before_the_step() -> None:
    runtime = StepRuntime(several())
    before = runtime.state
    with pytest.raises(InputError, match="u holds NaN"):
        runtime.step(np.ones(3), np.array([0.0, np.nan, 0.0]))
    for name, value in runtime.state.items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize("value", [1e5, 1e38, 3.4e38, 1e39, 1e300])
def test_what_is_out_of_range_saturates(value: float) -> None:
    tensor = Tensor("x", 2, UNIT)
    assert quantize([value, -value], tensor).tolist() == [32767, -32768]


@pytest.mark.parametrize("scale", [UNIT, GATE, Scale(1, 0), Scale(5, -20)], ids=str)
def test_floats_are_rounded_ties_away_from_zero_in_float32(scale: Scale) -> None:
    tensor, s = Tensor("x", 6, scale), float(scale)
    ties = np.array([0.5, -0.5, 1.5, -1.5, 2.5, -2.5]) * s
    assert quantize(ties, tensor).tolist() == [1, -1, 2, -2, 3, -3]
    below = np.nextafter(np.float32(0.5), np.float32(0)) * np.ones(6)
    assert quantize(below * float(Scale(1, scale.exponent)), tensor).tolist() == [0] * 6


@pytest.mark.parametrize(
    "value",
    [[1, 2, 3], (1.0, 2.0, 3.0), np.array([1, 2, 3], np.int8), np.array([1, 2, 3], ">f4"),
     np.array([1, 2, 3], np.float64), np.array([1, 2, 3], np.float16), np.arange(3, 0, -1)[::-1],
     np.array([[1, 0], [2, 0], [3, 0]], np.float32)[:, 0]],
    ids=repr,
)  # fmt: skip
def test_any_real_numbers_in_any_memory_make_the_same_step(value: Any) -> None:
    wanted = small().step(np.array([1, 2, 3], np.float32))
    np.testing.assert_array_equal(small().step(value), wanted)


@pytest.mark.parametrize(
    "value",
    [[1, 2], [1, 2, 3, 4], [[1, 2, 3]], 1.0, [], ["1", "2", "3"], [1, 2, 3j], [1, [2], 3], None,
     [10**400, 0, 0], np.array([1, 2, 3], "M8[s]"), {"a": 1}],
    ids=lambda v: str(v)[:24],
)  # fmt: skip
def test_what_is_no_feature_vector_is_refused(value: Any) -> None:
    runtime = small()
    before = runtime.state["sl0_h"]
    with pytest.raises(InputError):
        runtime.step(value)
    np.testing.assert_array_equal(runtime.state["sl0_h"], before)


@pytest.mark.parametrize(
    "x",
    [(), ([1, 2, 3],), (np.zeros(3),), (np.zeros(2, np.int16),), (np.zeros((1, 3), np.int16),),
     (np.zeros(3, ">i2"),), (np.zeros(3, np.int16), np.zeros(3, np.int16)), (None,)],
    ids=repr,
)  # fmt: skip
def test_step_int_takes_the_raw_bits_and_nothing_else(x: tuple[Any, ...]) -> None:
    runtime = small()
    before = runtime.state["sl0_h"]
    with pytest.raises(InputError, match=r"step_int takes int16\(3,\), not "):
        runtime.step_int(*x)
    np.testing.assert_array_equal(runtime.state["sl0_h"], before)


@pytest.mark.parametrize(
    "x",
    [(), ([[1, 2, 3]],), (np.zeros((4, 3)),), (np.zeros((4, 2), np.int16),),
     (np.zeros(3, np.int16),), (np.zeros((1, 1, 1, 3), np.int16),), (np.zeros((4, 3), ">i2"),),
     (np.zeros((4, 3), np.int16),) * 2, (np.int16(3),)],
    ids=repr,
)  # fmt: skip
def test_run_int_takes_the_raw_bits_and_nothing_else(x: tuple[Any, ...]) -> None:
    with pytest.raises(InputError, match=r"run_int takes int16 \(T, 3\) or \(N, T, 3\), not "):
        small().run_int(*x)


def test_two_windows_of_different_length_are_refused() -> None:
    x = np.zeros((4, 3), np.int16)
    with pytest.raises(InputError, match="run_int takes"):
        StepRuntime(several()).run_int(x, x[:3])


def test_views_of_any_kind_are_read_as_their_values() -> None:
    x = random_integers(np.random.default_rng(16), (12, 3))
    wanted = small().run_int(x)
    spread = np.zeros((24, 6), np.int16)[::2, ::2]
    spread[...] = x
    np.testing.assert_array_equal(small().run_int(spread), wanted)
    np.testing.assert_array_equal(small().run_int(np.asfortranarray(x)), wanted)
    runtime = small()
    steps = [runtime.step_int(row.view(np.recarray)) for row in spread]
    np.testing.assert_array_equal(np.stack(steps), wanted)


@pytest.mark.parametrize(
    "out",
    [np.zeros(3, np.int16), np.zeros((1, 2), np.int16), np.zeros(2, np.int32), np.zeros(2),
     np.zeros((), np.int16), np.zeros(2, ">i2"), [0, 0], np.broadcast_to(np.int16(0), (2,))],
    ids=repr,
)  # fmt: skip
def test_out_that_does_not_fit_is_refused_before_the_step(out: Any) -> None:
    runtime = small()
    before = runtime.state["sl0_h"]
    with pytest.raises(InputError, match="out= is to be"):
        runtime.step_int(np.ones(3, np.int16), out=out)
    np.testing.assert_array_equal(runtime.state["sl0_h"], before)
