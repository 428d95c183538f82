"""StepRuntime: the same bits as the rules, however a stream is cut; and what it refuses."""

from __future__ import annotations

import copy
import pickle
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgernn.runtime import (
    EdgernnError,
    InputError,
    StepRuntime,
    load_program,
    numpy_engine,
    save_program,
)
from edgernn.runtime.engine import quantize
from edgernn.runtime.plan import Plan
from edgernn.runtime.program import UNIT, Program
from tests.programs import random_integers, random_program, reference_run
from tests.runtime.sketches import Sketch, completed, several, small

CELLS = ("gru", "lstm", "rnn_tanh", "rnn_relu")


@settings(derandomize=True, max_examples=100, deadline=None)
@given(
    layers=st.lists(st.tuples(st.sampled_from(CELLS), st.integers(1, 20)), min_size=1, max_size=4),
    features=st.integers(1, 12),
    head=st.integers(0, 4),
    style=st.sampled_from(["full", "small", "rails", "mixed"]),
    seed=st.integers(0, 99),
)
def test_any_stack_gives_the_bits_of_the_rules(
    layers: list[tuple[str, int]], features: int, head: int, style: str, seed: int
) -> None:
    cells, hidden = zip(*layers, strict=True)
    program = random_program(cells, hidden, features, seed, head)
    rng = np.random.default_rng(seed)
    x = random_integers(rng, (3, 6, features), style)
    runtime = StepRuntime(program)
    states = {
        name: random_integers(rng, v.shape, "rails" if style == "rails" else "full")
        for name, v in runtime.state.items()
    }
    runtime.state = states
    wanted, last = reference_run(program, [x[0]], states)
    np.testing.assert_array_equal(runtime.run_int(x[0]), wanted[0])
    for name, value in runtime.state.items():
        np.testing.assert_array_equal(value, last[name])
    wanted, _ = reference_run(program, [x])
    np.testing.assert_array_equal(runtime.run_int(x), wanted[0])


@pytest.mark.parametrize(
    ("cells", "hidden", "features"),
    [(["gru"], [300], 40), (["lstm", "gru"], [150, 130], 150), (["rnn_tanh"], [256], 300)],
)
def test_large_layers_give_the_bits_of_the_rules(
    cells: list[str], hidden: list[int], features: int
) -> None:
    program = random_program(cells, hidden, features, seed=1, head=3)
    x = random_integers(np.random.default_rng(2), (5, features), "full")
    wanted, _ = reference_run(program, [x])
    np.testing.assert_array_equal(StepRuntime(program).run_int(x), wanted[0])


@pytest.mark.parametrize("cell", CELLS)
def test_a_closed_loop_stays_on_the_bits_of_the_rules(cell: str) -> None:
    program = random_program([cell, "gru"], [9, 7], 6, seed=3, head=6)
    runtime = StepRuntime(program)
    x = random_integers(np.random.default_rng(4), (6,), "full")
    wanted, states = x, runtime.state
    for _ in range(40):
        x = runtime.step_int(x)
        (results, states) = reference_run(program, [wanted[None]], states)
        wanted = results[0][0]
        np.testing.assert_array_equal(x, wanted)


def test_a_window_equals_its_steps_however_it_is_cut() -> None:
    program = random_program(["lstm", "gru"], [6, 5], 4, seed=5)
    x = random_integers(np.random.default_rng(6), (30, 4))
    whole = StepRuntime(program).run_int(x)
    by_step, in_pieces = StepRuntime(program), StepRuntime(program)
    steps = np.stack([by_step.step_int(v) for v in x])
    pieces = np.concatenate([in_pieces.run_int(part) for part in np.split(x, [0, 1, 8, 8, 29])])
    np.testing.assert_array_equal(steps, whole)
    np.testing.assert_array_equal(pieces, whole)
    for name, value in by_step.state.items():
        np.testing.assert_array_equal(value, in_pieces.state[name])


