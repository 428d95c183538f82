"""The native engine takes and refuses what the NumPy engine does, in the same words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgernn.runtime import EdgernnError, StepRuntime
from edgernn.runtime.program import UNIT
from tests.libraries import both, build, native
from tests.programs import random_integers, random_program
from tests.runtime.sketches import Sketch, completed, several


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a GRU(5) on 3 inputs with a head of 2, its library beside it."""
    return build(random_program(["gru"], [5], 3, 0, head=2), tmp_path_factory.mktemp("small"))


def outcome(function: Callable[[], Any]) -> tuple[Any, ...]:
    """What a call returns or raises, comparable."""
    try:
        value = function()
    except EdgernnError as error:
        return type(error), str(error)
    return type(value), value.dtype, value.tolist()


def aligned_to_one(values: list[int]) -> np.ndarray:
    return np.frombuffer(b"\0" + np.array(values, np.int16).tobytes(), np.int16, offset=1)


X = np.array([700, -800, 900], np.int16)


BLOCK = np.arange(48, dtype=np.int16).reshape(4, 12)


@pytest.mark.parametrize(
    "x",
    [(), (X, X), ([1, 2, 3],), (X.tobytes(),), (memoryview(X),), (None,), (np.zeros(3),),
     (X[:2],), (X[None],), (X.astype(">i2"),), (X.astype(np.uint16),), (X.astype(np.float16),),
     (X.astype("M8[s]"),), (X.astype(object),), (X.astype("V2"),), (np.int16(3),),
     (X[::-1],), (BLOCK[0, ::4],), (BLOCK[:3, 0],), (BLOCK.T[:3, 1],), (aligned_to_one([1, 2, 3]),),
     (X.view(np.recarray),), (np.ma.array(X),), (np.broadcast_to(np.int16(5), (3,)),)],
)  # fmt: skip
def test_any_argument_does_what_it_does_in_numpy(small: Path, x: tuple[Any, ...]) -> None:
    one, other = both(small)
    for name in ("step_int", "run_int"):
        wanted = outcome(lambda name=name: getattr(one, name)(*x))
        assert outcome(lambda name=name: getattr(other, name)(*x)) == wanted
    windows = [np.stack([v, v]) if isinstance(v, np.ndarray) else v for v in x]
    assert outcome(lambda: other.run_int(*windows)) == outcome(lambda: one.run_int(*windows))
    for state, value in one.state.items():
        np.testing.assert_array_equal(other.state[state], value)


@pytest.mark.parametrize(
    "out",
    [np.zeros(3, np.int16), np.zeros((1, 2), np.int16), np.zeros(2, np.int32), np.zeros(2),
     np.zeros((), np.int16), np.zeros(2, ">i2"), [0, 0], np.broadcast_to(np.int16(0), (2,)),
     bytearray(4), np.frombuffer(bytes(4), np.int16), np.zeros((2, 2), np.int16)[:, 0],
     np.zeros(2, np.int16).view(np.recarray)],
)  # fmt: skip
def test_any_out_does_what_it_does_in_numpy(small: Path, out: Any) -> None:
    one, other = both(small)
    wanted = outcome(lambda: one.step_int(X, out=out))
    assert outcome(lambda: other.step_int(X, out=out)) == wanted
    for state, value in one.state.items():
        np.testing.assert_array_equal(other.state[state], value)


def test_an_output_may_overlap_the_input(tmp_path: Path) -> None:
    """Where the C would write what it has not read yet."""
    b = Sketch()
    b.relu("y", b.tensor("x", 5, UNIT))
    runtime = native(completed(b, {"y": "y"}), tmp_path)
    for first in range(16):
        memory = np.arange(1, 21, dtype=np.int16)
        wanted, out = memory[8:13].copy(), memory[first : first + 5]
        assert runtime.step_int(memory[8:13], out=out) is out
        np.testing.assert_array_equal(out, wanted)


def test_several_inputs_and_outputs_come_in_their_order(tmp_path: Path) -> None:
    one, other = both(build(several(), tmp_path))
    rng = np.random.default_rng(12)
    x = [random_integers(rng, (5, 3)) for _ in one.program.inputs]
    for now in zip(*x, strict=True):
        for got, want in zip(other.step_int(*now), one.step_int(*now), strict=True):
            np.testing.assert_array_equal(got, want)
    now, out = [v[0] for v in x], np.zeros(3, np.int16)
    assert outcome(lambda: other.step_int(now[0])) == outcome(lambda: one.step_int(now[0]))
    assert outcome(lambda: other.step_int(*x)) == outcome(lambda: one.step_int(*x))
    wanted = outcome(lambda: one.step_int(*now, out=out))
    assert outcome(lambda: other.step_int(*now, out=out)) == wanted


def test_keywords_are_those_of_the_method(small: Path) -> None:
    one, other = both(small)
    out = np.zeros(2, np.int16)
    # Another string of the same letters.
    name = "".join(["o", "ut"])
    for keywords in ({"out": None}, {name: out}, {name: None}):
        np.testing.assert_array_equal(other.step_int(X, **keywords), one.step_int(X, **keywords))
    for keywords in ({"x": X}, {"out": out, "more": 1}, {"into": out}):
        for runtime in (one, other):
            with pytest.raises(TypeError):
                runtime.step_int(X, **keywords)
    for state, value in one.state.items():
        np.testing.assert_array_equal(other.state[state], value)


def test_a_state_that_does_not_fit_is_refused_in_the_same_words(small: Path) -> None:
    one, other = both(small)
    for bad in ({}, {"sl0_h": np.zeros(4, np.int16)}, {"sl0_h": np.zeros(5)}, None):

        def given_to(runtime: StepRuntime, bad: Any = bad) -> None:
            runtime.state = bad

        wanted = outcome(lambda: given_to(one))
        assert outcome(lambda: given_to(other)) == wanted
