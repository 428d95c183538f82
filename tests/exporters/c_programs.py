"""Programs for the tests of the C exporter: every cell, any structure, and the edges of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edgernn.runtime import StepRuntime
from edgernn.runtime.program import GATE, UNIT, Matrix, Operator, Program, Scale, State, Tensor
from edgernn.runtime.validate import validate
from tests.programs import random_integers, random_matrix, random_program, random_structure


def stacks() -> dict[str, Program]:
    """Every cell, alone and stacked; sizes odd, 1, and beyond a block of any kernel."""
    shapes: dict[str, tuple[Sequence[str], Sequence[int], int, int]] = {
        "gru": (["gru"], [17], 5, 2),
        "lstm": (["lstm"], [9], 3, 0),
        "rnn_tanh": (["rnn_tanh"], [1], 1, 1),
        "rnn_relu": (["rnn_relu"], [33], 12, 3),
        "gru_of_one": (["gru"], [1], 1, 0),
        "lstm_lstm": (["lstm", "lstm"], [12, 7], 4, 5),
        "all_cells": (["rnn_relu", "lstm", "rnn_tanh", "gru"], [9, 24, 7, 31], 6, 5),
        "gru_65": (["gru"], [65], 40, 10),
    }
    return {
        name: random_program(cells, hidden, features, seed, head)
        for seed, (name, (cells, hidden, features, head)) in enumerate(shapes.items())
    }


def structures(seeds: Sequence[int], operators: int = 24) -> dict[str, Program]:
    """Programs of no particular architecture, several inputs, outputs and states."""
    return {f"structure_{seed}": random_structure(seed, operators) for seed in seeds}


def wide(columns: int, rows: int, seed: int = 0, steep: float = 0.1) -> Program:
    """A product whose sums leave 32 bits, biases up to 2^37, beside one that cannot.

    steep: how many of its weights are 127.
    """
    rng = np.random.default_rng(seed)
    small = random_matrix(rng, rows, columns, UNIT, UNIT)
    weight = np.where(rng.random((rows, columns)) < steep, 127, small.weight).astype(np.int8)
    # Sums of any size, and shifts that bring most of them to the range of int16.
    bits = rng.integers(24, 38, rows)
    bias = np.where(rng.random(rows) < 0.5, 1, -1) * (1 << bits)
    bias[0] = 1 << 37
    reach = np.log2(np.abs(bias) + 127 * 32768 * columns**0.5)
    shift = np.clip(np.ceil(reach) + rng.integers(-1, 3, rows), 8, 35).astype(np.int32)
    big = Matrix(weight, bias, small.multiplier, shift)
    return made(
        {"x": (columns, UNIT), "a": (rows, UNIT), "b": (rows, UNIT), "y": (rows, UNIT)},
        [
            Operator("linear", ("x",), ("a",), big),
            Operator("linear", ("x",), ("b",), small),
            Operator("add", ("a", "b"), ("y",)),
        ],
    )


def tall(rows: int) -> Program:
    """A product with as many rows as a tensor may have elements."""
    matrix = random_matrix(np.random.default_rng(rows), rows, 1, UNIT, UNIT)
    return made({"x": (1, UNIT), "y": (rows, UNIT)}, [Operator("linear", ("x",), ("y",), matrix)])


def every_operator() -> Program:
    """One tensor through all element-wise operators, every form of the sums among them."""
    half, twice, odd = Scale(1, -16), Scale(1, -14), Scale(3, -15)
    names = {
        "x": (7, UNIT),
        "g": (7, GATE),
        "w": (7, half),
        "sum": (7, UNIT),
        "difference": (7, UNIT),
        "mean": (7, twice),
        "gap": (7, twice),
        "x_and_w": (7, UNIT),
        "x_plus_two": (7, UNIT),
        "x_less_two": (7, UNIT),
        "scaled": (7, odd),
        "scaled_less": (7, odd),
        "product": (7, UNIT),
        "positive": (7, UNIT),
        "finer": (7, half),
        "sigma": (7, UNIT),
        "hyperbolic": (7, UNIT),
        "y": (49, UNIT),
    }
    operators = [
        ("add", ("x", "v"), "sum"),
        ("sub", ("sum", "x"), "difference"),
        ("add", ("sum", "x"), "mean"),
        ("sub", ("x", "difference"), "gap"),
        ("rescale", ("x",), "finer"),
        ("add", ("x", "mean"), "x_plus_two"),
        ("sub", ("x", "gap"), "x_less_two"),
        ("add", ("x", "finer"), "x_and_w"),
        ("add", ("x", "g"), "scaled"),
        ("sub", ("w", "x"), "scaled_less"),
        ("mul", ("x", "x_less_two"), "product"),
        ("relu", ("x_plus_two",), "positive"),
        ("logistic", ("g",), "sigma"),
        ("tanh", ("scaled_less",), "hyperbolic"),
    ]
    tensors = names | {"v": (7, UNIT)}
    joined = ("sum", "x_and_w", "product", "positive", "sigma", "hyperbolic", "x_less_two")
    ops = [Operator(kind, ins, (out,)) for kind, ins, out in operators]
    ops.append(Operator("concat", joined, ("y",)))
    initial = np.array([1, -1, 32767, -32768, 0, 99, -99], np.int16)
    return made(
        tensors,
        ops,
        inputs=("x", "g", "w"),
        outputs={"y": "y", "scaled": "scaled", "scaled_less": "scaled_less"},
        states=(State("v", "v", "sum", initial),),
    )


TOKEN = Scale(1, 0)


def functions() -> Program:
    """Constants, tables, masks and tokens, in every place that they may have.

    A row of a table is cut, is a state, and has a product added to it; a constant is cut, is an
    operand of a loop, a product and a concatenation, an output and a next state.
    """
    rng = np.random.default_rng(11)
    fine, coarse, root = Scale(1, -15), Scale(1, -14), Scale(1, -12)
    constants = {
        "k": np.array([32767, -32768, 0, 1, -1, 12345, -12345], np.int16),
        "whole": rng.integers(-32768, 32768, 9).astype(np.int16),
        "unread": np.array([1, 2, 3], np.int16),
        "initial": np.array([-5], np.int16),
    }
    smooth = np.rint(32767 * np.sin(np.linspace(0, 9, 513))).astype(np.int16)
    rough = rng.integers(-32768, 32768, 513).astype(np.int16)
    rows = {n: rng.integers(-128, 128, (5, n)).astype(np.int8) for n in (7, 9)}
    matrices = [random_matrix(rng, 7, n, UNIT, UNIT) for n in (7, 7, 16, 7)]
    operators = [
        ("embedding", ("token",), "row", rows[7]),
        ("embedding", ("token",), "long_row", rows[9]),
        ("embedding", ("s_in",), "summed_row", rows[7]),
        ("maximum", ("x", "k"), "larger", None),
        ("select", ("m", "larger", "row"), "one_mask", None),
        ("select", ("x", "one_mask", "tail"), "lane_mask", None),
        ("select", ("m_in", "end", "lane_mask"), "old_mask", None),
        ("lookup", ("old_mask",), "curve", smooth),
        ("lookup", ("lane_mask",), "noise", rough),
        ("lookup", ("k",), "again", smooth),
        ("rescale", ("curve",), "coarse", None),
        ("rsqrt", ("coarse",), "root", None),
        ("rescale", ("m",), "coarse_m", None),
        ("rsqrt", ("coarse_m",), "root_m", None),
        ("linear", ("k",), "of_constant", matrices[0]),
        ("linear", ("x",), "of_input", matrices[1]),
        ("add", ("summed_row", "of_input"), "row_sum", None),
        ("linear", ("row",), "of_row", matrices[3]),
        ("embedding", ("token",), "late_row", rows[7]),
        ("add", ("of_row", "late_row"), "late_sum", None),
        ("concat", ("k", "whole"), "joined", None),
        ("linear", ("joined",), "of_joined", matrices[2]),
        ("add", ("of_joined", "again"), "last", None),
    ]
    tensors = {name: (7, fine) for *_, name, _ in operators}
    tensors |= {"x": (7, fine), "u_in": (7, fine), "k": (7, fine), "joined": (16, fine)}
    tensors |= {"m": (1, fine), "m_in": (1, fine), "unread": (3, fine), "initial": (1, TOKEN)}
    tensors |= {"token": (1, TOKEN), "s_in": (1, TOKEN), "coarse_m": (1, coarse)}
    tensors |= {"coarse": (7, coarse), "root": (7, root), "root_m": (1, root)}
    tensors |= dict.fromkeys(("whole", "long_row"), (9, fine))
    tensors |= dict.fromkeys(("head", "begin"), (2, fine)) | dict.fromkeys(
        ("tail", "end"), (7, fine)
    )
    ops = []
    for kind, ins, name, constant in operators:
        matrix = constant if isinstance(constant, Matrix) else None
        table = constant if isinstance(constant, np.ndarray) else None
        ops.append(Operator(kind, ins, (name,), matrix, table))
    ops.insert(2, Operator("split", ("long_row",), ("begin", "end")))
    ops.insert(0, Operator("split", ("whole",), ("head", "tail")))
    states = [("m", "m_in", "m", 1), ("s", "s_in", "initial", 3), ("u", "u_in", "k", -7)]
    outputs = (
        "noise",
        "old_mask",
        "root",
        "root_m",
        "of_constant",
        "row_sum",
        "late_sum",
        "last",
        "whole",
        "u_in",
    )
    return made(
        tensors,
        ops,
        ("token", "x", "m"),
        {**{n: n for n in outputs}, "begin": "begin", "head": "head"},
        tuple(State(n, i, o, np.full(tensors[i][0], first, np.int16)) for n, i, o, first in states),
        constants,
    )


def made(
    tensors: Mapping[str, tuple[int, Scale]],
    operators: Sequence[Operator],
    inputs: tuple[str, ...] = ("x",),
    outputs: Mapping[str, str] | None = None,
    states: tuple[State, ...] = (),
    constants: Mapping[str, NDArray[np.int16]] | None = None,
) -> Program:
    """A valid program from name -> (size, scale) and its operators."""
    described = {name: Tensor(name, size, scale) for name, (size, scale) in tensors.items()}
    program = Program(
        described, inputs, outputs or {"y": "y"}, states, tuple(operators), {}, constants or {}
    )
    validate(program)
    return program


def streams(program: Program, steps: int, seed: int = 0) -> list[NDArray[np.int16]]:
    """Inputs (T, F) for it, of every style in turn: all int16 are legal."""
    rng = np.random.default_rng(seed)
    parts = -(-steps // 4)
    return [
        np.concatenate(
            [
                random_integers(rng, (parts, program.tensors[name].size), style)
                for style in ("mixed", "full", "rails", "small")
            ]
        )[:steps]
        for name in program.inputs
    ]


def ramp(program: Program, begin: int) -> list[str]:
    """What the examples print in each step from `begin` to 9, computed by the NumPy engine."""
    runtime, lines = StepRuntime(program), []
    for t in range(begin, 10):
        x = [np.full(program.tensors[n].size, 500 * t, np.int16) for n in program.inputs]
        y = runtime.step_int(*x)
        shown = [v for out in (y if isinstance(y, tuple) else (y,)) for v in out[:8]]
        lines.append("".join(f" {v}" for v in shown))
    return lines