@pytest.mark.parametrize("streams", [0, 1, 2, 64, 65, 130])
def test_a_batch_equals_its_streams_one_by_one(streams: int) -> None:
    program = random_program(["gru", "lstm"], [5, 4], 3, seed=7)
    x = random_integers(np.random.default_rng(8), (streams, 4, 3))
    runtime = StepRuntime(program)
    runtime.step_int(x[0, 0] if streams else np.ones(3, np.int16))
    before = runtime.state
    result = runtime.run_int(x)
    assert result.shape == (streams, 4, 4)
    assert result.dtype == np.int16
    for one, stream in zip(result, x, strict=True):
        np.testing.assert_array_equal(one, StepRuntime(program).run_int(stream))
    for name, value in runtime.state.items():
        np.testing.assert_array_equal(value, before[name])


def test_a_huge_program_takes_fewer_streams_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    program = random_program(["gru"], [4], 3, seed=9)
    x = random_integers(np.random.default_rng(9), (7, 3, 3))
    wanted = StepRuntime(program).run_int(x)
    widths: list[int] = []

    def noted(given: Program, batch: int | None = None) -> Plan:
        widths.append(batch or 0)
        return Plan(given, batch)

    monkeypatch.setattr(numpy_engine, "_BATCH_ELEMENTS", 300)
    monkeypatch.setattr(numpy_engine, "Plan", noted)
    np.testing.assert_array_equal(StepRuntime(program).run_int(x), wanted)
    assert 0 < max(widths) < 7


def test_floats_are_the_integers_times_their_scales() -> None:
    program = random_program(["gru"], [5], 3, seed=10, head=2)
    x = np.random.default_rng(11).normal(size=(9, 3)).astype(np.float32)
    bits = StepRuntime(program).run_int(quantize(x, program.tensors["x"]))
    scale = np.float32(float(program.tensors["head"].scale))
    by_window, by_step = StepRuntime(program), StepRuntime(program)
    y = by_window.run(x)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, bits * scale)
    np.testing.assert_array_equal(np.stack([by_step.step(v) for v in x]), y)
    np.testing.assert_array_equal(by_step.run(np.stack([x, x])), np.stack([y, y]))


def test_several_inputs_and_outputs_come_in_their_order() -> None:
    program = several()
    runtime, rng = StepRuntime(program), np.random.default_rng(12)
    x = [random_integers(rng, (5, 3)) for _ in program.inputs]
    wanted, _ = reference_run(program, x)
    for got, want in zip(runtime.run_int(*x), wanted, strict=True):
        np.testing.assert_array_equal(got, want)
    runtime.reset()
    results = runtime.step_int(*(v[0] for v in x))
    assert isinstance(results, tuple)
    for got, want in zip(results, wanted, strict=True):
        np.testing.assert_array_equal(got, want[0])
    runtime.reset()
    floats = runtime.run(*(v * np.float32(2.0**-15) for v in x))
    for got, want in zip(floats, wanted, strict=True):
        np.testing.assert_array_equal(got, want * np.float32(2.0**-15))
    with pytest.raises(InputError, match="2 inputs, and 1 were given"):
        runtime.run(x[0])
    with pytest.raises(InputError, match="one output"):
        runtime.step_int(*(v[0] for v in x), out=np.zeros(3, np.int16))


def test_reset_goes_back_to_the_initial_state() -> None:
    runtime = small()
    x = random_integers(np.random.default_rng(13), (6, 3))
    first = runtime.run_int(x)
    assert (runtime.run_int(x) != first).any()
    runtime.reset()
    for state in runtime.program.states:
        np.testing.assert_array_equal(runtime.state[state.name], state.initial)
    np.testing.assert_array_equal(runtime.run_int(x), first)


def test_a_state_moves_to_another_runtime_and_back() -> None:
    one, other = small(), small()
    x = random_integers(np.random.default_rng(14), (8, 3))
    one.run_int(x[:4])
    saved = one.state
    other.state = saved
    np.testing.assert_array_equal(other.run_int(x[4:]), one.run_int(x[4:]))
    other.state = saved
    one.state = saved
    np.testing.assert_array_equal(other.step_int(x[0]), one.step_int(x[0]))


