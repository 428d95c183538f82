"""Each operator of a program against the int16 kernels of both interpreters."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgernn.exporters.tflite import to_tflite
from edgernn.runtime.errors import FileFormatError, UnsupportedError
from edgernn.runtime.operators import evaluate_step
from edgernn.runtime.program import GATE, UNIT, Matrix, Operator, Program, Scale, Tensor
from tests.exporters.tflite_cases import (
    INTERPRETERS,
    Run,
    assert_only_negative_ties,
    assert_same,
    reference,
    runner_of,
)

EVERY_INT16 = np.arange(-32768, 32768).astype(np.int16)


@pytest.fixture(params=INTERPRETERS)
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    return runner_of(request.param, tmp_path)


@pytest.mark.parametrize("rows", [1, 6])
def test_a_product_full_of_ties_is_exact_as_conv_2d(run: Run, rows: int) -> None:
    weight = np.array([[1], [1], [-1], [3], [127], [-127]], np.int8)[:rows]
    multiplier = np.array([16384, 16385, 32767, 16385, 24577, 32766], np.int32)[:rows]
    bias = np.array([0, 1, -1, 2, 0, 0], np.int64)[:rows]
    matrix = Matrix(weight, bias, multiplier, np.full(rows, 15, np.int32))
    op = Operator("linear", ("x",), ("o",), matrix)
    tensors = {"x": Tensor("x", 1, UNIT), "o": Tensor("o", rows, UNIT)}
    program = Program(tensors, ("x",), {"y": "o"}, (), (op,))
    x = EVERY_INT16[:, None]
    expected = evaluate_step(program, {"x": x.astype(np.int64)}, {})["o"]
    np.testing.assert_array_equal(run(to_tflite(program), {"x": x})["y"], expected)
    got = run(to_tflite(program, product="fully_connected"), {"x": x})["y"]
    assert_only_negative_ties(matrix, x, got)


def test_one_row_that_fully_connected_would_round_is_refused() -> None:
    matrix = Matrix(
        np.array([[1]], np.int8),
        np.array([0]),
        np.array([32767], np.int32),
        np.array([15], np.int32),
    )
    tensors = {
        "x": Tensor("x", 1, Scale((1 << 23) + 1, -40)),
        "o": Tensor("o", 1, Scale((1 << 23) + 1, -38)),
    }
    op = Operator("linear", ("x",), ("o",), matrix)
    program = Program(tensors, ("x",), {"y": "o"}, (), (op,))
    with pytest.raises(UnsupportedError, match="product='conv_2d'"):
        to_tflite(program, product="fully_connected")
    assert to_tflite(program)


def one_operator(kind: str, ins: list[Scale], out: Scale, size: int) -> Program:
    names = [f"x{i}" for i in range(len(ins))]
    tensors = {n: Tensor(n, size, s) for n, s in zip(names, ins, strict=True)}
    tensors["o"] = Tensor("o", size, out)
    op = Operator(kind, tuple(names), ("o",))
    return Program(tensors, tuple(names), {"y": "o"}, (), (op,))


def unary_cases() -> Iterator[tuple[str, Scale, Scale]]:
    for j in range(9, 17):
        yield "logistic", Scale(3, -j), UNIT
        yield "tanh", Scale(3, -j), UNIT
    yield "relu", GATE, GATE
    for exponent in (-29, -17, -15, -14, -13, -12, -1):
        yield "rescale", UNIT, Scale(3, exponent - 1)
        yield "rescale", GATE, Scale(1, exponent + 3)
        yield "rescale", Scale(5, -14), Scale(7, exponent)
        if exponent != -15:
            yield "rescale", UNIT, Scale(1, exponent)


def test_unary_operators_agree_on_every_input(run: Run) -> None:
    tensors, operators, outputs = {"x": Tensor("x", 65536, UNIT)}, [], {}
    inputs = {}
    for i, (kind, scale_in, scale_out) in enumerate(unary_cases()):
        x, o = f"x{i}", f"o{i}"
        tensors |= {x: Tensor(x, 65536, scale_in), o: Tensor(o, 65536, scale_out)}
        operators.append(Operator(kind, (x,), (o,)))
        outputs[f"y{i}"] = o
        inputs[x] = EVERY_INT16[None]
    del tensors["x"]
    program = Program(tensors, tuple(inputs), outputs, (), tuple(operators))
    assert_same(program, run(to_tflite(program), inputs), reference(program, inputs))


CELL_SUMS = [([Scale(3, -j), UNIT], Scale(3, -j)) for j in range(4, 17)]
SUMS = [
    ([GATE, GATE], GATE),
    ([UNIT, UNIT], Scale(1, -14)),
    ([UNIT, Scale(1, -14)], UNIT),
    ([GATE, Scale(1, -12)], Scale(3, -12)),
    ([Scale(1, -10), Scale(3, -14)], Scale(1, -9)),
    *CELL_SUMS,
]


@pytest.mark.parametrize("kind", ["add", "sub", "mul"])
def test_binary_operators_agree_on_random_and_corner_values(run: Run, kind: str) -> None:
    rng = np.random.default_rng(6)
    corners = np.array([-32768, -32767, -16384, -2, -1, 0, 1, 2, 3, 16383, 32766, 32767])
    mul = [([UNIT, UNIT], UNIT), ([UNIT, GATE], GATE), ([Scale(1, -10)] * 2, Scale(1, -5))]
    for ins, out in mul if kind == "mul" else SUMS:
        program = one_operator(kind, ins, out, 16384 + 5)
        draws = [
            np.stack(
                [
                    rng.integers(-32768, 32768, 16389),
                    rng.integers(-300, 301, 16389),
                    rng.choice(corners, 16389),
                ]
            ).astype(np.int16)
            for _ in ins
        ]
        inputs = dict(zip(program.inputs, draws, strict=True))
        assert_same(program, run(to_tflite(program), inputs), reference(program, inputs))


@pytest.mark.parametrize(
    ("ins", "out"),
    [
        ([GATE, Scale(1, -12)], Scale(1, -11)),
        ([Scale(5, -13), Scale(1, -12)], Scale(1, -11)),
        ([Scale(1, -1), UNIT], Scale(1, -1)),
    ],
)
def test_sums_that_vector_kernels_round_otherwise_are_refused(ins: list[Scale], out: Scale) -> None:
    with pytest.raises(FileFormatError, match="operator o \\(add\\)"):
        to_tflite(one_operator("add", ins, out, 16))
