"""The .tflite file of a window program, on ai-edge-litert and on tflite-runtime 2.14."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgernn.engines.tflite_window import TFLiteWindowEngine
from edgernn.exporters.tflite import to_tflite
from edgernn.exporters.tflite_window import to_tflite_window
from edgernn.runtime import StepRuntime
from edgernn.runtime.errors import FileFormatError, InputError, MissingExtraError
from edgernn.runtime.program import UNIT, Operator, Program, State, Tensor
from edgernn.runtime.window import Source, Stage, Window, window_of
from edgernn.runtime.window_runtime import WindowRuntime
from edgernn.window_verify import PlainWindowEngine
from tests.exporters import tflite_window_runner
from tests.exporters.tflite_cases import (
    INTERPRETERS,
    Arrays,
    Jobs,
    RunAll,
    batch_runner_of,
    given_for,
)
from tests.programs import random_program, random_structure
from tests.windows import random_inputs, random_stack, random_stages, random_window

LENGTHS = (7, 1, 2, 40, 7)
"""Of the windows that one interpreter is given in turn; files are exported for the first."""


@pytest.fixture(params=INTERPRETERS)
def run_all(request: pytest.FixtureRequest, tmp_path: Path) -> RunAll:
    return batch_runner_of(request.param, tmp_path, tflite_window_runner)


def numbered(windows: Sequence[Mapping[str, np.ndarray]]) -> Arrays:
    return {f"{i}/{name}": v for i, window in enumerate(windows) for name, v in window.items()}


def assert_equal(got: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray]) -> None:
    assert set(got) == set(wanted)
    for name, array in wanted.items():
        assert got[name].dtype == np.int16
        np.testing.assert_array_equal(got[name], array, err_msg=name, strict=True)


def exact_jobs(
    windows: Sequence[Window], lengths: Sequence[int]
) -> tuple[list[tuple[bytes, Arrays]], list[Arrays]]:
    """What to run, and every bit that is to come of it."""
    jobs, wanted = [], []
    for i, window in enumerate(windows):
        inputs = [random_inputs(window, steps, i + j) for j, steps in enumerate(lengths)]
        jobs.append((to_tflite_window(window, lengths[0]), numbered(inputs)))
        plain = PlainWindowEngine(window)
        wanted.append(numbered([plain.run(x) for x in inputs]))
    return jobs, wanted


def assert_exact(run_all: RunAll, jobs: Jobs, wanted: Sequence[Arrays]) -> None:
    for got, right in zip(run_all(jobs), wanted, strict=True):
        assert_equal(got, right)


@cache
def stacks() -> tuple[Jobs, list[Arrays]]:
    """Over 2000 steps of bidirectional layers."""
    windows = [random_stack(seed) for seed in range(40)]
    names = {state.name for w in windows for stage in w.stages for state in stage.program.states}
    assert {name.rsplit("_", 1)[1] for name in names} == {"h", "c"}
    assert sum(len(w.inputs) == 2 for w in windows) > 10
    return exact_jobs(windows, LENGTHS)


@cache
def stages() -> tuple[Jobs, list[Arrays]]:
    """Over 3000 steps of any operators in any order."""
    windows = [random_stages(seed, 14) for seed in range(60)]
    directions = [stage.direction for window in windows for stage in window.stages]
    assert min(directions.count(d) for d in ("forward", "reverse", "once")) > 10
    return exact_jobs(windows, LENGTHS)


def test_bidirectional_stacks_give_the_bits_of_the_program(run_all: RunAll) -> None:
    assert_exact(run_all, *stacks())


def test_stages_of_any_program_give_its_bits(run_all: RunAll) -> None:
    assert_exact(run_all, *stages())


def test_streaming_programs_give_the_bits_of_a_fresh_stream(run_all: RunAll) -> None:
    programs = [random_program(["gru", "lstm"], [9, 5], 4, seed, 3) for seed in range(3)]
    programs += [random_structure(seed) for seed in range(30)]
    jobs = []
    for program in programs:
        window = window_of(program)
        inputs = [random_inputs(window, steps, 1) for steps in LENGTHS]
        jobs.append((to_tflite_window(window, 7), numbered(inputs)))
    for program, (_, inputs), got in zip(programs, jobs, run_all(jobs), strict=True):
        for i in range(len(LENGTHS)):
            x = [inputs[f"{i}/{name}"] for name in program.inputs]
            y = StepRuntime(program).run_int(*x)
            for name, right in zip(
                program.outputs, y if isinstance(y, tuple) else (y,), strict=True
            ):
                np.testing.assert_array_equal(got[f"{i}/{name}"], right)


def test_long_windows(run_all: RunAll) -> None:
    windows = [random_stack(3), random_stages(8)]
    assert any(source.at == "step" for source in windows[0].outputs.values())
    jobs: list[tuple[bytes, Arrays]] = []
    wanted = []
    for window in windows:
        inputs = random_inputs(window, 3000, 5)
        jobs.append((to_tflite_window(window, 3000), numbered([inputs])))
        found = WindowRuntime(window).run_int(*(inputs[t.name] for t in window.inputs))
        values = found if isinstance(found, tuple) else (found,)
        wanted.append(numbered([dict(zip(window.outputs, values, strict=True))]))
    assert_exact(run_all, jobs, wanted)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1 << 20), st.integers(1, 40), st.lists(st.integers(1, 60), min_size=1))
def test_any_window_at_any_length(seed: int, steps: int, lengths: list[int]) -> None:
    window = random_window(seed, 33)
    engine = TFLiteWindowEngine(to_tflite_window(window, steps), window)
    plain = PlainWindowEngine(window)
    for length in lengths:
        inputs = random_inputs(window, length, seed)
        assert_equal(engine.run(inputs), plain.run(inputs))


def states_that_change_places() -> Window:
    """Each state's next value is another state, the input, or a constant; two share one."""
    names = ("x", "a", "b", "c", "d", "k", "r")
    program = Program(
        {name: Tensor(name, 3, UNIT) for name in names},
        ("x",),
        {"y": "a", "z": "r", "same": "r", "still": "k", "given": "x"},
        tuple(
            State(f"state_{i}", i, following, np.arange(3, dtype=np.int16) + 10 * n)
            for n, (i, following) in enumerate({"a": "b", "b": "a", "c": "x", "d": "k"}.items())
        ),
        (Operator("maximum", ("c", "d"), ("r",)),),
        {},
        {"k": np.array([5, -5, 50], np.int16)},
    )
    outputs = {f"{v}_{at}": Source(v, at) for v in program.outputs for at in ("step", "last")}
    stages = (Stage(program, "reverse", {"x": Source("x")}),)
    return Window((Tensor("x", 3, UNIT),), stages, outputs | {"x": Source("x", "first")})


