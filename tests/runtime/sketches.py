"""Small programs of unusual structure, and the comparison of both engines on a program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from edgernn.lowering.builder import Builder
from edgernn.rounding import Nearest
from edgernn.runtime.engine import StepRuntime
from edgernn.runtime.program import GATE, UNIT, Operator, Program, Scale
from edgernn.runtime.validate import validate
from tests.programs import random_integers, random_matrix, random_program, reference_run

HALF = Scale(1, -14)


class Sketch(Builder):
    """A builder whose products have random constants and whose states start anywhere."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(Nearest())
        self.rng = np.random.default_rng(seed)

    def product(self, name: str, x: str, rows: int, scale: Scale = UNIT) -> str:
        matrix = random_matrix(self.rng, rows, self.size(x), self.scale(x), scale)
        self.tensor(name, rows, scale)
        self.operators.append(Operator("linear", (x,), (name,), matrix))
        return name

    def carried(self, name: str, size: int, scale: Scale = UNIT) -> str:
        tensor = self.state(name, size, scale, np.zeros(size, np.float32))
        self.states[-1].initial[:] = random_integers(self.rng, (size,))
        return tensor


def assert_same_bits(program: Program, seed: int = 0, steps: int = 8, streams: int = 3) -> None:
    """One stream and several, outputs and states, on inputs of every style."""
    validate(program)
    rng = np.random.default_rng(seed)
    for style in ("mixed", "full", "rails"):
        x = [
            random_integers(rng, (streams, steps, program.tensors[n].size), style)
            for n in program.inputs
        ]
        runtime = StepRuntime(program)
        wanted, states = reference_run(program, [v[0] for v in x])
        results = runtime.run_int(*(v[0] for v in x))
        for got, want in zip(_tuple(results), wanted, strict=True):
            np.testing.assert_array_equal(got, want)
        for name, state in runtime.state.items():
            np.testing.assert_array_equal(state, states[name], err_msg=name)
        wanted, _ = reference_run(program, x)
        for got, want in zip(_tuple(runtime.run_int(*x)), wanted, strict=True):
            np.testing.assert_array_equal(got, want)


def _tuple(results: Any) -> tuple[Any, ...]:
    return results if isinstance(results, tuple) else (results,)


def completed(b: Sketch, outputs: dict[str, str]) -> Program:
    """The program: what nothing writes, carries or fixes is an input, what is not carried stays."""
    for state in list(b.states):
        if not state.output:
            b.carry(state.name, state.input)
    known = {s.input for s in b.states} | {name for op in b.operators for name in op.outputs}
    known |= set(b.constants)
    return b.program(tuple(n for n in b.tensors if n not in known), outputs, {})


def part_read_late(b: Sketch) -> dict[str, str]:
    """A part of the state is read after the next value could have overwritten it."""
    x, h = b.tensor("x", 4, UNIT), b.carried("h", 4)
    left, right = b.split(h, {"left": 1, "right": 3})
    b.carry("h", b.add("next", x, h, UNIT))
    return {"y": b.relu("y", right), "z": b.relu("z", left)}


def rotated(b: Sketch) -> dict[str, str]:
    """The next state is made of the parts of the state."""
    b.tensor("x", 5, UNIT)
    left, right = b.split(b.carried("h", 5), {"left": 2, "right": 3})
    b.carry("h", b.concat("next", (right, left)))
    return {"y": b.add("y", "x", "next", UNIT)}


def delay_line(b: Sketch) -> dict[str, str]:
    """A state's next value is the other state as it was, which is replaced in the same step."""
    x, older, old = b.tensor("x", 3, UNIT), b.carried("older", 3), b.carried("old", 3)
    b.carry("older", old)
    b.carry("old", b.relu("now", x))
    return {"y": b.sub("y", older, "now", UNIT)}


def delayed_part(b: Sketch) -> dict[str, str]:
    """The same with a part of the other state."""
    x, older, old = b.tensor("x", 3, UNIT), b.carried("older", 2), b.carried("old", 3)
    part, _ = b.split(old, {"part": 2, "rest": 1})
    b.carry("older", part)
    b.carry("old", b.relu("now", x))
    return {"y": b.relu("y", older)}


def swapped(b: Sketch) -> dict[str, str]:
    one, other = b.carried("one", 3), b.carried("other", 3)
    b.carry("one", other)
    b.carry("other", one)
    return {"y": b.add("y", b.tensor("x", 3, UNIT), one, UNIT), "o": other}


def kept(b: Sketch) -> dict[str, str]:
    """A state that never changes, one that is read by nothing, one that is the input."""
    x, h = b.tensor("x", 3, UNIT), b.carried("h", 3)
    b.carried("unread", 3)
    b.carried("last", 3)
    b.carry("h", h)
    b.carry("unread", b.add("sum", x, h, UNIT))
    b.carry("last", x)
    return {"y": "sum", "x_again": x, "h": h, "last": "last_in"}


