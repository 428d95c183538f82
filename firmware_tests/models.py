"""The models of the tests, and what NumPy computes for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn.exporters.c import to_c
from edgernn.runtime import Program, StepRuntime
from edgernn.runtime.program import Matrix
from edgernn.runtime.state import state_to_bytes
from firmware_tests.build import Model
from tests.exporters.c_programs import functions
from tests.programs import random_integers, random_program, random_structure

STEPS: Final = 1000

STACKS: Final = {
    # Sizes that are no multiple of what a kernel takes at a time, and some that are.
    "gru": (["gru"], [17], 5, 0),
    "lstm": (["lstm"], [16], 8, 3),
    "rnn_tanh": (["rnn_tanh"], [9], 7, 1),
    "rnn_relu": (["rnn_relu"], [12], 16, 0),
    "one_unit": (["lstm", "gru"], [1, 1], 1, 1),
    "stacked": (["gru", "gru"], [24, 13], 12, 10),
    "all_cells": (["rnn_relu", "lstm", "rnn_tanh", "gru"], [9, 24, 7, 31], 6, 5),
    "large_gru": (["gru"], [64], 32, 0),
    # Its constants are replaced by larger ones.
    "wide": (["rnn_tanh"], [6], 603, 2),
}
STRUCTURES: Final = range(30)
"""Seeds of programs of no particular architecture."""

FOREIGN: Final = "gru_again"
"""A model of the sizes of "gru": their states can be mistaken."""


@dataclass(frozen=True)
class Expected:
    """What NumPy computes: inputs (T, I), outputs (T, O) int16 side by side, T states as bytes."""

    inputs: NDArray[np.int16]
    outputs: NDArray[np.int16]
    states: list[bytes]


@cache
def programs() -> Mapping[str, Program]:
    """The programs by the names of their C models."""
    named = {
        name: random_program(cells, hidden, features, seed, head)
        for seed, (name, (cells, hidden, features, head)) in enumerate(STACKS.items())
    }
    named["wide"] = widened(named["wide"])
    named["functions"] = functions()
    return named | {f"structure_{seed}": random_structure(seed) for seed in STRUCTURES}


def widened(program: Program) -> Program:
    """The same with sums that leave 32 bits: on its input by weights, on its state by biases."""
    rng, states = np.random.default_rng(0), [s.input for s in program.states]
    operators = []
    for op in program.operators:
        m = op.matrix
        if m is not None and m.weight.shape[1] > 512:
            weight = rng.choice(np.array([-127, 127], np.int8), m.weight.shape)
            m = Matrix(weight, m.bias, m.multiplier, np.full_like(m.shift, 29))
        elif m is not None and op.inputs[0] in states:
            bias = rng.choice([-1 << 31, 1 << 31], m.bias.shape)
            m = Matrix(m.weight, bias, m.multiplier, np.full_like(m.shift, 33))
        operators.append(replace(op, matrix=m))
    return replace(program, operators=tuple(operators))


def _extremes(program: Program, inputs: NDArray[np.int16]) -> None:
    """Every fifth step an input that drives one row of a first product as far as it goes."""
    rows = [op.matrix.weight for op in program.operators if op.matrix and op.inputs[0] == "x"]
    signs = np.concatenate([np.where(rows[0] < 0, -1, 1), np.where(rows[0] < 0, 1, -1)])
    for i in range(0, len(inputs), 5):
        inputs[i] = 32767 * signs[i // 5 % len(signs)]


@cache
def models() -> tuple[Model, ...]:
    """The programs, exported, and FOREIGN."""
    cells, hidden, features, head = STACKS["gru"]
    named = {**programs(), FOREIGN: random_program(cells, hidden, features, 1000, head)}
    return tuple(Model.of(p, name, to_c(p, name)) for name, p in named.items())


@cache
def expected(name: str) -> Expected:
    """What the NumPy engine makes of random inputs, the state carried on over all steps."""
    program = programs()[name]
    rng = np.random.default_rng(len(name))
    sizes = [program.tensors[n].size for n in program.inputs]
    inputs = random_integers(rng, (STEPS, sum(sizes)))
    if name == "wide":
        _extremes(program, inputs)
    runtime = StepRuntime(program)
    outputs, states = [], []
    for x in inputs:
        y = runtime.step_int(*np.split(x, np.cumsum(sizes)[:-1]))
        outputs.append(np.concatenate(y if isinstance(y, tuple) else (y,)))
        states.append(state_to_bytes(program, runtime.state))
    return Expected(inputs, np.stack(outputs), states)


def first_difference(got: NDArray[np.int16], wanted: NDArray[np.int16]) -> str:
    """Where two arrays (T, O) begin to differ; empty if they are equal."""
    if got.shape != wanted.shape:
        return f"shape {got.shape}, not {wanted.shape}"
    where = np.argwhere(got != wanted)
    if not len(where):
        return ""
    t, i = where[0]
    return (
        f"{len(where)} values, the first at step {t}, output {i}: {got[t, i]}, not {wanted[t, i]}"
    )
