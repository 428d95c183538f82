"""The native engine's step as a function of Python's own: errors, memory, threads, its life."""

from __future__ import annotations

import copy
import gc
import inspect
import sys
import threading
import time
import tracemalloc
import types
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgernn.runtime import EdgernnError, StepRuntime
from edgernn.runtime.library import library_path
from edgernn.runtime.native import NativeEngine
from tests.libraries import both, build, listed, native
from tests.programs import random_integers, random_program
from tests.runtime.sketches import several

X = np.array([700, -800, 900], np.int16)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a GRU(5) on 3 inputs with a head of 2, its library beside it."""
    return build(random_program(["gru"], [5], 3, 0, head=2), tmp_path_factory.mktemp("small"))


def spoil(runtime: StepRuntime) -> None:
    """Let its state be none of the model's."""
    engine = runtime._engine
    assert isinstance(engine, NativeEngine)
    engine._memory[:4] ^= 0xFF


def test_a_status_of_the_step_becomes_an_error_and_nothing_is_written(small: Path) -> None:
    _, runtime = both(small)
    out = np.full(2, 99, np.int16)
    spoil(runtime)
    for call in (
        lambda: runtime.step_int(X, out=out),
        lambda: runtime.step_int(X),
        lambda: runtime.run_int(X[None]),
    ):
        with pytest.raises(EdgernnError, match="the state was not reset"):
            call()
    assert out.tolist() == [99, 99]


def test_a_step_leaks_nothing_and_with_out_allocates_nothing(small: Path, tmp_path: Path) -> None:
    runtime, broken, wider = both(small)[1], both(small)[1], native(several(), tmp_path)
    spoil(broken)
    frozen, out = np.broadcast_to(np.int16(0), (2,)), np.zeros(2, np.int16)

    def all_ways() -> None:
        runtime.step_int(X)
        runtime.step_int(X, out=out)
        runtime.step_int(X[::-1])
        wider.step_int(X, X)
        for x, target in ((X, frozen), (X.astype("M8[s]"), None), (None, None)):
            with pytest.raises(EdgernnError):
                runtime.step_int(x, out=target)
        with pytest.raises(EdgernnError):
            broken.step_int(X)
        with pytest.raises(TypeError):
            runtime.step_int(X, other=out)

    def used(function: Callable[[], object], count: int) -> tuple[int, int]:
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            for _ in range(count):
                function()
            after, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        return after - before, peak - before

    objects = (X, frozen, np.ndarray, np.empty, None, out)
    for _ in range(20):
        all_ways()
    counts = [sys.getrefcount(o) for o in objects]
    # One object lost in each round would be 8,000 bytes or more.
    assert min(used(all_ways, 500)[0] for _ in range(3)) < 4000
    # Two thousand calls were made since; a few references to None come and go by themselves.
    for before, now in zip(counts, [sys.getrefcount(o) for o in objects], strict=True):
        assert abs(now - before) < 100
    # Other threads of the test process allocate too; what the step does shows in every round.
    peaks = [used(lambda: runtime.step_int(X, out=out), 200)[1] for _ in range(5)]
    assert min(peaks) < 160


def test_a_long_window_lets_other_threads_run(tmp_path: Path) -> None:
    runtime = native(random_program(["gru"], [64], 8, 0), tmp_path)
    x = np.zeros((20_000, 8), np.int16)
    thread = threading.Thread(target=runtime.run_int, args=(x,))
    turns = 0
    thread.start()
    while thread.is_alive():
        turns += 1
        time.sleep(0.001)
    # With Python's lock held, this thread would have stood still all the time.
    assert turns > 5


def test_runtimes_in_threads_of_their_own_keep_their_bits(tmp_path: Path) -> None:
    path = build(random_program(["gru"], [24], 8, 1), tmp_path)
    x = random_integers(np.random.default_rng(3), (4, 2000, 8))
    wanted = StepRuntime.load(path).run_int(x)
    results: dict[int, np.ndarray] = {}
    shared = StepRuntime.load(path, engine="native")

    def work(i: int) -> None:
        runtime = StepRuntime.load(path, engine="native")
        steps = np.stack([runtime.step_int(v) for v in x[i, :200]])
        rest = runtime.run_int(x[i, 200:])
        results[i] = np.concatenate([steps, rest])
        # A batch does not touch the runtime's state, so that threads may share it.
        np.testing.assert_array_equal(shared.run_int(x[i : i + 1])[0], results[i])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(x))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, result in results.items():
        np.testing.assert_array_equal(result, wanted[i])
    assert len(results) == len(x)


def test_another_python_steps_through_ctypes(
    tmp_path: Path, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = build(several(), tmp_path)
    monkeypatch.setattr(sys.implementation, "name", "another")
    for file, x in ((small, (X,)), (path, (X, X))):
        one, other = both(file)
        engine = other._engine
        assert isinstance(engine, NativeEngine)
        assert engine.binding == "ctypes"
        for _ in range(5):
            for got, want in zip(listed(other.step_int(*x)), listed(one.step_int(*x)), strict=True):
                np.testing.assert_array_equal(got, want)
    out = np.zeros(2, np.int16)
    _, runtime = both(small)
    assert runtime.step_int(X, out=out) is out


def test_on_cpython_a_step_is_a_built_in_function(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(self: NativeEngine, x: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(NativeEngine, "window", never)
    for path, x in ((small, (X,)), (build(several(), tmp_path), (X, X))):
        runtime = StepRuntime.load(path, engine="native")
        engine = runtime._engine
        assert isinstance(engine, NativeEngine)
        assert engine.binding == "built-in function"
        assert isinstance(runtime.step_int, types.BuiltinFunctionType)
        assert runtime.step_int(*x) is not None
        assert str(inspect.signature(runtime.step_int)) == "(*x, out=None)"
    with pytest.raises(AssertionError):
        runtime.step_int(X[::-1], X)


@pytest.mark.parametrize("engine", ["numpy", "native"])
def test_a_step_function_outlives_its_runtime_and_nothing_is_left_of_either(
    small: Path, engine: str
) -> None:
    runtime = StepRuntime.load(small, engine=engine)
    wanted = [StepRuntime.load(small).step_int(X)]
    step, parts = runtime.step_int, [weakref.ref(runtime), weakref.ref(runtime._engine)]
    gc.disable()
    try:
        del runtime
        assert parts[0]() is None
        np.testing.assert_array_equal(step(X), wanted[0])
        assert step(X[::-1]).shape == (2,)
        del step
        assert parts[1]() is None
    finally:
        gc.enable()


def test_a_step_function_keeps_the_memory_of_the_state(small: Path) -> None:
    engine = NativeEngine(StepRuntime.load(small).program, library_path(small))
    step, memory = engine.step_function(print), weakref.ref(engine._memory)
    del engine
    assert memory() is not None
    assert step(X).shape == (2,)
    del step
    assert memory() is None


class Counting(StepRuntime):
    """One that does more in a step."""

    steps = 0

    def step_int(self, *x: Any, out: Any = None) -> Any:
        self.steps += 1
        return super().step_int(*x, out=out)


@pytest.mark.parametrize("engine", ["numpy", "native"])
def test_a_step_may_be_overridden(small: Path, engine: str) -> None:
    runtime, plain = Counting.load(small, engine=engine), StepRuntime.load(small)
    np.testing.assert_array_equal(runtime.step_int(X), plain.step_int(X))
    np.testing.assert_array_equal(runtime.step(np.ones(3)), plain.step(np.ones(3)))
    assert runtime.steps == 2
    assert copy.copy(runtime).engine == engine
