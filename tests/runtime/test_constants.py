"""Constants wherever a tensor may be: they hold for ever, whatever is computed beside them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edgernn.runtime import StepRuntime
from edgernn.runtime.layout import plan_layout
from edgernn.runtime.plan import Plan
from edgernn.runtime.program import GATE, UNIT, Program, Scale
from tests.programs import random_integers, random_structure
from tests.runtime.sketches import HALF, Sketch, assert_same_bits, completed


def fixed(b: Sketch, name: str, size: int, scale: Scale = UNIT) -> str:
    """A constant of any integers."""
    b.constant(name, np.zeros(size), scale)
    b.constants[name][:] = random_integers(b.rng, (size,))
    return name


def read_by_products(b: Sketch) -> dict[str, str]:
    """Left, right and in the middle of the chains that products read."""
    x, h, k = b.tensor("x", 5, UNIT), b.carried("h", 4), fixed(b, "k", 3)
    order = ((x, "a"), (k, "b"), (k, "c"), (h, "d"), (x, "e"), (h, "f"), (k, "g"))
    for source, name in order:
        b.product(name, source, 4)
    b.product("i", fixed(b, "last", 2), 4)
    b.carry("h", b.add("next", "i", b.add("s", "d", "g", UNIT), UNIT))
    return {name: name for _, name in order} | {"k": k, "i": "i"}


def parts_and_wholes(b: Sketch) -> dict[str, str]:
    """Split, joined, and split again where products read the parts."""
    x, k = b.tensor("x", 3, UNIT), fixed(b, "k", 7)
    left, right = b.split(k, {"left": 3, "right": 4})
    b.product("p", left, 2)
    b.split(right, {"r0": 1, "r1": 3})
    b.product("q", b.concat("both", ("r1", x, k)), 3)
    b.mul("y", x, left, UNIT)
    return {name: name for name in ("p", "q", "y", "left", "r0", "both", "k")}


def next_values(b: Sketch) -> dict[str, str]:
    """One constant, its part, and another are the next values of four states."""
    x, k = b.tensor("x", 4, UNIT), fixed(b, "k", 4)
    for name in ("one", "two", "three"):
        b.carried(name, 4)
    b.carried("half", 2)
    b.split(k, {"k0": 2, "k1": 2})
    b.carry("one", k)
    b.carry("two", k)
    b.carry("half", "k1")
    s = b.add("s", b.add("s0", "one_in", "two_in", UNIT), "three_in", UNIT)
    b.carry("three", b.add("next", x, k, UNIT))
    return {"y": s, "half": "half_in", "one": "one_in", "k": k}


def beside_a_state_in_place(b: Sketch) -> dict[str, str]:
    """States replaced where they lie, next to a constant in the same array."""
    x, h, k = b.tensor("x", 4, UNIT), b.carried("h", 4), fixed(b, "k", 4)
    gates = b.add("s", b.product("p", k, 4, GATE), b.product("q", h, 4, GATE), GATE)
    b.carry("h", b.tanh("next", b.add("s2", gates, b.product("r", x, 4, GATE), GATE)))
    return {"y": "next", "k": k, "q": "q"}


def masks(b: Sketch) -> dict[str, str]:
    """A state held or replaced by a mask; masks that are constants, states, parts and gates."""
    x, h, k = b.tensor("x", 4, UNIT), b.carried("h", 4), fixed(b, "k", 4)
    b.constants["k"][:] = [0, 3, 0, -32768]
    hold, _ = b.split(b.tensor("flags", 3, Scale(1, 0)), {"hold": 1, "rest": 2})
    b.select("a", k, x, h)
    b.select("b", h, k, x)
    b.select("c", x, x, k)
    z = b.logistic("z", b.rescale("w", x, GATE))
    b.select("d", z, k, b.mul("g", z, h, UNIT))
    b.select("e", b.product("m", x, 1), k, k)
    b.carry("h", b.select("next", hold, h, b.maximum("n", h, "a")))
    return {name: name for name in ("a", "b", "c", "d", "e", "next")}


def operands_of_everything(b: Sketch) -> dict[str, str]:
    """What is left undone before a table, a product or a sum meets a constant."""
    x, g = b.tensor("x", 4, UNIT), b.tensor("g", 4, GATE)
    k, c = fixed(b, "k", 4), fixed(b, "c", 4, GATE)
    plus = b.constant("plus", np.array([0.1, 0.9, 0.0, 0.5]), UNIT)
    z = b.logistic("z", g)
    b.tanh("t1", b.add("s1", g, c, GATE))
    b.product("m", x, 4, GATE)
    b.tanh("t2", b.add("s2", c, b.mul("p2", "m", z, GATE), GATE))
    b.tanh("t3", b.add("s3", b.mul("p3", z, "m", GATE), c, GATE))
    b.tanh("t4", b.add("s4", c, b.mul("p4", plus, "m", GATE), GATE))
    b.mul("u1", z, b.sub("d1", k, x, HALF), HALF)
    b.mul("u2", b.sub("d2", x, k, HALF), plus, HALF)
    b.mul("u3", k, b.logistic("zz", c), UNIT)
    b.logistic("v1", c)
    b.rescale("v2", k, GATE)
    b.relu("v3", k)
    b.lookup("v4", c, np.sin, UNIT)
    b.rsqrt("v5", b.tensor("q", 4, Scale(1, -4)), Scale(1, -13))
    b.maximum("v6", x, k)
    b.add("v7", k, c, GATE)
    # Sums that wait for a table may not be read by one of the program's own, nor by a choice.
    b.tanh("w1", b.add("s5", g, c, GATE))
    b.lookup("w2", "s5", np.cos, UNIT)
    b.tanh("w3", b.add("s6", g, c, GATE))
    b.maximum("w4", "s6", c)
    b.tanh("w5", b.sub("s7", g, c, GATE))
    b.select("w6", x, "s7", c)
    b.mul("w7", b.tanh("z1", g), k, UNIT)
    b.select("w8", g, "z1", k)
    b.mul("w9", z, b.sub("d3", x, k, HALF), HALF)
    b.maximum("w0", "d3", "d2")
    names = [n for n in b.tensors if n[0] in "tuvw"]
    return {n: n for n in names}


def tokens(b: Sketch) -> dict[str, str]:
    """Rows by an input, by a part of it, by a state and by a constant."""
    one = Scale(1, 0)
    rows = b.rng.integers(-128, 128, (9, 4)).astype(np.int8)
    first, second = b.split(b.tensor("ids", 2, one), {"first": 1, "second": 1})
    h = b.carried("h", 1, one)
    k = b.constant("k", np.array([5]), one)
    parts = tuple(
        b.embedding(f"e{i}", source, rows + np.int8(i), UNIT)
        for i, source in enumerate((first, second, h, k))
    )
    b.product("p", "e2", 3)
    b.carry("h", b.maximum("next", first, h))
    return {"y": b.concat("all", parts), "p": "p"}


STRUCTURES: list[Callable[[Sketch], dict[str, str]]] = [
    read_by_products, parts_and_wholes, next_values, beside_a_state_in_place, masks,
    operands_of_everything, tokens,
]  # fmt: skip


@pytest.mark.parametrize("structure", STRUCTURES, ids=lambda s: s.__name__)
def test_a_structure_gives_the_same_bits(structure: Callable[[Sketch], dict[str, str]]) -> None:
    b = Sketch()
    program = completed(b, structure(b))
    for style in range(3):
        assert_same_bits(program, style, steps=12)


@pytest.mark.parametrize("batch", [None, 3])
def test_no_step_writes_to_a_constant(batch: int | None) -> None:
    seen = 0
    for seed in range(60):
        program = random_structure(seed, operators=20)
        plan, rng = Plan(program, batch), np.random.default_rng(seed)
        for _ in range(5):
            for target in (*plan.inputs.values(), *plan.states.values()):
                target[...] = random_integers(rng, target.shape)
            for call in plan.calls:
                call()
            for name, values in program.constants.items():
                held = plan.slots[name].array
                np.testing.assert_array_equal(held.T, np.broadcast_to(values, held.T.shape))
                seen += 1
    assert seen > 100


def test_a_state_takes_no_constant_over() -> None:
    b = Sketch()
    program = completed(b, next_values(b))
    assert plan_layout(program).aliases == {"next": "three_in"}
    runtime = StepRuntime(program)
    runtime.run_int(random_integers(np.random.default_rng(0), (5, 4)))
    for name in ("one", "two"):
        runtime.state = runtime.state | {name: np.full(4, 77, np.int16)}
    runtime.run_int(random_integers(np.random.default_rng(1), (2, 4)))
    for name in ("one", "two"):
        np.testing.assert_array_equal(runtime.state[name], program.constants["k"])


def test_what_a_caller_does_to_an_output_leaves_the_constant_alone() -> None:
    b = Sketch()
    b.relu("r", b.tensor("x", 3, UNIT))
    program: Program = completed(b, {"k": fixed(b, "k", 3)})
    runtime, x = StepRuntime(program), np.zeros(3, np.int16)
    wanted = program.constants["k"].tolist()
    for result in (runtime.step_int(x), runtime.run_int(x[None]), runtime.run_int(x[None, None])):
        assert result.reshape(3).tolist() == wanted
        result[...] = 1
    assert runtime.step_int(x).tolist() == wanted
    assert program.constants["k"].tolist() == wanted
