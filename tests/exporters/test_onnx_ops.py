"""Each operator of an ONNX step computes its bits, over all inputs where there are few."""

from __future__ import annotations

import numpy as np
import pytest

from edgernn.exporters.onnx_graph import OnnxGraph
from edgernn.exporters.onnx_step import to_onnx, to_onnx_sequence
from edgernn.exporters.onnx_tables import Tables
from edgernn.runtime.fixedpoint import multiply_by_quantized_multiplier, quantize_multiplier
from edgernn.runtime.program import Matrix, Operator, Program, Scale, State, Tensor
from tests.exporters.onnx_runner import (
    assert_step,
    feeds_of,
    full_range,
    random_inputs,
    random_states,
    run_model,
)


def test_products_wider_than_int32_holds_are_the_same_bits() -> None:
    # Every product of the largest size and one sign: int32 would overflow past 516 columns.
    weight = np.full((2, 1033), 127, np.int8) * np.array([[1], [-1]], np.int8)
    program = product(weight, [0, 0], [16385, 16385], [35, 30])
    for x in (-32768, 32767):
        inputs = {"x": np.full((1, 1033), x, np.int16)}
        assert_step(program, run_model(to_onnx(program), inputs), inputs, {})


def product(
    weight: np.ndarray, bias: list[int], multiplier: list[int], shift: list[int]
) -> Program:
    """A program of one matrix product."""
    rows, columns = weight.shape
    tensors = {
        "x": Tensor("x", columns, Scale(1, -15)),
        "p": Tensor("p", rows, Scale(1, -15)),
    }
    constants = (np.array(multiplier, np.int32), np.array(shift, np.int32))
    matrix = Matrix(weight.astype(np.int8), np.array(bias, np.int64), *constants)
    return Program(tensors, ("x",), {"y": "p"}, (), (Operator("linear", ("x",), ("p",), matrix),))


@pytest.mark.parametrize("columns", [1, 40, 600])
@pytest.mark.parametrize("shifts", [(8, 9), (8, 36), (14, 33), (30, 36)])
@pytest.mark.parametrize("bias", [1 << 10, 1 << 37])
def test_every_shift_bias_and_multiplier_is_the_same_bits(
    columns: int, shifts: tuple[int, int], bias: int
) -> None:
    rng = np.random.default_rng(columns)
    rows = 64
    program = product(
        rng.integers(-127, 128, (rows, columns)),
        rng.integers(-bias, bias + 1, rows).tolist(),
        rng.choice([16384, 16385, 20001, 32767], rows).tolist(),
        rng.integers(*shifts, rows).tolist(),
    )
    inputs = random_inputs(program, rng, 200)
    assert_step(program, run_model(to_onnx(program), inputs), inputs, {})


def binary(kind: str, a: Scale, b: Scale, out: Scale, size: int = 1) -> Program:
    tensors = {n: Tensor(n, size, s) for n, s in (("a", a), ("b", b), ("r", out))}
    return Program(tensors, ("a", "b"), {"y": "r"}, (), (Operator(kind, ("a", "b"), ("r",)),))


@pytest.mark.parametrize("kind", ["add", "sub"])
@pytest.mark.parametrize(
    ("a", "b", "out"),
    [
        (Scale(1, -15), Scale(1, -15), Scale(1, -15)),
        (Scale(1, -15), Scale(1, -15), Scale(1, -14)),
        (Scale(1, -15), Scale(1, -15), Scale(1, -17)),
        (Scale(1, -15), Scale(1, -14), Scale(1, -15)),
        (Scale(1, -10), Scale(1, -15), Scale(1, -7)),
        (Scale(1, -2), Scale(1, -15), Scale(1, -2)),
        (Scale(1, -15), Scale(1, -2), Scale(1, 0)),
        (Scale(3, -14), Scale(1, -15), Scale(3, -14)),
        (Scale(1, -15), Scale(3, -12), Scale(3, -12)),
        (Scale(3, -14), Scale(1, -15), Scale(1, -13)),
        (Scale(3, -15), Scale(3, -15), Scale(1, -15)),
        (Scale(1, -15), Scale(1, -15), Scale(3, -15)),
        (Scale(3, -17), Scale(1, -15), Scale(1, -15)),
        (Scale(5, -14), Scale(15, -17), Scale(7, -14)),
        (Scale(1, -2), Scale(1, -15), Scale(1, 12)),
    ],
)
def test_sums_of_any_scales_are_the_same_bits(kind: str, a: Scale, b: Scale, out: Scale) -> None:
    program, rng = binary(kind, a, b, out), np.random.default_rng(5)
    every = np.arange(-32768, 32768).astype(np.int16)
    edges = np.array([-32768, -32767, -1, 0, 1, 2, 32766, 32767], np.int16)
    columns = [np.concatenate([every, np.repeat(edges, 8), full_range(rng, 60_000)])]
    columns.append(
        np.concatenate([rng.permutation(every), np.tile(edges, 8), columns[0][-60_000:]])
    )
    columns[1][-30_000:] += rng.integers(-2, 3, 30_000).astype(np.int16)
    inputs = {name: column[:, None] for name, column in zip("ab", columns, strict=True)}
    assert_step(program, run_model(to_onnx(program), inputs), inputs, {})