def state_as_output(b: Sketch) -> dict[str, str]:
    """Outputs are the state before the step, a part of it, and the state after it."""
    x, h = b.tensor("x", 3, UNIT), b.carried("h", 3)
    part, _ = b.split(h, {"part": 1, "rest": 2})
    b.carry("h", b.add("next", x, h, UNIT))
    return {"before": h, "part": part, "after": "next"}


def one_value_two_states(b: Sketch) -> dict[str, str]:
    x, one, other = b.tensor("x", 3, UNIT), b.carried("one", 3), b.carried("other", 3)
    total = b.add("sum", x, b.sub("difference", one, other, UNIT), UNIT)
    b.carry("one", total)
    b.carry("other", total)
    return {"y": total}


def product_of_any_signs_before_a_table(b: Sketch) -> dict[str, str]:
    x, g, h = b.tensor("x", 9, UNIT), b.tensor("g", 9, GATE), b.carried("h", 9, GATE)
    b.tanh("t", b.add("sum", b.mul("p", x, h, GATE), g, GATE))
    b.carry("h", g)
    return {"y": "t"}


def distance_split_before_products(b: Sketch) -> dict[str, str]:
    """A halved difference that reaches its products through a split, or only some of them."""
    x, h, a = b.tensor("x", 4, UNIT), b.carried("h", 4), b.tensor("a", 4, GATE)
    z1, z2 = b.split(b.logistic("z", a), {"z1": 2, "z2": 2})
    d1, d2 = b.split(b.sub("d", h, x, HALF), {"d1": 2, "d2": 2})
    p1, p2 = b.mul("p1", z1, d1, HALF), b.mul("p2", d2, z2, HALF)
    whole = b.sub("whole", x, h, HALF)
    b.mul("p3", "z", whole, HALF)
    b.mul("p4", whole, b.tanh("t", a), HALF)
    b.carry("h", b.add("next", x, b.concat("p", (p1, p2)), UNIT))
    return {"y": "next", "p3": "p3", "p4": "p4"}


def distance_times_itself(b: Sketch) -> dict[str, str]:
    x, h = b.tensor("x", 9, UNIT), b.carried("h", 9)
    d = b.sub("d", x, h, HALF)
    b.carry("h", b.rescale("next", b.mul("square", d, d, Scale(1, -13)), UNIT))
    return {"y": "square"}


def operands_twice(b: Sketch) -> dict[str, str]:
    x, g = b.tensor("x", 9, UNIT), b.tensor("g", 9, GATE)
    b.add("twice", x, x, UNIT)
    b.sub("zero", x, x, HALF)
    b.mul("square", x, x, UNIT)
    b.add("mixed", b.rescale("r", x, GATE), x, GATE)
    b.tanh("t", b.add("double", g, g, GATE))
    z = b.logistic("z", g)
    b.mul("zz", z, z, UNIT)
    p = b.mul("p", z, g, GATE)
    b.logistic("u", b.add("pp", p, p, GATE))
    b.concat("all", ("t", "x", "t"))
    return {name: name for name in ("twice", "square", "mixed", "zz", "u", "all")}


def both_addends_are_products(b: Sketch) -> dict[str, str]:
    """Two products in one sum before a table, and one product in two sums."""
    g, z = b.tensor("g", 9, GATE), b.logistic("z", b.tensor("a", 9, GATE))
    p, q = b.mul("p", z, g, GATE), b.mul("q", "z", "a", GATE)
    b.tanh("t", b.add("s", p, q, GATE))
    r = b.mul("r", z, g, GATE)
    b.tanh("u", b.add("s1", r, g, GATE))
    b.tanh("v", b.add("s2", "a", r, GATE))
    w = b.mul("w", g, z, GATE)
    b.logistic("l1", b.add("s3", w, g, GATE))
    b.tanh("l2", "s3")
    e = b.mul("e", g, z, GATE)
    b.tanh("f", b.sub("s4", g, e, GATE))
    return {name: name for name in ("t", "u", "v", "l1", "l2", "f")}


def sum_with_other_readers(b: Sketch) -> dict[str, str]:
    """A sum that a table reads, and a result or an operator as well: it must be saturated."""
    x, g, h = b.tensor("x", 9, GATE), b.tensor("g", 9, GATE), b.carried("h", 9, GATE)
    b.tanh("t", b.add("s", x, g, GATE))
    b.tanh("t2", b.sub("s2", x, g, GATE))
    b.relu("r2", "s2")
    b.tanh("t3", b.add("s3", x, h, GATE))
    b.carry("h", "s3")
    b.add("s4", x, g, GATE)
    b.logistic("t4", b.split("s4", {"s5": 4, "s6": 5})[0])
    return {name: name for name in ("s", "t", "t2", "r2", "t3", "t4", "s6")}


def gate_with_other_readers(b: Sketch) -> dict[str, str]:
    """A sigmoid that products read, and a result, a relu or a matrix as well."""
    x, h = b.tensor("x", 6, GATE), b.carried("h", 6)
    b.mul("p1", b.logistic("z1", x), h, UNIT)
    b.mul("p2", b.logistic("z2", x), h, UNIT)
    b.relu("r2", "z2")
    b.mul("p3", b.logistic("z3", x), h, UNIT)
    b.product("m3", "z3", 6)
    part, _ = b.split(b.logistic("z4", x), {"z5": 2, "z6": 4})
    b.split(h, {"h5": 2, "h6": 4})
    b.mul("p5", part, "h5", UNIT)
    b.carry("h", b.mul("next", "z1", "p1", UNIT))
    return {name: name for name in ("z1", "p1", "p2", "r2", "p3", "m3", "p5", "z6")}


