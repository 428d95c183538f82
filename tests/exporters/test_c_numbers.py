"""Which product a matrix gets in C, and which multiplication a gate gets; the bits stay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgernn.exporters.c import to_c
from edgernn.exporters.c.numbers import fits_32_bits
from edgernn.runtime.program import GATE, UNIT, Matrix, Operator, Program
from tests.exporters import c_programs
from tests.exporters.c_host import HostC
from tests.exporters.test_c import same
from tests.programs import reference_run


def matrix(bias: int, multiplier: int, shift: int, *weights: int) -> Matrix:
    """One row of these, between two rows that fit in any case."""
    rows = np.array([[100] * len(weights), weights, [-100] * len(weights)], np.int8)
    ones = np.array([1, 0, 1])
    return Matrix(
        rows,
        (ones * 12345 + (1 - ones) * bias).astype(np.int64),
        (ones * 20001 + (1 - ones) * multiplier).astype(np.int32),
        (ones * 24 + (1 - ones) * shift).astype(np.int32),
    )


def product(m: Matrix) -> Program:
    rows, columns = m.weight.shape
    return c_programs.made(
        {"x": (columns, UNIT), "y": (rows, UNIT)}, [Operator("linear", ("x",), ("y",), m)]
    )


def check(program: Program, inputs: list[NDArray[np.int16]], folder: Path) -> None:
    same(HostC(program, folder).run(inputs), reference_run(program, inputs), "portable")


@pytest.mark.parametrize(
    ("m", "narrow"),
    [
        (matrix(0, 16384, 17, 1, 0), True),
        (matrix(0, 16384, 16, 1, 0), False),
        (matrix(0, 32767, 32, 127, 127), True),
        (matrix(0, 32767, 33, 127, 127), False),
        (matrix((1 << 31) - 1 - 254 * 32768, 32767, 31, 127, 127), True),
        (matrix((1 << 31) - 254 * 32768, 32767, 31, 127, 127), False),
        (matrix(254 * 32768 - (1 << 31) + 1, 32767, 31, -127, 127), True),
        # Without weights, what the bias makes is known.
        (matrix(1 << 37, 16385, 35, 0, 0), True),
        (matrix(-(1 << 37), 16385, 35, 0, 0), True),
        (matrix(30000 << 21, 16385, 35, 0, 0), True),
        (matrix(-12345 << 21, 16384, 35, 0, 0), True),
        (matrix(77, 32767, 8, 0, 0), True),
    ],
    ids=lambda v: "" if isinstance(v, bool) else f"{v.bias[1]}_{v.multiplier[1]}_{v.shift[1]}",
)
def test_products_of_32_bits_are_taken_where_they_are_exact(
    m: Matrix, narrow: bool, tmp_path: Path
) -> None:
    assert fits_32_bits(m) is narrow
    program = product(m)
    assert ("edgernn_linear_wide(" not in to_c(program, "net")["net.c"].decode()) is narrow
    edges = [-32768, -32767, -16384, -1, 0, 1, 2, 16383, 32767]
    x = np.array([(a, b) for a in edges for b in edges], np.int16)
    check(program, [x], tmp_path)


def test_a_gate_times_a_value(tmp_path: Path) -> None:
    """All gates there are, times values on either side of every tie."""
    g = np.arange(-32768, 32768, 4).astype(np.int16)
    size = len(g)
    names = ("sigma", "first", "second", "other")
    program = c_programs.made(
        {"g": (size, GATE), "v": (size, UNIT), **dict.fromkeys(names, (size, UNIT))},
        [
            Operator("logistic", ("g",), ("sigma",)),
            Operator("mul", ("sigma", "v"), ("first",)),
            Operator("mul", ("v", "sigma"), ("second",)),
            Operator("mul", ("v", "v"), ("other",)),
        ],
        inputs=("g", "v"),
        outputs={n: n for n in names},
    )
    source = to_c(program, "net")["net.c"].decode()
    assert source.count("edgernn_mul_gate(sigma, ") == 2
    assert source.count("edgernn_mul(") == 1
    values = [-32768, -32767, -16384, -8192, -3, -2, -1, 0, 1, 2, 3, 8192, 16384, 32767]
    rng = np.random.default_rng(0)
    v = np.array([np.full(size, value) for value in values] + [rng.integers(-32768, 32768, size)])
    check(program, [np.tile(g, (len(v), 1)), v.astype(np.int16)], tmp_path)