def test_states_that_change_places(run_all: RunAll) -> None:
    window = states_that_change_places()
    only_last = {"y": Source("y", "first"), "z": Source("z", "first")}
    windows = [window, dataclasses.replace(window, outputs=only_last)]
    assert_exact(run_all, *exact_jobs(windows, (4, 1, 5)))


def test_fully_connected_gives_the_bits_of_the_step_with_it(tmp_path: Path) -> None:
    """Its rounding is the interpreter's; so the step's file on the same one is the reference."""
    program = random_program(["gru", "lstm"], [17, 6], 5, 3, 4)
    window = window_of(program)
    x = random_inputs(window, 500, 2)
    step = to_tflite(program, product="fully_connected")
    whole = to_tflite_window(window, 7, product="fully_connected")
    for interpreter in INTERPRETERS:
        run_steps = batch_runner_of(interpreter, tmp_path)
        run_all = batch_runner_of(interpreter, tmp_path, tflite_window_runner)
        (expected,) = run_steps([(step, given_for(program, x))])
        (got,) = run_all([(whole, numbered([x]))])
        np.testing.assert_array_equal(got["0/y"], expected["y"])


def test_weights_are_there_once_however_long_the_window_is() -> None:
    window = random_stack(2, 32)
    short, long = (to_tflite_window(window, steps) for steps in (2, 5000))
    assert abs(len(long) - len(short)) < 200
    seen = 0
    for stage in window.stages:
        for op in stage.program.operators:
            if op.matrix is not None and op.matrix.weight.size > 64:
                assert long.count(op.matrix.weight.tobytes()) == 1
                seen += 1
    assert seen > 2


def test_equal_windows_give_equal_bytes() -> None:
    assert to_tflite_window(random_window(4), 9) == to_tflite_window(random_window(4), 9)


def test_the_signature_has_the_names_of_the_window() -> None:
    window = states_that_change_places()
    engine = TFLiteWindowEngine(to_tflite_window(window, 6), window)
    assert engine.steps is None
    (x,) = engine._interpreter.get_input_details()
    assert x["name"] == "x"
    assert x["shape"].tolist() == [1, 6, 3]
    assert x["shape_signature"].tolist() == [1, -1, 3]
    shapes = {
        n: v["shape"].tolist()
        for n, v in engine._interpreter.get_signature_runner("window").get_output_details().items()
    }
    assert shapes == {n: [1, 6, 3] if n.endswith("_step") else [1, 3] for n in window.outputs}


