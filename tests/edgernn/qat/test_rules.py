"""Forwards, the rules are the runtime's to the bit; backwards, the slopes of the real functions."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgernn.lowering.builder import Builder
from edgernn.qat.latents import weights_of
from edgernn.qat.order import segments_of
from edgernn.qat.rules import Mul, Sum
from edgernn.qat.scan import Scan
from edgernn.rounding import Nearest
from edgernn.runtime.functions import tabulated
from edgernn.runtime.operators import KINDS, evaluate_step
from edgernn.runtime.program import GATE, UNIT, Operator, Program, Scale, State, Tensor
from tests.programs import SCALES, random_integers, random_matrix, random_structure

Float64 = NDArray[np.float64]


@pytest.mark.parametrize("seed", range(30))
def test_every_tensor_of_any_program_is_the_runtimes(seed: int) -> None:
    program = random_structure(seed, 24)
    rng = np.random.default_rng(seed)
    steps, streams = 40, 3
    x = {n: random_integers(rng, (steps, streams, program.tensors[n].size)) for n in program.inputs}
    states = {s.name: np.tile(s.initial.astype(np.int64), (streams, 1)) for s in program.states}
    tape = Scan(program).run(
        {n: v.astype(np.float64) for n, v in x.items()},
        {n: v.astype(np.float64) for n, v in states.items()},
        weights_of(program, {}),
    )
    for t in range(steps):
        right = evaluate_step(program, {n: v[t].astype(np.int64) for n, v in x.items()}, states)
        for name, value in right.items():
            np.testing.assert_array_equal(tape.values[name][t], value, err_msg=f"{name}, step {t}")
        states = {s.name: right[s.output] for s in program.states}
    for state in program.states:
        np.testing.assert_array_equal(tape.final(state), states[state.name])


WIDE = (*SCALES, Scale(1, -20), Scale(3, -17), Scale(1, -8), Scale(5, -14))


@pytest.mark.parametrize("kind", ["add", "sub"])
def test_a_sum_of_any_scales_is_the_runtimes(kind: str) -> None:
    rng, ways = np.random.default_rng(0), set()
    x = [random_integers(rng, (50, 40)).astype(np.int64) for _ in range(2)]
    for a, b, out in product(WIDE, WIDE, WIDE):
        op = Operator(kind, ("a", "b"), ("y",))
        ins, outs = [Tensor("a", 40, a), Tensor("b", 40, b)], [Tensor("y", 40, out)]
        try:
            KINDS[kind].check(op, ins, outs)
        except ValueError:
            continue
        rule, y = Sum(op, ins, outs), np.empty((50, 40))
        rule.forward([v.astype(np.float64) for v in x], y, None)
        (right,) = KINDS[kind].compute(op, ins, outs, x)
        np.testing.assert_array_equal(y, right, err_msg=f"{a} {b} {out}")
        ways.add((rule.equal, rule.dyadic))
    assert len(ways) == 3


def test_a_product_is_the_runtimes() -> None:
    rng = np.random.default_rng(1)
    near = np.concatenate([np.arange(-300, 301), [-32768, -32767, 32767, 16384, -16384]])
    pairs = np.stack(np.meshgrid(near, near)).reshape(2, -1)
    pairs = np.concatenate([pairs, rng.integers(-32768, 32768, (2, 400_000))], axis=1)
    op, unit = Operator("mul", ("a", "b"), ("y",)), [Tensor("a", 1, UNIT), Tensor("b", 1, UNIT)]
    y = np.empty(pairs.shape[1])
    Mul(op, unit, unit[:1]).forward([v.astype(np.float64) for v in pairs], y, None)
    (right,) = KINDS["mul"].compute(op, unit, unit[:1], list(pairs))
    np.testing.assert_array_equal(y, right)


# -- slopes -------------------------------------------------------------------------------------

ROWS, SIZE = 4, 6


def one_operator(
    kind: str, ins: tuple[Tensor, ...], outs: tuple[Tensor, ...], **constants: Any
) -> Program:
    builder = Builder(Nearest())
    for tensor in (*ins, *outs):
        builder.tensor(tensor.name, tensor.size, tensor.scale)
    names = tuple(t.name for t in ins)
    builder.operators.append(Operator(kind, names, tuple(t.name for t in outs), **constants))
    return builder.program(names, {t.name: t.name for t in outs}, {})


def smooth(x: Float64) -> Float64:
    result: Float64 = np.sin(3.0 * x)
    return result


SINE = tabulated(smooth, UNIT, UNIT)
MATRIX = random_matrix(np.random.default_rng(3), ROWS, SIZE, UNIT, UNIT)
FACTOR = MATRIX.multiplier * 2.0 ** -MATRIX.shift.astype(np.float64)
A, B = Tensor("a", SIZE, UNIT), Tensor("b", SIZE, UNIT)
HALF = Scale(1, -14)
Y = Tensor("y", SIZE, UNIT)
GATED = Tensor("a", SIZE, GATE)
SQUARE = Tensor("a", SIZE, Scale(1, -14))

CASES: dict[str, tuple[Program, Callable[..., Any]]] = {
    "linear": (
        one_operator("linear", (A,), (Tensor("y", ROWS, UNIT),), matrix=MATRIX),
        lambda a: (a @ MATRIX.weight.T.astype(np.float64) + MATRIX.bias) * FACTOR,
    ),
    "add": (one_operator("add", (A, B), (Y,)), lambda a, b: a + b),
    "sub": (one_operator("sub", (A, B), (Y,)), lambda a, b: a - b),
    "add of three scales": (
        one_operator("add", (A, Tensor("b", SIZE, HALF)), (Tensor("y", SIZE, Scale(1, -13)),)),
        lambda a, b: a / 4 + b / 2,
    ),
    "sub of other scales": (
        one_operator("sub", (A, Tensor("b", SIZE, GATE)), (Tensor("y", SIZE, GATE),)),
        lambda a, b: a / 12 - b,
    ),
    "mul": (one_operator("mul", (A, B), (Y,)), lambda a, b: a * b / 32768),
    "square": (
        Program({"a": A, "y": Y}, ("a",), {"y": "y"}, (), (Operator("mul", ("a", "a"), ("y",)),)),
        lambda a: a * a / 32768,
    ),
    "logistic": (
        one_operator("logistic", (GATED,), (Y,)),
        lambda a: 32768 / (1 + np.exp(-a * 3 / 8192)),
    ),
    "tanh": (one_operator("tanh", (GATED,), (Y,)), lambda a: 32768 * np.tanh(a * 3 / 8192)),
    "relu": (one_operator("relu", (A,), (Y,)), lambda a: np.maximum(a, 0)),
    "rescale": (
        one_operator("rescale", (A,), (Tensor("y", SIZE, HALF),)), lambda a: a / 2,
    ),
    "maximum": (one_operator("maximum", (A, B), (Y,)), np.maximum),
    "select": (
        one_operator("select", (Tensor("m", SIZE, Scale(1, 0)), A, B), (Y,)),
        lambda m, a, b: np.where(m > 0, a, b),
    ),
    "select by one": (
        one_operator("select", (Tensor("m", 1, Scale(1, 0)), A, B), (Y,)),
        lambda m, a, b: np.where(m > 0, a, b),
    ),
    "lookup": (
        one_operator("lookup", (A,), (Y,), table=SINE),
        lambda a: 32768 * np.sin(3 * a / 32768),
    ),
    "rsqrt": (
        one_operator("rsqrt", (SQUARE,), (Tensor("y", SIZE, Scale(1, -8)),)),
        lambda a: 256 / np.sqrt(np.maximum(a, 1) / 16384),
    ),
    "concat": (
        one_operator("concat", (A, B), (Tensor("y", 2 * SIZE, UNIT),)),
        lambda a, b: np.concatenate([a, b], -1),
    ),
    "split": (
        one_operator("split", (A,), (Tensor("y", 2, UNIT), Tensor("z", SIZE - 2, UNIT))),
        lambda a: (a[..., :2], a[..., 2:]),
    ),
}  # fmt: skip


def listed(values: Any) -> tuple[Any, ...]:
    return values if isinstance(values, tuple) else (values,)


@pytest.mark.parametrize("name", CASES)
def test_slopes_are_those_of_the_real_function(name: str) -> None:
    program, function = CASES[name]
    rng = np.random.default_rng(len(name))
    low, high = (200, 12_000) if "rsqrt" in name else (-9_000, 9_000)
    x = {
        t: rng.integers(low, high, (7, 5, program.tensors[t].size)).astype(np.float64)
        for t in program.inputs
    }
    if "m" in x:
        x["m"] = np.where(x["m"] > 0, 1.0, 0.0)
    tape = Scan(program).run(x, {}, weights_of(program, {}))
    real = listed(function(*x.values()))
    outputs = []
    for tensor, right in zip(program.outputs, real, strict=True):
        tolerance = 2.0 + 1e-3 * np.abs(right).max()
        np.testing.assert_allclose(tape.values[tensor], right, rtol=0, atol=tolerance)
        outputs.append((tensor, rng.standard_normal(right.shape)))
    wanted = [n for n in x if n != "m"]
    found = tape.gradients(outputs, {}, wanted, [], [])
    for tensor in wanted:
        numeric = np.zeros_like(x[tensor])
        step = 1.0
        for k in range(x[tensor].shape[-1]):
            moved = []
            for sign in (1, -1):
                other = x[tensor].copy()
                other[..., k] += sign * step
                values = listed(function(*{**x, tensor: other}.values()))
                moved.append(
                    sum((v * g).sum(-1) for v, (_, g) in zip(values, outputs, strict=True))
                )
            numeric[..., k] = (moved[0] - moved[1]) / (2 * step)
        scale = np.abs(numeric).max()
        np.testing.assert_allclose(found.inputs[tensor], numeric, rtol=0, atol=0.01 * scale)


def test_a_products_weights_get_the_gradient_of_the_accumulator() -> None:
    program, _ = CASES["linear"]
    rng = np.random.default_rng(0)
    x = rng.integers(-900, 900, (7, 5, SIZE)).astype(np.float64)
    tape = Scan(program).run({"a": x}, {}, weights_of(program, {}))
    g = rng.standard_normal((7, 5, ROWS))
    inside = np.abs(tape.values["y"]) < 32767
    found = tape.gradients([("y", g)], {}, [], [], ["y"]).weights["y"]
    wanted = np.einsum("tnr,tnk->rk", g * inside * FACTOR, x)
    np.testing.assert_allclose(found["weight"], wanted, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found["bias"], (g * inside * FACTOR).sum((0, 1)), rtol=1e-4)


def test_rows_of_an_embedding_get_what_was_read_of_them() -> None:
    table = np.random.default_rng(0).integers(-127, 128, (5, 3)).astype(np.int8)
    ids, y = Tensor("i", 1, Scale(1, 0)), Tensor("y", 3, UNIT)
    program = one_operator("embedding", (ids,), (y,), table=table)
    # Beyond the table, an id counts as the nearest one.
    x = np.array([0, 4, 4, 2, 900, -3], np.float64).reshape(6, 1, 1)
    tape = Scan(program).run({"i": x}, {}, weights_of(program, {}))
    g = np.arange(18.0).reshape(6, 1, 3)
    found = tape.gradients([("y", g)], {}, [], [], ["y"]).weights["y"]["table"]
    right = np.zeros((5, 3))
    for row, value in zip([0, 4, 4, 2, 4, 0], g[:, 0], strict=True):
        right[row] += value
    np.testing.assert_array_equal(found, right)


SATURATED = {
    "linear": [3_000_000.0],
    "add": [30_000.0, 30_000.0],
    "sub": [-30_000.0, 30_000.0],
    "rescale": [-30_000.0],
}


@pytest.mark.parametrize("kind", SATURATED)
def test_nothing_passes_what_saturated(kind: str) -> None:
    ins = (A, B)[: len(SATURATED[kind])]
    out = Tensor("y", SIZE, Scale(1, -17)) if kind == "rescale" else Y
    constants: dict[str, Any] = {}
    if kind == "linear":
        # All of its weights are positive, so that 32767 times each is beyond the rails.
        positive = np.abs(MATRIX.weight) + (MATRIX.weight == 0).astype(np.int8)
        matrix = type(MATRIX)(
            np.vstack([positive, positive])[:SIZE],
            np.full(SIZE, 1 << 36),
            np.full(SIZE, 16385, np.int32),
            np.full(SIZE, 20, np.int32),
        )
        constants["matrix"] = matrix
    program = one_operator(kind, ins, (out,), **constants)
    values = [min(v, 32767.0) for v in SATURATED[kind]]
    x = {t.name: np.full((2, 1, SIZE), v) for t, v in zip(ins, values, strict=True)}
    # One element of each stays inside, but for the product's.
    if kind != "linear":
        for v in x.values():
            v[0, 0, 0] = 100.0
    tape = Scan(program).run(x, {}, weights_of(program, {}))
    found = tape.gradients([("y", np.ones((2, 1, SIZE)))], {}, list(x), [], [])
    for value in found.inputs.values():
        inside = np.zeros((2, 1, SIZE), bool)
        inside[0, 0, 0] = kind != "linear"
        np.testing.assert_array_equal(value != 0, inside)


def delayed_sum() -> Program:
    """z sums up x + d, where d is x of the step before; o = relu(z)."""
    tensors = {n: Tensor(n, 3, UNIT) for n in ("x", "h", "d", "y", "z", "o")}
    operators = (
        Operator("add", ("x", "d"), ("y",)),
        Operator("add", ("y", "h"), ("z",)),
        Operator("relu", ("z",), ("o",)),
    )
    zeros = np.zeros(3, np.int16)
    states = (State("delay", "d", "x", zeros), State("sum", "h", "z", zeros))
    return Program(tensors, ("x",), {"o": "o"}, states, operators)


def test_only_loops_run_step_by_step() -> None:
    found = [
        ([p.name for p in segment.parts], segment.loop) for segment in segments_of(delayed_sum())
    ]
    assert found == [(["delay"], False), (["y"], False), (["sum", "z"], True), (["o"], False)]


def test_gradients_run_back_through_states_in_a_loop_and_without_one() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(1, 50, (6, 2, 3)).astype(np.float64)
    states = {n: rng.integers(1, 50, (2, 3)).astype(np.float64) for n in ("delay", "sum")}
    tape = Scan(delayed_sum()).run({"x": x}, states, {})
    before = np.concatenate([states["delay"][None], x[:-1]])
    np.testing.assert_array_equal(tape.values["o"], states["sum"] + np.cumsum(x + before, axis=0))
    g, last = rng.standard_normal((6, 2, 3)), rng.standard_normal((2, 3))
    of_delay = rng.standard_normal((2, 3))
    found = tape.gradients(
        [("o", g)], {"sum": last, "delay": of_delay}, ["x"], ["delay", "sum"], []
    )
    # What every later sum passes back; x is also the delay's next value.
    behind = np.cumsum(g[::-1], axis=0)[::-1] + last
    wanted = behind + np.concatenate([behind[1:], of_delay[None]])
    np.testing.assert_allclose(found.inputs["x"], wanted, rtol=1e-4, atol=1e-4)
    for name in states:
        np.testing.assert_allclose(found.states[name], behind[0], rtol=1e-4, atol=1e-4)