def many_products(b: Sketch) -> dict[str, str]:
    """Pairs in both orders, one input read twice, a chain of three, a product of a product."""
    x, u, h = b.tensor("x", 5, UNIT), b.tensor("u", 3, UNIT), b.carried("h", 4)
    order = ((x, "a"), (u, "b"), (u, "c"), (x, "d"), (h, "e"), (x, "f"), (x, "g"), (h, "i"))
    for source, name in order:
        b.product(name, source, 3)
    b.product("k", b.product("j", "i", 4), 4)
    b.carry("h", "k")
    return {name: name for _, name in order} | {"j": "j"}


def products_with_one_right_neighbour(b: Sketch) -> dict[str, str]:
    """Two inputs that could both lie before the same third."""
    x, u, h = b.tensor("x", 5, UNIT), b.tensor("u", 3, UNIT), b.carried("h", 4)
    for source, name in ((x, "a"), (u, "c")):
        b.relu(f"r{name}", b.product(name, source, 4))
        b.product(f"{name}1", source, 4)
        b.product(f"{name}2", h, 4)
        b.relu(f"r{name}2", f"{name}2")
    b.carry("h", "c2")
    return {name: name for name in ("ra", "a1", "a2", "rc", "c1", "c2")}


def gated_products(b: Sketch) -> dict[str, str]:
    """A gate times a matrix product, saturated or not, in a sum that a table reads."""
    x, g, h = b.tensor("x", 6, UNIT), b.tensor("g", 6, GATE), b.carried("h", 6)
    parts = b.split(b.product("m", x, 12, GATE), {"m1": 6, "m2": 6})
    gates = (b.logistic("z", g), b.tanh("w", g))
    b.relu("r", h)
    for i, (gate, part) in enumerate(zip((*gates, "r", "z"), (*parts, *parts), strict=True)):
        factors = (gate, part) if i % 2 else (part, gate)
        b.tanh(f"t{i}", b.add(f"a{i}", b.mul(f"p{i}", *factors, GATE), g, GATE))
    own, other = b.mul("own", b.logistic("y", "m1"), "m1", GATE), b.mul("p4", "z", "m2", GATE)
    b.carry("h", b.tanh("t4", b.add("a4", own, other, GATE)))
    twice = b.mul("p5", "z", "m1", GATE)
    b.tanh("t5", b.add("a5", twice, twice, GATE))
    return {f"t{i}": f"t{i}" for i in range(6)}


def products_in_and_out_of_states(b: Sketch) -> dict[str, str]:
    """A product whose input is a state that an earlier operator has already replaced."""
    x, h, g = b.tensor("x", 5, UNIT), b.carried("h", 5), b.carried("g", 5)
    b.carry("h", b.add("next", b.product("p", h, 5), x, UNIT))
    b.product("q", "next", 5)
    b.product("q2", g, 4)
    b.carry("g", b.product("q3", "next", 5))
    b.product("q4", "q3", 2)
    return {name: name for name in ("q", "q2", "q4")}


def placed_parts(b: Sketch) -> dict[str, str]:
    """Products that read parts of a split, a concatenation, a table's and a sum's result."""
    x, h = b.tensor("x", 7, GATE), b.carried("h", 3, GATE)
    left, right = b.split(x, {"left": 4, "right": 3})
    b.product("a", left, 3)
    b.product("b", right, 3, GATE)
    b.product("c", b.concat("both", (right, h, right)), 3, GATE)
    b.product("d", b.tanh("t", "b"), 3, GATE)
    b.product("e", b.add("s", "c", "d", GATE), 3, GATE)
    b.product("f", b.relu("r", "s"), 2)
    b.carry("h", "e")
    return {name: name for name in ("a", "t", "f", "e", "s")}


SKETCHES: list[Callable[[Sketch], dict[str, str]]] = [
    part_read_late, rotated, delay_line, delayed_part, swapped, kept, state_as_output,
    one_value_two_states, product_of_any_signs_before_a_table, distance_split_before_products,
    distance_times_itself, operands_twice, both_addends_are_products, sum_with_other_readers,
    gate_with_other_readers, many_products, products_with_one_right_neighbour, gated_products,
    products_in_and_out_of_states, placed_parts,
]  # fmt: skip


def small(seed: int = 0) -> StepRuntime:
    """A GRU of 5 on 3 features with a head of 2."""
    return StepRuntime(random_program(["gru"], [5], 3, seed, head=2))


def several() -> Program:
    """Two inputs, two outputs, two states."""
    b = Sketch()
    return completed(b, swapped(b) | {"s": b.add("s", "x", b.tensor("u", 3, UNIT), UNIT)})