def test_what_it_cannot_export_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    window = random_window(0)
    with pytest.raises(InputError, match="product 'dense' is unknown; choose one of"):
        to_tflite_window(window, 5, product="dense")
    for steps in (0, -1, 1 << 20, 2.5):
        with pytest.raises(InputError, match="1 to 65536 steps"):
            to_tflite_window(window, steps)  # type: ignore[arg-type]
    with pytest.raises(FileFormatError, match="no input, no stage or no output"):
        to_tflite_window(dataclasses.replace(window, outputs={}), 5)
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'edgernn\[tflite\]'"):
        to_tflite_window(window, 5)


def test_the_engine_refuses_windows_that_do_not_fit(tmp_path: Path) -> None:
    window = window_of(random_program(["lstm"], [4], 3, 0, 2))
    path = tmp_path / "model.tflite"
    path.write_bytes(to_tflite_window(window, 5))
    engine = TFLiteWindowEngine(path, window)
    assert engine.name.startswith("ai-edge-litert ")
    x = np.zeros((6, 3), np.int16)
    bad: list[dict[str, np.ndarray]] = [
        {"x": x[:, :2]}, {"x": x[:0]}, {"x": x[None]}, {"x": x.astype(np.int32)}, {"x": x[0, 0]},
    ]  # fmt: skip
    for inputs in bad:
        with pytest.raises(InputError, match=r"input x of .* must be int16 \(T, 3\)"):
            engine.run(inputs)
    for inputs in ({}, {"a": x}, {"x": x, "a": x}):
        with pytest.raises(InputError, match=r"takes the inputs \['x'\], and was given"):
            engine.run(inputs)
    for length in (6, 2, 3):
        assert engine.run({"x": x[:length]})["y"].shape == (length, 2)
    masked = next(w for w in map(random_stack, range(20)) if len(w.inputs) == 2)
    uneven = {t.name: np.zeros((4 + i, t.size), np.int16) for i, t in enumerate(masked.inputs)}
    with pytest.raises(InputError, match="the same for all inputs"):
        TFLiteWindowEngine(to_tflite_window(masked, 5), masked).run(uneven)


def others(window: Window) -> Iterator[Window]:
    """Windows whose file is not the given one's: another size, scale, name, place."""
    (stage,), (output,) = window.stages, window.outputs
    yield window_of(random_program(["lstm"], [4], 2, 0, 2))
    yield window_of(random_program(["lstm"], [4], 3, 0, 1))
    yield dataclasses.replace(window, outputs={"z": window.outputs[output]})
    yield dataclasses.replace(window, outputs={output: Source(output, "last")})
    tensors = dict(stage.program.tensors)
    for name in (window.inputs[0].name, stage.program.outputs[output]):
        t = tensors[name]
        wider = dataclasses.replace(t, scale=dataclasses.replace(t.scale, exponent=-9))
        program = dataclasses.replace(stage.program, tensors=tensors | {name: wider})
        changed = dataclasses.replace(stage, program=program)
        inputs = tuple(wider if i.name == name else i for i in window.inputs)
        yield dataclasses.replace(window, stages=(changed,), inputs=inputs)


def test_the_engine_refuses_files_that_are_not_the_windows(tmp_path: Path) -> None:
    program = random_program(["lstm"], [4], 3, 0, 2)
    window = window_of(program)
    content = to_tflite_window(window, 5)
    TFLiteWindowEngine(content, window)
    for other in others(window):
        with pytest.raises(FileFormatError, match="export the program again"):
            TFLiteWindowEngine(content, other)
    for broken in (to_tflite(program), content[: len(content) // 2], b""):
        with pytest.raises(FileFormatError, match="does not run on ai-edge-litert"):
            TFLiteWindowEngine(broken, window)
    with pytest.raises(FileFormatError, match="cannot read"):
        TFLiteWindowEngine(tmp_path / "none.tflite", window)


def test_the_engine_needs_an_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    window = random_window(0)
    content = to_tflite_window(window, 5)
    for package in ("ai_edge_litert", "tflite_runtime"):
        monkeypatch.setitem(sys.modules, f"{package}.interpreter", None)
    with pytest.raises(MissingExtraError, match="install one with"):
        TFLiteWindowEngine(content, window)
