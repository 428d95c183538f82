"""Window programs in ONNX: every bit of every output, any length, any batch."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
import pytest

from edgernn.engines.onnx_window import OnnxWindowEngine
from edgernn.exporters.onnx_step import to_onnx, to_onnx_sequence
from edgernn.exporters.onnx_window import to_onnx_window
from edgernn.runtime import StepRuntime
from edgernn.runtime.errors import FileFormatError, InputError, UnsupportedError
from edgernn.runtime.window import Source, Stage, Window, window_of
from edgernn.runtime.window_runtime import WindowRuntime
from edgernn.window_verify import PlainWindowEngine
from tests.exporters.onnx_runner import Arrays, run_session, session_of
from tests.programs import random_program
from tests.windows import random_inputs, random_window

GROUPS, SEEDS = 8, 10
LENGTHS, BATCH = (1, 2, 19), 2


def expected(window: Window, inputs: Arrays) -> Arrays:
    """Outputs of a batch (N, T, F), each window by the plain operators: (T, N, O), or (N, O)."""
    engine = PlainWindowEngine(window)
    found = [
        engine.run({name: array[i] for name, array in inputs.items()})
        for i in range(len(next(iter(inputs.values()))))
    ]
    return {name: np.stack([f[name] for f in found], axis=-2) for name in window.outputs}


def compare(window: Window, inputs: Arrays, session: Any, where: str) -> int:
    """How many values were held against those of the plain operators."""
    right = expected(window, inputs)
    got = run_session(session, {name: v.swapaxes(0, 1) for name, v in inputs.items()})
    assert got.keys() == right.keys(), where
    for name, value in right.items():
        assert (got[name].dtype, got[name].shape) == (np.int16, value.shape), f"{where}, {name}"
        np.testing.assert_array_equal(got[name], value, f"{where}, {name}")
    return sum(value.size for value in right.values())


def compare_seeds(group: int, optimized: bool) -> None:
    for seed in range(group * SEEDS, (group + 1) * SEEDS):
        window = random_window(seed)
        content = to_onnx_window(window)
        onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
        session = session_of(content, optimized)
        for length in LENGTHS:
            inputs = random_inputs(window, length, seed, BATCH)
            compare(window, inputs, session, f"seed {seed}, {length} steps")


@pytest.mark.parametrize("group", range(GROUPS))
def test_any_window_program_is_the_same_bits(group: int) -> None:
    compare_seeds(group, optimized=True)


@pytest.mark.parametrize("group", range(2))
def test_any_window_program_is_the_same_bits_without_optimisations(group: int) -> None:
    compare_seeds(group, optimized=False)


@pytest.mark.parametrize("seed", [0, 3, 5, 6, 9])
def test_windows_of_thousands_of_steps_are_the_same_bits(seed: int) -> None:
    window = random_window(seed, 8)
    inputs = random_inputs(window, 2000, seed, 1)
    session = session_of(to_onnx_window(window))
    assert compare(window, inputs, session, f"seed {seed}") >= 1


def test_the_programs_above_have_every_kind_of_stage() -> None:
    seen: Counter[str] = Counter()
    for seed in range(GROUPS * SEEDS):
        window = random_window(seed)
        once = window.once()
        seen["mask"] += any(t.name == "mask" for t in window.inputs)
        seen["several outputs"] += len(window.outputs) > 1
        seen["several inputs"] += len(window.inputs) > 1
        seen["an input returned"] += any(
            s.value in {t.name for t in window.inputs} for s in window.outputs.values()
        )
        for source in window.outputs.values():
            seen[f"output, {'single' if source.value in once else source.at}"] += 1
        for stage in window.stages:
            random = "random " if "t0" in stage.program.tensors else ""
            states = "with states" if stage.program.states else "without states"
            seen[f"{random}{stage.direction} {states}"] += 1
            seen.update(f"read {s.at}" for s in stage.sources.values())
            seen["constant returned"] += bool(
                stage.program.constants.keys() & set(stage.program.outputs.values())
            )
    wanted = ["mask", "several outputs", "several inputs", "constant returned"]
    wanted += [f"output, {at}" for at in ("single", "step", "first", "last")]
    wanted += ["read first", "read last", "forward with states", "reverse with states"]
    wanted += [f"random {d} {s}" for d in ("forward", "reverse", "once")
               for s in ("with states", "without states")]  # fmt: skip
    assert min(seen[name] for name in wanted) >= 3, seen


def test_a_streaming_program_is_a_window_of_one_stage() -> None:
    program = random_program(["gru", "lstm"], [7, 4], 3, seed=5, head=2)
    x = random_inputs(window_of(program), 50, 1, 1)["x"]
    steps = StepRuntime(program).run_int(x[0])
    for last in ([], ["y"]):
        ours = window_of(dataclasses.replace(program, metadata={"last": last}))
        (y,) = run_session(session_of(to_onnx_window(ours)), {"x": x.swapaxes(0, 1)}).values()
        np.testing.assert_array_equal(y[..., 0, :], steps[-1] if last else steps)


@pytest.mark.parametrize("seed", [1, 6, 8])
def test_a_batch_is_its_windows_one_by_one(seed: int) -> None:
    window = random_window(seed)
    engine = OnnxWindowEngine(to_onnx_window(window), window)
    inputs = random_inputs(window, 12, seed, 5)
    whole = run_session(engine._session, {n: v.swapaxes(0, 1) for n, v in inputs.items()})
    for i in range(5):
        single = engine.run({name: v[i] for name, v in inputs.items()})
        for name, value in single.items():
            np.testing.assert_array_equal(whole[name][..., i, :], value, f"{name} of window {i}")


def swapped(window: Window) -> Window:
    """The same stages, each run in the other direction."""
    other = {"forward": "reverse", "reverse": "forward", "once": "once"}
    stages = (dataclasses.replace(s, direction=other[s.direction]) for s in window.stages)
    return dataclasses.replace(window, stages=tuple(stages))


def test_the_direction_of_a_stage_shows() -> None:
    window = bidirectional()
    inputs = random_inputs(window, 20, 3)
    results = []
    for turned in (window, swapped(window)):
        engine = OnnxWindowEngine(to_onnx_window(turned), turned)
        results.append(engine.run(inputs)["y"])
        wanted = PlainWindowEngine(turned).run(inputs)["y"]
        np.testing.assert_array_equal(results[-1], wanted)
    assert np.count_nonzero(results[0] != results[1]) > results[0].size // 2


def bidirectional() -> Window:
    """One program in both directions, with the same weights."""
    forward = random_program(["gru"], [6], 3, seed=1, head=2)
    backward = dataclasses.replace(
        forward,
        outputs={"back": forward.outputs["y"]},
        states=tuple(dataclasses.replace(s, name=f"{s.name}_r") for s in forward.states),
    )
    x = {"x": Source("x")}
    stages = (Stage(forward, "forward", x), Stage(backward, "reverse", x))
    outputs = {"y": Source("y"), "turned": Source("back", "first")}
    return Window((forward.tensors["x"],), stages, outputs)


def test_weights_and_tables_are_stored_once_and_no_float_is_left() -> None:
    window = bidirectional()
    graph = onnx.load_from_string(to_onnx_window(window)).graph
    arrays = [(t, onnx.numpy_helper.to_array(t)) for t in graph.initializer]
    stored = Counter((t.data_type, a.shape, a.tobytes()) for t, a in arrays)
    assert set(stored.values()) == {1}
    for op in window.stages[0].program.operators:
        if op.matrix:
            weight = op.matrix.weight.T
            assert stored[onnx.TensorProto.INT8, weight.shape, weight.tobytes()] == 1, op.name
    bodies = [node.attribute[0].g for node in graph.node if node.op_type == "Scan"]
    assert len(bodies) == 2
    types = {tensor.data_type for tensor in graph.initializer}
    assert not types & {onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE}
    assert not any(body.initializer for body in bodies)
    # Every name is defined once in the whole file: no body hides a name from outside.
    names = [n for g in (graph, *bodies) for node in g.node for n in node.output]
    names += [value.name for g in (graph, *bodies) for value in g.input]
    names += [tensor.name for tensor in graph.initializer]
    assert len(names) == len(set(names))


def test_stages_share_the_tables_of_functions() -> None:
    window = bidirectional()
    alone = Window(window.inputs, window.stages[:1], {"y": Source("y")})
    first = window.stages[0].program
    single = dataclasses.replace(
        first,
        outputs={"end": first.outputs["y"]},
        states=tuple(dataclasses.replace(s, name=f"{s.name}_once") for s in first.states),
    )
    once = Stage(single, "once", {"x": Source("x", "last")})
    more = Window(window.inputs, (*window.stages, once), {"y": Source("end")})
    counts = []
    for each in (alone, more):
        nodes = onnx.load_from_string(to_onnx_window(each)).graph.node
        counts.append(Counter(node.op_type for node in nodes)["Range"])
    assert counts[0] == counts[1] > 0


def test_the_same_window_gives_the_same_bytes() -> None:
    assert to_onnx_window(random_window(6)) == to_onnx_window(random_window(6))


def test_names_that_collide_are_refused() -> None:
    window = bidirectional()
    clash = dataclasses.replace(window, outputs={"x": Source("y")})
    with pytest.raises(UnsupportedError, match="'x' would name two inputs or outputs"):
        to_onnx_window(clash)


def test_an_unsound_window_is_refused() -> None:
    window = bidirectional()
    with pytest.raises(FileFormatError, match="runs 'sideways'"):
        to_onnx_window(
            dataclasses.replace(
                window, stages=(dataclasses.replace(window.stages[0], direction="sideways"),)
            )
        )


def changed(window: Window, **outputs: Source) -> bytes:
    return to_onnx_window(dataclasses.replace(window, outputs=outputs))


def test_a_file_of_another_program_is_refused() -> None:
    window = bidirectional()
    y, turned = window.outputs["y"], window.outputs["turned"]
    program = window.stages[0].program
    others = {
        "an output is missing": changed(window, y=y),
        "an output too many": changed(window, y=y, turned=turned, more=y),
        "an output of another name": changed(window, y=y, turn=turned),
        "an output once, not at every step": changed(window, y=Source("y", "last"), turned=turned),
        "an output at every step, not once": changed(window, y=y, turned=Source("back")),
        "an output of another size": changed(window, y=Source("x"), turned=turned),
        "a step": to_onnx(program),
        "a sequence": to_onnx_sequence(program),
        "another window": to_onnx_window(random_window(5)),
    }
    for what, content in others.items():
        with pytest.raises(FileFormatError) as caught:
            OnnxWindowEngine(content, window)
        assert "is not this program's; export" in str(caught.value), what
    streaming = window_of(program)
    floats = to_onnx_sequence(program, float_io=True)
    with pytest.raises(FileFormatError, match="is not this program's"):
        OnnxWindowEngine(floats, streaming)


def test_a_file_that_is_damaged_or_missing_is_refused(tmp_path: Path) -> None:
    window = bidirectional()
    content = to_onnx_window(window)
    path = tmp_path / "model.onnx"
    for damaged in (b"", b"no model", content[: len(content) // 2], content[7:]):
        path.write_bytes(damaged)
        for given in (damaged, path):
            with pytest.raises(FileFormatError, match=r"does not load|is not this program's"):
                OnnxWindowEngine(given, window)
    with pytest.raises(FileFormatError, match="cannot read"):
        OnnxWindowEngine(tmp_path / "none.onnx", window)
    path.write_bytes(content)
    inputs = random_inputs(window, 4, 0)
    from_path, from_bytes = (OnnxWindowEngine(c, window).run(inputs) for c in (path, content))
    assert all((from_path[n] == from_bytes[n]).all() for n in window.outputs)


def test_the_engine_refuses_arrays_that_do_not_fit() -> None:
    window = bidirectional()
    engine = OnnxWindowEngine(to_onnx_window(window), window)
    assert engine.steps is None
    assert engine.name.startswith("onnxruntime ")
    good = random_inputs(window, 4, 0)["x"]
    for bad in (good[:0], good[0], good[:, :2], good.astype(np.int32), good[None]):
        with pytest.raises(InputError, match=r"input x must be \(T, 3\) int16"):
            engine.run({"x": bad})
    for inputs in ({}, {"x": good, "z": good}, {"z": good}):
        with pytest.raises(InputError, match="the inputs must be"):
            engine.run(inputs)


def test_the_engines_agree_with_the_numpy_runtime() -> None:
    for seed in (2, 7):
        window = random_window(seed)
        inputs = random_inputs(window, 30, seed)
        found = WindowRuntime(window).run_int(*(inputs[t.name] for t in window.inputs))
        got = OnnxWindowEngine(to_onnx_window(window), window).run(inputs)
        wanted = found if isinstance(found, tuple) else (found,)
        for value, right in zip(got.values(), wanted, strict=True):
            np.testing.assert_array_equal(value, right)
