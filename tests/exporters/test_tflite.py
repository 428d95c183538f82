"""The .tflite file of a program, on ai-edge-litert and on tflite-runtime 2.14."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from edgernn.engines.tflite import TFLiteEngine
from edgernn.exporters.tflite import to_tflite
from edgernn.runtime.errors import FileFormatError, InputError, MissingExtraError
from edgernn.runtime.program import UNIT, Operator, Program, Scale, State, Tensor
from tests.exporters import tflite_runner
from tests.exporters.tflite_cases import (
    INTERPRETERS,
    Arrays,
    Run,
    assert_only_negative_ties,
    assert_same,
    given_for,
    reference,
    runner_of,
)
from tests.programs import random_program

STEPS = 10_000
SHAPES = {
    "gru": (["gru"], [17], 5, 0),
    "lstm_gru_head": (["lstm", "gru"], [6, 5], 3, 4),
    "rnn_tanh_rnn_relu": (["rnn_tanh", "rnn_relu"], [1, 16], 1, 1),
}


@pytest.fixture(params=INTERPRETERS)
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    return runner_of(request.param, tmp_path)


@cache
def closed_loop(shape: str) -> tuple[Program, np.ndarray, Arrays]:
    """A program, inputs (STEPS, 2, features) of full and of small range, the reference for both."""
    program = random_program(*SHAPES[shape][:3], 7, SHAPES[shape][3])
    rng = np.random.default_rng(8)
    size = (STEPS, SHAPES[shape][2])
    x = np.stack([rng.integers(-32768, 32768, size), rng.integers(-200, 201, size)], axis=1)
    return program, x.astype(np.int16), reference(program, {"x": x})


@pytest.mark.parametrize("shape", SHAPES)
def test_closed_loop_gives_the_bits_of_the_program(run: Run, shape: str) -> None:
    program, x, expected = closed_loop(shape)
    content = to_tflite(program)
    for i in range(2):
        got = run(content, given_for(program, {"x": x[:, i]}))
        assert_same(program, got, {name: array[:, i] for name, array in expected.items()})


@pytest.mark.parametrize("shape", SHAPES)
def test_fully_connected_differs_at_negative_ties_alone(run: Run, shape: str) -> None:
    """tflite-runtime 2.14 has no such ties to differ at; LiteRT >= 2 gives one less there."""
    program, x, _ = closed_loop(shape)
    products = {op.name: op for op in program.operators if op.matrix is not None}
    inner = {op.inputs[0] for op in products.values()} | set(products)
    content = to_tflite(program, product="fully_connected", expose=inner)
    got = run(content, given_for(program, {"x": x[:, 0]}))
    for name, op in products.items():
        assert_only_negative_ties(op.matrix, got[f"tensor_{op.inputs[0]}"], got[f"tensor_{name}"])


def odd_program() -> Program:
    """Outputs that are no tensors of their own, in every way; operators that cells do not use."""
    half = Scale(1, -14)
    sizes = {"a": 6, "b": 6, "h": 6, "k": 6, "p": 1, "q": 5, "r": 6, "s": 6, "t": 12, "u": 6}
    tensors = {name: Tensor(name, size, UNIT) for name, size in sizes.items()}
    tensors |= {name: Tensor(name, 6, half) for name in ("v", "w")}
    tensors["z"] = Tensor("z", 6, Scale(3, -16))
    operators = (
        Operator("split", ("a",), ("p", "q")),
        Operator("concat", ("q", "p"), ("r",)),
        Operator("relu", ("r",), ("s",)),
        Operator("concat", ("s", "b"), ("t",)),
        Operator("sub", ("h", "b"), ("v",)),
        Operator("add", ("v", "v"), ("w",)),
        Operator("mul", ("a", "a"), ("u",)),
        Operator("rescale", ("a",), ("z",)),
    )
    outputs = {"y": "u", "y2": "u", "same": "a", "before": "k", "t": "t", "a": "w", "z2": "z"}
    zero, one = np.zeros(6, np.int16), np.ones(6, np.int16)
    # h becomes an output, k stays what it is, g becomes an input, m and n one and the same tensor.
    tensors |= {name: Tensor(name, 6, UNIT) for name in ("g", "m", "n")}
    states = (
        State("h", "h", "u", zero),
        State("k", "k", "k", one),
        State("g", "g", "b", zero),
        State("m", "m", "s", one),
        State("n", "n", "s", zero),
    )
    return Program(tensors, ("a", "b"), outputs, states, operators)


@pytest.mark.parametrize("product", ["conv_2d", "fully_connected"])
@pytest.mark.parametrize("exposed", [False, True])
def test_outputs_that_share_a_tensor_are_right(run: Run, product: str, exposed: bool) -> None:
    program = odd_program()
    rng = np.random.default_rng(1)
    inputs = {n: rng.integers(-32768, 32768, (60, 6)).astype(np.int16) for n in program.inputs}
    content = to_tflite(program, product=product, expose=program.tensors if exposed else ())
    got = run(content, given_for(program, inputs))
    assert_same(program, got, reference(program, inputs))
    signature = TFLiteEngine(content, program)._interpreter
    indices = [d["index"] for d in signature.get_input_details() + signature.get_output_details()]
    assert len(indices) == len(set(indices)) == len(got) + len(inputs) + len(program.states)


@pytest.mark.parametrize("product", ["conv_2d", "fully_connected"])
def test_every_tensor_can_be_exposed(product: str) -> None:
    program = random_program(["gru", "lstm"], [16, 5], 4, 3, 2)
    x = np.random.default_rng(2).integers(-32768, 32768, (200, 4)).astype(np.int16)
    content = to_tflite(program, product=product, expose=program.tensors)
    got = tflite_runner.run(content, given_for(program, {"x": x}))
    assert {f"tensor_{name}" for name in program.tensors} <= set(got)
    assert_same(program, got, reference(program, {"x": x}))


@pytest.mark.parametrize("product", ["conv_2d", "fully_connected"])
def test_float_edges_scale_and_round_inputs_and_outputs_alone(run: Run, product: str) -> None:
    program = random_program(["gru"], [5], 3, 0)
    scale = float(program.tensors["x"].scale)
    x = np.random.default_rng(4).integers(-32768, 32768, (300, 3)).astype(np.int16)
    content = to_tflite(program, product=product, float_io=True)
    noise = np.float32(0.25 * scale)
    got = run(content, given_for(program, {"x": (x * scale).astype(np.float32) + noise}))
    expected = reference(program, {"x": x})
    (state,) = program.states
    after = got[f"state_{state.name}_next"]
    assert after.dtype == np.int16
    np.testing.assert_array_equal(after, expected[f"state_{state.name}_next"])
    assert got["y"].dtype == np.float32
    y = expected[program.outputs["y"]] * float(program.tensors[program.outputs["y"]].scale)
    np.testing.assert_array_equal(got["y"], y.astype(np.float32))


@pytest.mark.parametrize(
    ("cells", "hidden", "features", "head"),
    [
        (["gru"], [1], 1, 0),
        (["lstm"] * 3, [1, 1, 1], 1, 1),
        (["lstm"] * 3, [64, 32, 16], 20, 10),
        (["gru"] * 3, [8, 8, 8], 4, 2),
    ],
)
@pytest.mark.parametrize("float_io", [False, True])
def test_the_file_is_weights_rows_and_little_else(
    cells: list[str], hidden: list[int], features: int, head: int, float_io: bool
) -> None:
    program = random_program(cells, hidden, features, 0, head)
    content = to_tflite(program, float_io=float_io)
    assert len(content) <= program.weight_count + 32 * program.row_count + 8192
    assert content == to_tflite(program, float_io=float_io)


def test_buffers_are_aligned_as_kernels_that_read_them_in_place_need() -> None:
    from ai_edge_litert import schema_py_generated as schema

    content = to_tflite(random_program(["gru", "lstm"], [3, 5], 7, 0, 1))
    model = schema.Model.GetRootAs(content)
    starts = []
    for i in range(model.BuffersLength()):
        table = model.Buffers(i)._tab
        field = table.Offset(4)
        if field:
            starts.append(table.Vector(field))
    assert len(starts) > 10
    assert not any(start % 16 for start in starts)


def test_the_signature_has_the_names_of_the_program() -> None:
    program = random_program(["gru"], [4], 3, 0)
    (state,) = program.states
    engine = TFLiteEngine(to_tflite(program), program)
    outputs, states = engine.step({"x": np.zeros(3, np.int16)}, {state.name: state.initial})
    assert set(outputs) == {"y"}
    assert set(states) == {state.name}
    details = engine._interpreter.get_input_details() + engine._interpreter.get_output_details()
    names = {d["name"]: (tuple(d["shape"]), d["dtype"], d["quantization"]) for d in details}
    scale = float(program.tensors["x"].scale)
    assert names == {
        "x": ((1, 3), np.int16, (scale, 0)),
        f"state_{state.name}": ((1, 4), np.int16, (2.0**-15, 0)),
        "y": ((1, 4), np.int16, (2.0**-15, 0)),
        f"state_{state.name}_next": ((1, 4), np.int16, (2.0**-15, 0)),
    }


def test_an_unknown_option_is_refused() -> None:
    program = random_program(["gru"], [2], 1, 0)
    with pytest.raises(InputError, match="conv_2d, fully_connected"):
        to_tflite(program, product="matmul")
    with pytest.raises(InputError, match="'nothing'"):
        to_tflite(program, expose=["nothing"])
    clash = {f"state_{program.states[0].name}_next": program.outputs["y"]}
    twice = Program(program.tensors, program.inputs, clash, program.states, program.operators)
    with pytest.raises(InputError, match="two tensors"):
        to_tflite(twice)


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'edgernn\[tflite\]'"):
        to_tflite(random_program(["gru"], [2], 1, 0))


def test_the_engine_steps_the_program_and_refuses_what_does_not_fit(tmp_path: Path) -> None:
    program = random_program(["lstm"], [4], 3, 0, 2)
    path = tmp_path / "model.tflite"
    path.write_bytes(to_tflite(program))
    engine = TFLiteEngine(path)
    assert engine.name.startswith("ai-edge-litert ")
    x = np.random.default_rng(0).integers(-32768, 32768, (50, 3)).astype(np.int16)
    expected = reference(program, {"x": x})
    states = {s.name: s.initial for s in program.states}
    for t in range(len(x)):
        outputs, states = engine.step({"x": x[t]}, states)
        np.testing.assert_array_equal(outputs["y"], expected[program.outputs["y"]][t])
        for name, state in states.items():
            np.testing.assert_array_equal(state, expected[f"state_{name}_next"][t])
    with pytest.raises(InputError, match=r"input x .* int16 of shape \(3,\)"):
        engine.step({"x": x}, states)
    with pytest.raises(InputError, match="states"):
        engine.step({"x": x[0]}, {})
    with pytest.raises(FileFormatError, match="not the program's"):
        TFLiteEngine(path, random_program(["lstm"], [5], 3, 0, 2))
    with pytest.raises(FileFormatError, match="does not run"):
        TFLiteEngine(b"not a model at all, but long enough to be looked at")