def test_a_state_is_a_copy_both_ways() -> None:
    runtime = small()
    taken = runtime.state
    taken["sl0_h"][:] = 77
    assert (runtime.state["sl0_h"] != 77).any()
    given_ = {"sl0_h": np.full(5, 99, np.int16)}
    runtime.state = given_
    given_["sl0_h"][:] = 1
    np.testing.assert_array_equal(runtime.state["sl0_h"], np.full(5, 99))


def test_an_empty_window_gives_an_empty_result() -> None:
    assert small().run_int(np.zeros((0, 3), np.int16)).shape == (0, 2)
    assert small().run(np.zeros((4, 0, 3))).shape == (4, 0, 2)


def test_results_are_the_callers_own() -> None:
    runtime, x = small(), np.ones(3, np.int16)
    first = runtime.step_int(x)
    copy = first.copy()
    runtime.step_int(x)
    np.testing.assert_array_equal(first, copy)


def test_a_result_can_be_written_to_any_int16_memory_of_its_size() -> None:
    x = random_integers(np.random.default_rng(17), (5, 3))
    wanted, runtime = small().run_int(x), small()
    out = np.zeros((5, 4), np.int16)
    for row, value in zip(out[:, ::2], x, strict=True):
        assert runtime.step_int(value, out=row) is row
    np.testing.assert_array_equal(out[:, ::2], wanted)


def test_out_serves_a_program_of_two_inputs_and_one_output() -> None:
    b = Sketch()
    b.add("y", b.tensor("x", 3, UNIT), b.tensor("u", 3, UNIT), UNIT)
    runtime, out = StepRuntime(completed(b, {"y": "y"})), np.zeros(3, np.int16)
    one, two = np.full(3, 5, np.int16), np.full(3, 6, np.int16)
    assert runtime.step_int(one, two, out=out) is out
    assert out.tolist() == [11, 11, 11]
    with pytest.raises(InputError, match="out= is to be"):
        runtime.step_int(one, two, out=out[:2])


def test_a_step_allocates_nothing() -> None:
    runtime = StepRuntime(random_program(["gru", "lstm"], [40, 30], 12, seed=18))
    x, out = np.ones(12, np.int16), np.zeros(30, np.int16)
    for _ in range(20):
        runtime.step_int(x, out=out)
    kept, peaks = [], []
    # Other threads of the test process allocate too; what the step does shows in every round.
    for _ in range(5):
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            for _ in range(200):
                runtime.step_int(x, out=out)
            after, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        kept.append(after - before)
        peaks.append(peak - before)
    assert min(kept) < 200
    # One small array would show: 30 int16 and its header are 170 bytes.
    assert min(peaks) < 160


def test_load_reads_a_file_and_two_runtimes_of_one_program_are_independent(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_program(random_program(["gru"], [5], 3, 0, head=2), path)
    x = random_integers(np.random.default_rng(19), (6, 3))
    np.testing.assert_array_equal(StepRuntime.load(path).run_int(x), small().run_int(x))
    program = load_program(path)
    one, other = StepRuntime(program), StepRuntime(program)
    one.run_int(x)
    np.testing.assert_array_equal(other.run_int(x), small().run_int(x))
    with pytest.raises(EdgernnError, match="cannot read"):
        StepRuntime.load(tmp_path / "none")


@pytest.mark.parametrize(
    "copier", [copy.copy, copy.deepcopy, lambda r: pickle.loads(pickle.dumps(r))]
)
def test_a_copy_goes_on_from_the_same_state_by_itself(
    copier: Callable[[StepRuntime], StepRuntime],
) -> None:
    runtime = StepRuntime(random_program(["gru", "lstm"], [9, 5], 4, seed=3))
    x = np.random.default_rng(2).integers(-9000, 9000, (30, 4)).astype(np.int16)
    runtime.run_int(x[:10])
    twin = copier(runtime)
    expected = runtime.run_int(x[10:])
    np.testing.assert_array_equal(twin.run_int(x[10:]), expected)
    assert all(np.array_equal(v, twin.state[n]) for n, v in runtime.state.items())