def test_products_of_every_size_and_tie_are_the_same_bits() -> None:
    program, rng = (
        binary("mul", Scale(1, -15), Scale(1, -15), Scale(1, -15)),
        np.random.default_rng(6),
    )
    every = np.arange(-32768, 32768).astype(np.int16)
    # a = 1 makes b the whole product: every product near a tie of the rounding.
    factors = [1, -1, 3, 16384, -32768, 32767]
    a = np.concatenate([np.repeat(np.array(factors, np.int16), 65536), full_range(rng, 65536)])
    inputs = {"a": a[:, None], "b": np.tile(every, len(factors) + 1)[:, None]}
    assert_step(program, run_model(to_onnx(program), inputs), inputs, {})


@pytest.mark.parametrize("kind", ["logistic", "tanh"])
@pytest.mark.parametrize("exponent", [-13, -10, -14, -16, -20])
def test_tables_are_the_same_bits_for_every_input(kind: str, exponent: int) -> None:
    tensors = {"x": Tensor("x", 1, Scale(3, exponent)), "r": Tensor("r", 1, Scale(1, -15))}
    program = Program(tensors, ("x",), {"y": "r"}, (), (Operator(kind, ("x",), ("r",)),))
    inputs = {"x": np.arange(-32768, 32768).astype(np.int16)[:, None]}
    assert_step(program, run_model(to_onnx(program), inputs), inputs, {})


@pytest.mark.parametrize("factor", [1 / 2, 1 / 3, 3 / 8, 1 / 24, 2.0**-14, 3 * 2.0**-15])
def test_operands_of_a_sum_are_rounded_alike_for_every_input(factor: float) -> None:
    graph = OnnxGraph(["i", "table"])
    graph.node(
        "Gather", [Tables(graph).shifted(factor), graph.input("i", np.int32, (65536,))], "table"
    )
    graph.output("table", np.int32, (65536,))
    x = np.arange(-32768, 32768)
    result = run_model(graph.model(), {"i": x.astype(np.int32)})
    q, shift = quantize_multiplier(factor)
    expected = multiply_by_quantized_multiplier(x << 15, q, shift)
    np.testing.assert_array_equal(result["table"], expected)


@pytest.mark.parametrize("mantissas", [(3, 3), (1, 1), (1, 3), (3, 1)])
@pytest.mark.parametrize("distance", [-13, -3, -1, 0, 1, 2, 7, 13])
def test_rescales_are_the_same_bits_for_every_input(
    distance: int, mantissas: tuple[int, int]
) -> None:
    result = Scale(mantissas[1], -13 + distance)
    tensors = {
        "x": Tensor("x", 1, Scale(mantissas[0], -13)),
        "r": Tensor("r", 1, result),
        "p": Tensor("p", 1, result),
    }
    operators = (Operator("rescale", ("x",), ("r",)), Operator("relu", ("r",), ("p",)))
    program = Program(tensors, ("x",), {"y": "r", "positive": "p"}, (), operators)
    inputs = {"x": np.arange(-32768, 32768).astype(np.int16)[:, None]}
    assert_step(program, run_model(to_onnx(program), inputs), inputs, {})


def test_parts_of_parts_and_joined_vectors_are_the_same_bits() -> None:
    sizes = {"x": 6, "h": 6, "p": 9, "a": 5, "b": 4, "a1": 2, "a2": 3, "j": 10, "q": 6}
    tensors = {n: Tensor(n, size, Scale(1, -15)) for n, size in sizes.items()}
    rng = np.random.default_rng(8)

    def matrix(rows: int, columns: int) -> Matrix:
        rows_of = [np.full(rows, n, np.int32) for n in (20001, 20)]
        weight = rng.integers(-127, 128, (rows, columns)).astype(np.int8)
        return Matrix(weight, rng.integers(-99, 99, rows), *rows_of)

    operators = (
        Operator("linear", ("x",), ("p",), matrix(9, 6)),
        Operator("split", ("p",), ("a", "b")),
        Operator("split", ("a",), ("a1", "a2")),
        Operator("concat", ("b", "a2", "a2"), ("j",)),
        Operator("linear", ("j",), ("q",), matrix(6, 10)),
    )
    state = State("s", "h", "x", np.zeros(6, np.int16))
    outputs = {"y": "q", "part": "a1", "same": "q", "through": "x", "before": "h"}
    program = Program(tensors, ("x",), outputs, (state,), operators)
    inputs, states = random_inputs(program, rng, 9), random_states(program, rng, 9)
    for expose in ((), ("p", "a")):
        result = run_model(to_onnx(program, expose=expose), feeds_of(inputs, states))
        assert_step(program, result, inputs, states)
    result = run_model(to_onnx_sequence(program), feeds_of({"x": inputs["x"][None]}, states))
    for name in outputs:
        result[name] = result[name][0]
    assert_step(program, result, inputs, states)
