"""The native engine: the bits of the rules, however a stream is cut, copied and moved."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgernn.runtime import Program, StepRuntime
from tests.exporters.c_host import NATIVE, PORTABLE
from tests.libraries import QUICK, both, build, listed, native
from tests.programs import random_integers, random_program, random_structure, reference_run

CELLS = ("gru", "lstm", "rnn_tanh", "rnn_relu")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a GRU(5) on 3 inputs with a head of 2, its library beside it."""
    return build(random_program(["gru"], [5], 3, 0, head=2), tmp_path_factory.mktemp("small"))


def assert_the_bits_of_the_rules(program: Program, folder: Path, flags: tuple[str, ...]) -> None:
    """Single steps, windows and batches from any state, against the plain operators."""
    runtime, rng = native(program, folder, flags), np.random.default_rng(1)
    x = [random_integers(rng, (3, 9, program.tensors[n].size)) for n in program.inputs]
    first = [v[0] for v in x]
    states = {k: random_integers(rng, v.shape, "full") for k, v in runtime.state.items()}
    wanted, last = reference_run(program, first, states)

    def stepwise() -> list[np.ndarray]:
        steps = [listed(runtime.step_int(*now)) for now in zip(*first, strict=True)]
        return [np.stack(rows) for rows in zip(*steps, strict=True)]

    for run in (stepwise, lambda: listed(runtime.run_int(*first))):
        runtime.state = states
        for got, want in zip(run(), wanted, strict=True):
            np.testing.assert_array_equal(got, want)
        for name, value in runtime.state.items():
            np.testing.assert_array_equal(value, last[name])
    wanted, _ = reference_run(program, x)
    for got, want in zip(listed(runtime.run_int(*x)), wanted, strict=True):
        np.testing.assert_array_equal(got, want)
    for name, value in runtime.state.items():
        np.testing.assert_array_equal(value, last[name])


@settings(
    derandomize=True,
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    layers=st.lists(st.tuples(st.sampled_from(CELLS), st.integers(1, 40)), min_size=1, max_size=3),
    features=st.integers(1, 20),
    head=st.integers(0, 4),
    flags=st.sampled_from([PORTABLE, NATIVE]),
    seed=st.integers(0, 99),
)
def test_any_stack_gives_the_bits_of_the_rules(
    tmp_path: Path,
    layers: list[tuple[str, int]],
    features: int,
    head: int,
    flags: tuple[str, ...],
    seed: int,
) -> None:
    cells, hidden = zip(*layers, strict=True)
    program = random_program(cells, hidden, features, seed, head)
    assert_the_bits_of_the_rules(program, tmp_path, (*flags, *QUICK))


@pytest.mark.parametrize("seed", range(10))
def test_any_structure_gives_the_bits_of_the_rules(tmp_path: Path, seed: int) -> None:
    """Several inputs and outputs, states that are swapped, kept or read by nothing."""
    assert_the_bits_of_the_rules(random_structure(seed), tmp_path, (*PORTABLE, *QUICK))


@pytest.mark.parametrize("flags", [PORTABLE, NATIVE], ids=["portable", "native"])
def test_a_closed_loop_stays_on_the_bits_of_numpy(tmp_path: Path, flags: tuple[str, ...]) -> None:
    program = random_program(["lstm", "gru"], [33, 65], 65, seed=3)
    one, other = both(build(program, tmp_path, flags))
    x = y = random_integers(np.random.default_rng(4), (65,), "full")
    for _ in range(3000):
        x, y = one.step_int(x), other.step_int(y)
        np.testing.assert_array_equal(x, y)


def test_a_window_equals_its_steps_however_it_is_cut(small: Path) -> None:
    one, other = both(small)
    x = random_integers(np.random.default_rng(6), (30, 3))
    whole = one.run_int(x)
    pieces = np.concatenate([other.run_int(part) for part in np.split(x, [0, 1, 8, 8, 29])])
    np.testing.assert_array_equal(pieces, whole)


@pytest.mark.parametrize("shape", [(0, 3), (4, 0, 3), (0, 4, 3), (1, 1, 3)], ids=str)
def test_windows_and_batches_may_be_empty(small: Path, shape: tuple[int, ...]) -> None:
    one, other = both(small)
    x = np.ones(shape, np.int16)
    np.testing.assert_array_equal(other.run_int(x), one.run_int(x))
    assert other.run_int(x).shape == (*shape[:-1], 2)


def test_floats_are_those_of_numpy(small: Path) -> None:
    one, other = both(small)
    x = np.random.default_rng(11).normal(size=(9, 3)).astype(np.float32)
    np.testing.assert_array_equal(other.run(x), one.run(x))
    np.testing.assert_array_equal(other.step(x[0]), one.step(x[0]))
    np.testing.assert_array_equal(other.run(np.stack([x, x])), one.run(np.stack([x, x])))


def test_a_state_moves_between_the_engines(small: Path) -> None:
    one, other = both(small)
    x = random_integers(np.random.default_rng(14), (12, 3))
    one.run_int(x[:4])
    other.state = one.state
    middle = other.run_int(x[4:8])
    np.testing.assert_array_equal(middle, one.run_int(x[4:8]))
    one.reset()
    one.state = other.state
    np.testing.assert_array_equal(one.run_int(x[8:]), other.run_int(x[8:]))
    other.reset()
    for state in other.program.states:
        np.testing.assert_array_equal(other.state[state.name], state.initial)


def test_what_is_given_and_taken_is_a_copy(small: Path) -> None:
    _, runtime = both(small)
    x = np.ones(3, np.int16)
    first = runtime.step_int(x)
    kept, state = first.copy(), runtime.state
    (name,) = state
    state[name][:] = 77
    runtime.step_int(x)
    np.testing.assert_array_equal(first, kept)
    assert (runtime.state[name] != 77).any()


@pytest.mark.parametrize(
    "copier", [copy.copy, copy.deepcopy, lambda r: pickle.loads(pickle.dumps(r))]
)
def test_a_copy_goes_on_from_the_same_state_by_itself(
    small: Path, copier: Callable[[StepRuntime], StepRuntime]
) -> None:
    _, runtime = both(small)
    x = random_integers(np.random.default_rng(2), (30, 3))
    runtime.run_int(x[:10])
    twin = copier(runtime)
    assert twin.engine == "native"
    expected = runtime.run_int(x[10:])
    np.testing.assert_array_equal(twin.run_int(x[10:]), expected)


def test_many_runtimes_of_several_programs_are_independent(tmp_path: Path, small: Path) -> None:
    (tmp_path / "other").mkdir()
    paths = [small, build(random_program(["lstm"], [6], 3, 1), tmp_path / "other")]
    pairs = [both(path) for path in [*paths, *paths]]
    for t in range(20):
        x = random_integers(np.random.default_rng(t), (3,))
        for one, other in pairs[t % 3 :]:
            np.testing.assert_array_equal(other.step_int(x), one.step_int(x))
