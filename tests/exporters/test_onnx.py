"""The ONNX step computes the program's bits, on ONNX Runtime and on ONNX's own reference."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.reference
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgernn.engines.onnx import OnnxEngine
from edgernn.exporters.onnx_step import to_onnx, to_onnx_sequence
from edgernn.lowering.program import lower
from edgernn.ranges import Ranges
from edgernn.rounding import Nearest
from edgernn.runtime.errors import InputError, MissingExtraError, UnsupportedError
from edgernn.runtime.program import Operator, Program, Scale, Tensor
from tests.exporters.onnx_runner import (
    Arrays,
    assert_step,
    every_tensor,
    feeds_of,
    random_inputs,
    random_states,
    run_model,
)
from tests.programs import random_graph, random_program, random_ranges

CELLS = ("gru", "lstm", "rnn_tanh", "rnn_relu")
STACKS: list[tuple[list[str], list[int], int, int]] = [
    (["gru"], [1], 1, 0),
    (["gru"], [80], 13, 0),
    (["lstm"], [33], 7, 3),
    (["rnn_tanh"], [17], 5, 2),
    (["rnn_relu"], [24], 9, 0),
    (["gru", "gru"], [8, 16], 3, 4),
    (["lstm", "gru", "rnn_tanh"], [11, 6, 15], 4, 2),
    (["rnn_relu", "lstm", "gru", "rnn_tanh"], [9, 5, 12, 7], 6, 1),
]


def close_the_loop(program: Program, steps: int, seed: int = 0) -> None:
    """Feed each engine its own states; every output and state must stay the same."""
    content, rng = to_onnx(program), np.random.default_rng(seed)
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    engine = OnnxEngine(content, program)
    states = {s.name: s.initial for s in program.states}
    expected = dict(states)
    for _ in range(steps):
        inputs = random_inputs(program, rng)
        outputs, states = engine.step(inputs, states)
        values = every_tensor(program, inputs, expected)
        expected = {s.name: values[s.output].astype(np.int16) for s in program.states}
        for name, tensor in program.outputs.items():
            assert outputs[name].dtype == np.int16
            np.testing.assert_array_equal(outputs[name], values[tensor])
        for name, state in states.items():
            np.testing.assert_array_equal(state, expected[name])


@pytest.mark.parametrize(("cells", "hidden", "features", "head"), STACKS)
def test_closed_loop_is_the_same_bits(
    cells: list[str], hidden: list[int], features: int, head: int
) -> None:
    close_the_loop(random_program(cells, hidden, features, seed=len(cells), head=head), 400)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.sampled_from(CELLS), st.integers(1, 40)), min_size=1, max_size=4),
    st.integers(1, 40),
    st.integers(0, 3),
    st.integers(0, 1000),
)
def test_any_stack_is_the_same_bits(
    layers: list[tuple[str, int]], features: int, head: int, seed: int
) -> None:
    cells, hidden = zip(*layers, strict=True)
    close_the_loop(random_program(cells, hidden, features, seed, head), 60, seed)


def test_a_wide_layer_is_the_same_bits() -> None:
    close_the_loop(random_program(["rnn_tanh"], [520], 1040, seed=3), 10)


def test_streams_of_a_batch_are_independent() -> None:
    program, rng = random_program(["gru", "lstm"], [5, 6], 3, 1, 2), np.random.default_rng(1)
    inputs, states = random_inputs(program, rng, 7), random_states(program, rng, 7)
    assert_step(program, run_model(to_onnx(program), feeds_of(inputs, states)), inputs, states)


def test_sequence_is_the_same_bits_as_its_steps() -> None:
    program, rng = random_program(CELLS, [5, 6, 4, 3], 3, 1, 2), np.random.default_rng(1)
    steps, batch = 50, 3
    inputs, states = random_inputs(program, rng, steps, batch), random_states(program, rng, batch)
    content = to_onnx_sequence(program, expose=["l0_h"])
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    result = run_model(content, feeds_of(inputs, states))
    for t in range(steps):
        values = every_tensor(program, {n: a[t] for n, a in inputs.items()}, states)
        states = {s.name: values[s.output].astype(np.int16) for s in program.states}
        np.testing.assert_array_equal(result["y"][t], values[program.outputs["y"]])
        np.testing.assert_array_equal(result["tensor_l0_h"][t], values["l0_h"])
    for name, state in states.items():
        np.testing.assert_array_equal(result[f"state_{name}_next"], state)


def float_inputs(scale: float) -> np.ndarray:
    """Integers and a half, their neighbours, random values, and what is out of range."""
    halves = np.concatenate(
        [np.arange(-40, 40), np.arange(-32770, -32760), np.arange(32760, 32770)]
    )
    x = ((halves + 0.5) * scale).astype(np.float32)
    up, down = (np.nextafter(x, np.float32(limit)) for limit in (np.inf, -np.inf))
    noise = np.random.default_rng(2).normal(0, 12000 * scale, 5000)
    rare = [0.49999997 * scale, -0.49999997 * scale, 1e30, -1e30, np.inf, -np.inf, 0.0, -0.0]
    return np.concatenate([x, up, down, noise.astype(np.float32), np.array(rare, np.float32)])


def quantized(x: np.ndarray, scale: float) -> np.ndarray:
    """QUANTIZE: the quotient in float32, half away from zero, clamped."""
    quotient = (x / np.float32(scale)).astype(np.float64)
    rounded = np.copysign(np.floor(np.abs(quotient) + 0.5), quotient)
    return np.clip(rounded, -32768, 32767).astype(np.int16)


@pytest.mark.parametrize("mantissa", [1, 3, 5])
def test_float_inputs_are_quantized_half_away_from_zero(mantissa: int) -> None:
    scale = Scale(mantissa, -12)
    tensors = {"x": Tensor("x", 1, scale), "r": Tensor("r", 1, scale)}
    program = Program(
        tensors, ("x",), {"y": "r", "x_q": "x"}, (), (Operator("relu", ("x",), ("r",)),)
    )
    x = float_inputs(float(scale))[:, None]
    result = run_model(to_onnx(program, float_io=True), {"x": x})
    expected = quantized(x, float(scale)).astype(np.float32) * np.float32(float(scale))
    assert result["x_q"].dtype == np.float32
    np.testing.assert_array_equal(result["x_q"], expected)
    np.testing.assert_array_equal(result["y"], np.maximum(expected, 0))


@pytest.mark.parametrize("sequence", [False, True])
def test_float_io_equals_the_integer_path(sequence: bool) -> None:
    program, rng = random_program(["gru", "lstm"], [9, 4], 5, 2, 3), np.random.default_rng(3)
    scale = float(program.tensors["x"].scale)
    export = to_onnx_sequence if sequence else to_onnx
    x = float_inputs(scale)[: 40 * 25].reshape((40, 5, 5) if sequence else (200, 5))
    states = random_states(program, rng, 5 if sequence else 200)
    floats = run_model(export(program, float_io=True), feeds_of({"x": x}, states))
    integers = run_model(export(program), feeds_of({"x": quantized(x, scale)}, states))
    scale_out = np.float32(float(program.tensors[program.outputs["y"]].scale))
    np.testing.assert_array_equal(floats.pop("y"), integers.pop("y").astype(np.float32) * scale_out)
    for name, state in integers.items():
        assert floats[name].dtype == np.int16
        np.testing.assert_array_equal(floats[name], state)


@pytest.mark.parametrize("sequence", [False, True])
def test_the_reference_evaluator_computes_the_same_bits(sequence: bool) -> None:
    program, rng = random_program(["gru", "lstm"], [6, 5], 4, 5, 2), np.random.default_rng(4)
    leading = (6, 3) if sequence else (3,)
    inputs, states = random_inputs(program, rng, *leading), random_states(program, rng, 3)
    content = to_onnx_sequence(program) if sequence else to_onnx(program)
    feeds = feeds_of(inputs, states)
    reference = onnx.reference.ReferenceEvaluator(onnx.load_from_string(content))
    expected = run_model(content, feeds)
    for name, value in zip(reference.output_names, reference.run(None, feeds), strict=True):
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


@pytest.mark.parametrize("cell", CELLS)
def test_exposed_tensors_are_what_the_plain_engine_computes(cell: str) -> None:
    program, rng = random_program([cell, cell], [5, 6], 4, 7, 2), np.random.default_rng(7)
    inputs, states = random_inputs(program, rng, 4), random_states(program, rng, 4)
    content = to_onnx(program, expose=list(program.tensors))
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    result = run_model(content, feeds_of(inputs, states))
    for name, value in every_tensor(program, inputs, states).items():
        # The states come back by their own names as well.
        if name in program.tensors:
            np.testing.assert_array_equal(result[f"tensor_{name}"], value, err_msg=name)


def spread_lstms() -> Program:
    """Four LSTM layers of one unit, each cell state with a scale, hence tables, of its own."""
    graph = random_graph(["lstm"] * 4, [1] * 4, 1, 1, 1)
    ranges = random_ranges(graph)
    amplitudes = dict(ranges.amplitudes) | {f"l{i}_c": 2.0 ** (1.5 * i) + 0.5 for i in range(4)}
    return lower(graph, Ranges(amplitudes, ranges.second), Nearest(), {})


@pytest.mark.parametrize("export", [to_onnx, to_onnx_sequence])
def test_file_is_small_deterministic_and_integer(export: Any) -> None:
    programs = [random_program(*stack[:3], seed=0, head=stack[3]) for stack in STACKS]
    programs += [random_program(["gru"] * 4, [1] * 4, 1, 0), spread_lstms()]
    for program in programs:
        content = export(program)
        assert export(program) == content
        slack = 8320 if export is to_onnx else 9216
        assert len(content) <= program.weight_count + 32 * program.row_count + slack
        model = onnx.load_from_string(content)
        floats = {onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16}
        assert not floats & {i.data_type for i in model.graph.initializer}
        assert not floats & {a.i for n in model.graph.node for a in n.attribute if a.name == "to"}


@pytest.mark.parametrize("export", [to_onnx, to_onnx_sequence])
def test_runtime_folds_tables_and_weights_when_it_loads(export: Any, tmp_path: Path) -> None:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 4
    program = random_program(["gru", "lstm"], [8, 8], 4, 0)
    content = export(program)
    onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    graph = onnx.load(str(tmp_path / "optimized.onnx")).graph
    bodies = [a.g for n in graph.node for a in n.attribute if a.name == "body"]
    nodes = [n for g in (graph, *bodies) for n in g.node]
    assert not {"Range", "Mod", "Abs"} & {n.op_type for n in nodes}
    weights = {n.input[1] for n in nodes if n.op_type == "MatMul"}
    tables = {n.input[0] for n in nodes if n.op_type == "Gather"}
    shapes = {i.name: list(i.dims) for g in (graph, *bodies) for i in g.initializer}
    assert weights <= set(shapes)
    assert [shapes[name] for name in tables] == [[65536]] * len(tables)
    # Logistic and tanh of gates, which the cell state shares here, and an operand of its sum.
    assert len(tables) == 3


def test_what_does_not_fit_is_refused() -> None:
    program = random_program(["gru"], [3], 2, 0)
    with pytest.raises(InputError, match="cannot expose 'nothing'"):
        to_onnx(program, expose=["nothing"])
    relu = Operator("relu", ("x",), ("r",))
    tensors = {n: Tensor(n, 1, Scale(1, -15)) for n in ("x", "r")}
    with pytest.raises(UnsupportedError, match="'x' would name two"):
        to_onnx_sequence(Program(tensors, ("x",), {"x": "r"}, (), (relu,)))
    engine = OnnxEngine(to_onnx(program), program)
    assert engine.name.startswith("onnxruntime ")
    x, h = np.zeros(2, np.int16), np.zeros(3, np.int16)
    with pytest.raises(InputError, match="states must be"):
        engine.step({"x": x}, {})
    for wrong in (x[:1], x.astype(np.int64), x[None]):
        with pytest.raises(InputError, match=r"input x must be \(2,\) int16"):
            engine.step({"x": wrong}, {"sl0_h": h})


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_missing_package_is_named_with_its_extra(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = random_program(["gru"], [3], 2, 0)
    content = to_onnx(program)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'edgernn\[onnx\]'"):
        OnnxEngine(content, program) if package == "onnxruntime" else to_onnx(program)


def test_a_file_runs_like_its_content(tmp_path: Path) -> None:
    program = random_program(["gru"], [3], 2, 0)
    path = tmp_path / "step.onnx"
    path.write_bytes(to_onnx(program))
    feeds: Sequence[Arrays] = ({"x": np.ones(2, np.int16)}, {"sl0_h": np.ones(3, np.int16)})
    a, b = (OnnxEngine(source, program).step(*feeds) for source in (path, path.read_bytes()))
    np.testing.assert_array_equal(a[0]["y"], b[0]["y"])
