"""What a program must be before it is executed: each rule, just inside and just outside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgernn.runtime import FileFormatError, Program, StepRuntime
from edgernn.runtime.operators import MAX_COLUMNS
from edgernn.runtime.program import GATE, UNIT, Matrix, Operator, Scale, State, Tensor
from edgernn.runtime.validate import MAX_ELEMENTS, MAX_OPERATORS, validate
from tests.programs import random_matrix, random_structure
from tests.runtime.forgery import genuine

ONE = Scale(1, 0)
HALF = Scale(1, -14)


def refusal(program: Program) -> str:
    with pytest.raises(FileFormatError) as caught:
        validate(program, "m.safetensors")
    message = str(caught.value)
    assert message.startswith("m.safetensors is not a valid edgernn program: ")
    assert message.isprintable()
    return message


def single(
    kind: str,
    ins: list[tuple[int, Scale]],
    outs: list[tuple[int, Scale]],
    matrix: Matrix | None = None,
    table: Any = None,
) -> Program:
    """A program of one operator."""
    sources = [Tensor(f"x{i}", *t) for i, t in enumerate(ins)]
    results = [Tensor(f"y{i}", *t) for i, t in enumerate(outs)]
    names = tuple(t.name for t in sources)
    op = Operator(kind, names, tuple(t.name for t in results), matrix, table)
    outputs = {t.name: t.name for t in results}
    return Program({t.name: t for t in (*sources, *results)}, names, outputs, (), (op,))


def test_every_random_structure_is_valid_and_runs() -> None:
    # random_structure validates what it makes; nothing valid may fail to be planned.
    for seed in range(1000, 1100):
        StepRuntime(random_structure(seed))


G3 = Scale(3, -13)
UNFIT: dict[str, tuple[str, list[Any], list[Any], str]] = {
    "add of two sizes": ("add", [(2, UNIT), (3, UNIT)], [(2, UNIT)], "sizes differ"),
    "sub into another size": ("sub", [(2, UNIT), (2, UNIT)], [(3, UNIT)], "sizes differ"),
    "add of far scales": ("add", [(2, UNIT), (2, Scale(1, -1))], [(2, ONE)], "too far apart"),
    "add of factor 5": ("add", [(2, UNIT), (2, Scale(5, -15))], [(2, UNIT)], "odd factor but 3"),
    "add of 3 to 5": ("add", [(2, G3), (2, Scale(5, -13))], [(2, G3)], "odd factor but 3"),
    "add of 3 to 2": ("add", [(2, Scale(3, -15)), (2, HALF)], [(2, UNIT)], "are 3 to 2"),
    "add into a fine scale": ("add", [(2, UNIT), (2, UNIT)], [(2, Scale(1, -18))], "output scale"),
    "add into a wide scale": ("add", [(2, UNIT), (2, UNIT)], [(2, ONE)], "output scale"),
    "mul of two sizes": ("mul", [(1, UNIT), (3, UNIT)], [(3, UNIT)], "sizes differ"),
    "mul of another factor": ("mul", [(2, UNIT), (2, UNIT)], [(2, HALF)], "not 2^-15"),
    "mul of an odd factor": ("mul", [(2, UNIT), (2, G3)], [(2, HALF)], "not 2^-15"),
    "tanh at a power of two": ("tanh", [(2, UNIT)], [(2, UNIT)], "not 3 * 2^-j"),
    "logistic at another scale": ("logistic", [(2, Scale(5, -13))], [(2, UNIT)], "not 3 * 2^-j"),
    "tanh into another scale": ("tanh", [(2, G3)], [(2, HALF)], "not 2^-15"),
    "tanh of a wide scale": ("tanh", [(2, Scale(3, -1))], [(2, UNIT)], "cannot read"),
    "tanh of a fine scale": ("tanh", [(2, Scale(3, -60))], [(2, UNIT)], "cannot read"),
    "tanh of two sizes": ("tanh", [(3, G3)], [(2, UNIT)], "sizes differ"),
    "relu into another scale": ("relu", [(2, UNIT)], [(2, HALF)], "changes the scale"),
    "relu of two sizes": ("relu", [(2, UNIT)], [(1, UNIT)], "sizes differ"),
    "rescale too far up": ("rescale", [(2, ONE)], [(2, Scale(1, -16))], "more than 2^15"),
    "rescale too far down": ("rescale", [(2, UNIT)], [(2, Scale(1, 1))], "more than 2^15"),
    "rescale of two sizes": ("rescale", [(2, UNIT)], [(3, HALF)], "sizes differ"),
    "split into one": ("split", [(2, UNIT)], [(2, UNIT)], "fewer than two"),
    "split into too little": ("split", [(4, UNIT)], [(1, UNIT), (2, UNIT)], "add up"),
    "split with a scale": ("split", [(3, UNIT)], [(1, UNIT), (2, HALF)], "changes the scale"),
    "concat of one": ("concat", [(2, UNIT)], [(2, UNIT)], "fewer than two"),
    "concat into too much": ("concat", [(1, UNIT), (2, UNIT)], [(4, UNIT)], "add up"),
    "concat of two scales": ("concat", [(1, UNIT), (2, HALF)], [(3, UNIT)], "changes the scale"),
    "add of one": ("add", [(2, UNIT)], [(2, UNIT)], "1 operands, not 2"),
    "relu of two": ("relu", [(2, UNIT), (2, UNIT)], [(2, UNIT)], "2 operands, not 1"),
    "mul into two": ("mul", [(2, UNIT), (2, UNIT)], [(2, UNIT), (2, UNIT)], "2 operands, not 1"),
    "maximum of two scales": ("maximum", [(2, UNIT), (2, HALF)], [(2, UNIT)], "scales differ"),
    "maximum into a scale": ("maximum", [(2, UNIT), (2, UNIT)], [(2, HALF)], "scales differ"),
    "maximum of two sizes": ("maximum", [(1, UNIT), (2, UNIT)], [(2, UNIT)], "sizes differ"),
    "maximum of one": ("maximum", [(2, UNIT)], [(2, UNIT)], "1 operands, not 2"),
    "select of two": ("select", [(2, UNIT), (2, UNIT)], [(2, UNIT)], "2 operands, not 3"),
    "select of two sizes": ("select", [(2, UNIT), (2, UNIT), (1, UNIT)], [(2, UNIT)], "sizes"),
    "select of two scales": ("select", [(2, UNIT), (2, HALF), (2, UNIT)], [(2, UNIT)], "scales"),
    "select into a scale": ("select", [(2, UNIT), (2, UNIT), (2, UNIT)], [(2, HALF)], "scales"),
    "select by another mask": ("select", [(2, UNIT), (3, UNIT), (3, UNIT)], [(3, UNIT)], "mask"),
    "lookup without a table": ("lookup", [(2, UNIT)], [(2, UNIT)], "table"),
    "embedding without a table": ("embedding", [(1, ONE)], [(2, UNIT)], "table"),
    "rsqrt of two sizes": ("rsqrt", [(2, Scale(1, -4))], [(3, Scale(1, -13))], "sizes differ"),
    "rsqrt of gain -1": ("rsqrt", [(2, Scale(1, -4))], [(2, Scale(1, -12))], "4^-15 to 4^-23"),
    "rsqrt of gain 9": ("rsqrt", [(2, Scale(1, -4))], [(2, Scale(1, -22))], "4^-15 to 4^-23"),
    "rsqrt of half a gain": ("rsqrt", [(2, UNIT)], [(2, UNIT)], "4^-15 to 4^-23"),
    "rsqrt of an odd scale": ("rsqrt", [(2, G3)], [(2, UNIT)], "4^-15 to 4^-23"),
    "linear without a matrix": ("linear", [(2, UNIT)], [(2, UNIT)], "matrix"),
    "unknown": ("sqrt", [(2, UNIT)], [(2, UNIT)], "'sqrt' is not known"),
}


@pytest.mark.parametrize(("kind", "ins", "outs", "reason"), UNFIT.values(), ids=UNFIT)
def test_an_operator_that_breaks_its_rule_is_refused_by_name(
    kind: str, ins: list[tuple[int, Scale]], outs: list[tuple[int, Scale]], reason: str
) -> None:
    message = refusal(single(kind, ins, outs))
    assert reason in message
    assert kind in message


FIT: list[tuple[str, list[Any], list[Any]]] = [
    ("add", [(2, UNIT), (2, Scale(1, -2))], [(2, Scale(1, -4))]),
    ("add", [(2, UNIT), (2, Scale(3, -15))], [(2, Scale(5, -15))]),
    ("add", [(2, Scale(3, -15)), (2, HALF)], [(2, Scale(3, -14))]),
    ("sub", [(2, UNIT), (2, UNIT)], [(2, Scale(1, -17))]),
    ("sub", [(2, UNIT), (2, UNIT)], [(2, Scale(1, -1))]),
    ("rescale", [(2, UNIT)], [(2, ONE)]),
    ("rescale", [(2, ONE)], [(2, UNIT)]),
    ("mul", [(2, Scale(3, 10)), (2, Scale(7, -5))], [(2, Scale(21, 20))]),
    ("tanh", [(2, Scale(3, -12))], [(2, UNIT)]),
    ("logistic", [(2, Scale(3, -20))], [(2, UNIT)]),
    ("select", [(1, Scale(5, 9)), (3, HALF), (3, HALF)], [(3, HALF)]),
    ("select", [(3, GATE), (3, HALF), (3, HALF)], [(3, HALF)]),
    ("maximum", [(3, Scale(5, -9)), (3, Scale(5, -9))], [(3, Scale(5, -9))]),
    ("rsqrt", [(2, Scale(1, -4))], [(2, Scale(1, -13))]),
    ("rsqrt", [(2, Scale(1, -4))], [(2, Scale(1, -21))]),
]


@pytest.mark.parametrize(("kind", "ins", "outs"), FIT, ids=str)
def test_an_operator_at_the_edge_of_its_rule_is_accepted(
    kind: str, ins: list[tuple[int, Scale]], outs: list[tuple[int, Scale]]
) -> None:
    validate(single(kind, ins, outs))


def matrix(**changes: Any) -> Program:
    parts = random_matrix(np.random.default_rng(0), 2, 3, UNIT, UNIT)
    return single("linear", [(3, UNIT)], [(2, UNIT)], replace(parts, **changes))


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("weight", np.zeros((3, 2), np.int8)), ("weight", np.zeros((2, 3), np.int16)),
        ("weight", np.full((2, 3), -128, np.int8)), ("weight", np.zeros(6, np.int8)),
        ("bias", np.zeros(2, np.int32)), ("bias", np.zeros(3, np.int64)),
        ("bias", np.array([0, (1 << 37) + 1])), ("bias", np.array([-(1 << 63), 0])),
        ("multiplier", np.array([16383, 20000], np.int32)),
        ("multiplier", np.array([16384, 32768], np.int32)),
        ("multiplier", np.array([20000, 20000])), ("shift", np.array([7, 20], np.int32)),
        ("shift", np.array([20, 36], np.int32)), ("shift", np.full((2, 1), 20, np.int32)),
    ],
    ids=str,
)  # fmt: skip
def test_a_matrix_with_a_bad_part_is_refused(part: str, value: Any) -> None:
    validate(matrix())
    assert "operator y0 (linear)" in refusal(matrix(**{part: value}))


def test_a_row_scale_that_is_not_dyadic_is_refused() -> None:
    parts = random_matrix(np.random.default_rng(0), 2, 3, UNIT, UNIT)
    parts.multiplier[:] = [16385, 16386]  # 3 * 5462 is the second, 3 divides not the first
    assert "dyadic" in refusal(single("linear", [(3, GATE)], [(2, UNIT)], parts))
    parts.multiplier[:] = [16389, 16386]
    validate(single("linear", [(3, GATE)], [(2, UNIT)], parts))


def test_too_many_columns_are_refused() -> None:
    for columns in (MAX_COLUMNS, MAX_COLUMNS + 1):
        parts = random_matrix(np.random.default_rng(0), 1, columns, UNIT, UNIT)
        program = single("linear", [(columns, UNIT)], [(1, UNIT)], parts)
        if columns == MAX_COLUMNS:
            validate(program)
        else:
            assert "columns" in refusal(program)


def test_a_matrix_where_none_belongs_is_refused() -> None:
    parts = random_matrix(np.random.default_rng(0), 2, 2, UNIT, UNIT)
    assert "matrix" in refusal(single("relu", [(2, UNIT)], [(2, UNIT)], parts))


def relus(count: int, size: int) -> Program:
    tensors = [Tensor(f"t{i}", size, UNIT) for i in range(count + 1)]
    ops = tuple(Operator("relu", (f"t{i}",), (f"t{i + 1}",)) for i in range(count))
    return Program({t.name: t for t in tensors}, ("t0",), {"y": f"t{count}"}, (), ops)


def test_a_program_is_limited_in_operators_and_in_memory() -> None:
    validate(relus(MAX_OPERATORS, 1))
    assert "4097 operators" in refusal(relus(MAX_OPERATORS + 1, 1))
    assert "0 operators" in refusal(relus(0, 1))
    validate(relus(MAX_ELEMENTS // 65536 - 1, 65536))
    assert "elements" in refusal(relus(MAX_ELEMENTS // 65536, 65536))
    assert "size 65537" in refusal(relus(1, 65537))
    assert "size 0" in refusal(relus(1, 0))


def test_operands_are_limited() -> None:
    wide = single("concat", [(1, UNIT)], [(40_000, UNIT)])
    op = replace(wide.operators[0], inputs=("x0",) * 40_000)
    assert "operands" in refusal(replace(wide, operators=(op,)))


def changed(edit: Callable[[Program], dict[str, Any]]) -> Program:
    program = genuine()
    return replace(program, **edit(program))


def with_state(**changes: Any) -> Callable[[Program], dict[str, Any]]:
    return lambda p: {"states": (replace(p.states[0], **changes),)}


def with_operator(index: int, **changes: Any) -> Callable[[Program], dict[str, Any]]:
    def edit(p: Program) -> dict[str, Any]:
        operators = list(p.operators)
        operators[index] = replace(operators[index], **changes)
        return {"operators": tuple(operators)}

    return edit


BROKEN: dict[str, tuple[Callable[[Program], dict[str, Any]], str]] = {
    "tensor under another key": (
        lambda p: {"tensors": dict(p.tensors) | {"z": p.tensors["x"]}}, "'z' is not a tensor name"
    ),
    "idle tensor": (
        lambda p: {"tensors": dict(p.tensors) | {"z": Tensor("z", 1, UNIT)}}, "z is not computed"
    ),
    "no input": (lambda p: {"inputs": ()}, "missing or not distinct"),
    "input twice": (lambda p: {"inputs": ("x", "x")}, "missing or not distinct"),
    "input is a state": (lambda p: {"inputs": ("x", "sl0_h_in")}, "missing or not distinct"),
    "unknown input": (lambda p: {"inputs": ("x", "who")}, "'who' is not one of its tensors"),
    "no output": (lambda p: {"outputs": {}}, "no output"),
    "unknown output": (lambda p: {"outputs": {"y": "who"}}, "'y' is not computed"),
    "odd output": (lambda p: {"outputs": {"y y": "head"}}, "'y y' is not computed"),
    "two states of one name": (
        lambda p: {"states": (p.states[0], replace(p.states[0], input="x", output="x"))},
        "missing or not distinct",
    ),
    "odd state": (with_state(name="a.b"), "'a.b' is not a state name"),
    "state of nothing": (with_state(output="who"), "sl0_h is not computed"),
    "state of another scale": (with_state(output="l0_h_a_n"), "size or scale"),
    "state of another size": (with_state(output="l0_h_rz"), "size or scale"),
    "initial of another size": (with_state(initial=np.zeros(3, np.int16)), "initial value"),
    "initial of another type": (with_state(initial=np.zeros(2, np.int32)), "initial value"),
    "too early": (with_operator(0, inputs=("head",)), "reads 'head' too early"),
    "of itself": (with_operator(4, inputs=("l0_h_a_rz", "l0_h_gh_rz")), "too early"),
    "written twice": (with_operator(4, outputs=("l0_h_gx_rz",)), "writes 'l0_h_gx_rz' wrongly"),
    "input written": (with_operator(4, outputs=("x",)), "writes 'x' wrongly"),
    "unknown written": (with_operator(4, outputs=("who",)), "writes 'who' wrongly"),
    "nothing written": (with_operator(4, outputs=()), "has no output"),
    "nothing read": (with_operator(4, inputs=()), "0 operands"),
}  # fmt: skip


@pytest.mark.parametrize(("edit", "reason"), BROKEN.values(), ids=BROKEN)
def test_a_broken_program_is_refused(
    edit: Callable[[Program], dict[str, Any]], reason: str
) -> None:
    assert reason in refusal(changed(edit))


def test_a_part_that_is_written_twice_is_refused() -> None:
    program = single("split", [(4, UNIT)], [(2, UNIT), (2, UNIT)])
    op = replace(program.operators[0], outputs=("y0", "y0"))
    tensors = {name: t for name, t in program.tensors.items() if name != "y1"}
    twice = replace(program, operators=(op,), tensors=tensors, outputs={"y0": "y0"})
    assert "writes 'y0' wrongly" in refusal(twice)


def test_two_states_of_one_name_are_refused() -> None:
    program = random_structure(next(s for s in range(99) if len(random_structure(s).states) > 1))
    first, second, *rest = program.states
    twin = replace(second, name=first.name)
    assert "one name" in refusal(replace(program, states=(first, twin, *rest)))


@pytest.mark.parametrize("name", ["a" * 128, "A_9", "x"])
def test_ordinary_names_are_accepted(name: str) -> None:
    tensors = {name: Tensor(name, 1, UNIT), "y": Tensor("y", 1, UNIT)} if name != "y" else {}
    op = Operator("relu", (name,), ("y",))
    state = State(name, name, "y", np.zeros(1, np.int16))
    tensors["x_in"] = Tensor("x_in", 1, UNIT)
    validate(Program(tensors, ("x_in",), {name: "y"}, (state,), (op,)))


@pytest.mark.parametrize("name", ["", "_a", "1a", "a-b", "a b", "a\n", "ä", "a" * 129])
def test_odd_names_are_refused(name: str) -> None:
    tensors = {name: Tensor(name, 1, UNIT), "yy": Tensor("yy", 1, UNIT)}
    op = Operator("relu", (name,), ("yy",))
    assert "is not a tensor name" in refusal(Program(tensors, (name,), {"y": "yy"}, (), (op,)))
