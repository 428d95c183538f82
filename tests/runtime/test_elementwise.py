"""The compiled operators over everything they can read, or over all that is hard to round."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from edgernn.runtime.activation import full_table
from edgernn.runtime.operators import KINDS
from edgernn.runtime.plan import Plan
from edgernn.runtime.program import GATE, UNIT, Operator, Program, Scale
from tests.programs import reference_run
from tests.runtime.sketches import HALF, Sketch

Int16Array = NDArray[np.int16]
EVERY = np.arange(-32768, 32768).astype(np.int16)
CORNERS = np.array(
    [-32768, -32767, -32766, -16385, -16384, -16383, -3, -2, -1, 0, 1, 2, 3, 16383, 16384, 16385,
     32765, 32766, 32767], np.int16,
)  # fmt: skip


def assert_step_agrees(program: Program, *x: Int16Array) -> None:
    """One step over streams (N, size) per input, and over the first of them alone."""
    for batch in (len(x[0]), None):
        plan = Plan(program, batch)
        values = [v if batch else v[0] for v in x]
        for target, value in zip(plan.inputs.values(), values, strict=True):
            target[...] = value.T
        for call in plan.calls:
            call()
        wanted, _ = reference_run(program, [v[..., None, :] for v in values])
        for result, want in zip(plan.outputs.values(), wanted, strict=True):
            np.testing.assert_array_equal(result.T, want[..., 0, :])


def in_rows(values: NDArray[np.int64], size: int = 65536) -> Int16Array:
    """(count,) to (N, size), the last row filled up with zeros."""
    rows = -(-len(values) // size)
    padded = np.zeros(rows * size, np.int16)
    padded[: len(values)] = values
    return padded.reshape(rows, size)


def unchanged(b: Sketch, name: str) -> str:
    """A tensor through a matrix product that leaves it as it is."""
    result = b.product(f"{name}_again", name, b.size(name), b.scale(name))
    matrix = b.operators[-1].matrix
    assert matrix is not None
    unit = np.eye(b.size(name), dtype=np.int8)
    for array, value in zip(vars(matrix).values(), (unit, 0, 16384, 14), strict=True):
        array[...] = value
    return result


def pairs_hard_to_round() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs whose product lies on a rounding boundary or one beside it, corners, and any pairs."""
    odd = np.arange(1, 32768, 2, dtype=np.int64)
    inverse = odd.copy()
    for _ in range(4):
        inverse = inverse * (2 - odd * inverse) % 32768
    a, b = [], []
    for residue in (0, 1, -1, 2**14 - 2, 2**14 - 1, 2**14, 2**14 + 1, 2**14 + 2):
        other = residue * inverse % 32768
        a += [odd, odd, -odd, -odd]
        b += [other, other - 32768, other, other - 32768]
    corner_a, corner_b = np.meshgrid(CORNERS.astype(np.int64), EVERY.astype(np.int64))
    rng = np.random.default_rng(0)
    a += [corner_a.ravel(), rng.integers(-32768, 32768, 500_000), rng.integers(0, 300, 100_000)]
    b += [corner_b.ravel(), rng.integers(-32768, 32768, 500_000), rng.integers(-99, 99, 100_000)]
    return np.concatenate(a), np.concatenate(b)


def test_products_are_rounded_twice_and_saturated() -> None:
    b = Sketch()
    b.mul("y", b.tensor("a", 65536, UNIT), b.tensor("b", 65536, UNIT), UNIT)
    assert_step_agrees(b.program(("a", "b"), {"y": "y"}, {}), *map(in_rows, pairs_hard_to_round()))


@pytest.mark.parametrize("source", ["input", "matrix"])
@pytest.mark.parametrize("gate", ["positive", "any"])
def test_a_product_that_a_table_rounds_is_rounded_twice(source: str, gate: str) -> None:
    # The sum with about minus the product stays where tanh tells neighbours apart.
    b, size = Sketch(), 65536 if source == "input" else 8
    for name, scale in (("a", UNIT), ("b", GATE), ("c", GATE)):
        b.tensor(name, size, scale)
    factor = "b" if source == "input" else unchanged(b, "b")
    # A table that is read between a matrix product and what is made of it.
    b.tanh("t", "c")
    gated = b.mul("p", b.relu("r", "a") if gate == "positive" else "a", factor, GATE)
    b.tanh("y", b.add("s", "c", gated, GATE))
    first, second = pairs_hard_to_round()
    first = np.abs(first).clip(0, 32767) if gate == "positive" else first
    rest = np.clip(-(first * second >> 15), -32768, 32767)
    program = b.program(("a", "b", "c"), {"y": "y", "t": "t"}, {})
    assert_step_agrees(program, *(in_rows(v, size) for v in (first, second, rest)))
    # The same with the sums all over the range, and beyond it.
    assert_step_agrees(program, *(in_rows(v, size) for v in (first, second, -rest - 1)))


def test_the_product_of_the_lowest_is_saturated_before_a_table_reads_its_sum() -> None:
    b = Sketch()
    for name, scale in (("a", UNIT), ("b", GATE), ("c", GATE)):
        b.tensor(name, 65536, scale)
    b.tanh("y", b.add("s", b.mul("p", "a", "b", GATE), "c", GATE))
    lowest = np.full((1, 65536), -32768, np.int16)
    assert_step_agrees(b.program(("a", "b", "c"), {"y": "y"}, {}), lowest, lowest, EVERY[None])


@pytest.mark.parametrize("kind", ["sub", "add"])
@pytest.mark.parametrize("z_first", [True, False])
@pytest.mark.parametrize("gate", ["logistic", "tanh"])
def test_a_gate_times_a_halved_sum_is_rounded_twice(kind: str, z_first: bool, gate: str) -> None:
    b = Sketch()
    for name, scale in (("a", GATE), ("h", UNIT), ("n", UNIT)):
        b.tensor(name, 65536, scale)
    z, d = getattr(b, gate)("z", "a"), getattr(b, kind)("d", "h", "n", HALF)
    b.mul("y", *((z, d) if z_first else (d, z)), HALF)
    # Every value a gate can take, with the distances on its rounding boundaries.
    table = full_table(gate, float(GATE)).astype(np.int64)
    source = np.zeros(65537, np.int64)
    source[table + 32768] = EVERY
    first, second = pairs_hard_to_round()
    reached = np.isin(first, table)
    first, second = source[first[reached] + 32768], second[reached]
    other = np.clip(-second if kind == "sub" else second, -32768, 32767)
    program = b.program(("a", "h", "n"), {"y": "y"}, {})
    assert_step_agrees(program, in_rows(first), in_rows(second), in_rows(other))


@pytest.mark.parametrize("kind", ["add", "sub"])
@pytest.mark.parametrize("output", [UNIT, HALF], ids=str)
def test_every_sum_is_saturated_or_halved(kind: str, output: Scale) -> None:
    b = Sketch()
    getattr(b, kind)("y", b.tensor("a", 65536, UNIT), b.tensor("b", 65536, UNIT), output)
    sums = np.arange(-65536, 65535)
    a, other = sums // 2, sums - sums // 2
    if kind == "sub":
        # The other way round: -(-32768) is not in range.
        sums = np.arange(-65535, 65536)
        a, other = sums // 2, sums // 2 - sums
    assert_step_agrees(b.program(("a", "b"), {"y": "y"}, {}), in_rows(a), in_rows(other))


@pytest.mark.parametrize("kind", ["add", "sub"])
def test_every_sum_with_an_operand_of_twice_the_scale_is_saturated(kind: str) -> None:
    b = Sketch()
    getattr(b, kind)("y", b.tensor("a", 65536, UNIT), b.tensor("b", 65536, HALF), UNIT)
    a = np.concatenate([EVERY, EVERY, EVERY, EVERY[::-1], np.full(65536, 32767)])
    other = np.concatenate([np.full(65536, v) for v in (-32768, 0, 32767)] + [EVERY, EVERY])
    assert_step_agrees(b.program(("a", "b"), {"y": "y"}, {}), in_rows(a), in_rows(other))


def allowed(kind: str, scales: tuple[Scale, Scale, Scale]) -> bool:
    b = Sketch()
    ins = [b.tensors[b.tensor(n, 1, s)] for n, s in zip("ab", scales, strict=False)]
    out = b.tensors[b.tensor("y", 1, scales[2])]
    try:
        KINDS[kind].check(Operator(kind, ("a", "b"), ("y",)), ins, [out])
    except ValueError:
        return False
    return True


MIXED = [
    scales
    for scales in itertools.product(
        [UNIT, HALF, GATE, Scale(3, -15), Scale(1, -8), Scale(3, -20)],
        [UNIT, Scale(1, -13), GATE, Scale(3, -16), Scale(3, -18)],
        [
            UNIT,
            GATE,
            Scale(3, -15),
            Scale(5, -16),
            Scale(7, -14),
            Scale(1, -1),
            Scale(1, -10),
            Scale(1, -17),
        ],
    )
    if allowed("add", scales)
]


@pytest.mark.parametrize("kind", ["add", "sub"])
def test_sums_of_mixed_scales_take_every_rescaling_and_its_roundings(kind: str) -> None:
    rng = np.random.default_rng(1)
    a = np.concatenate([np.repeat(CORNERS, len(CORNERS)), rng.integers(-32768, 32768, 1000)])
    b = np.concatenate([np.tile(CORNERS, len(CORNERS)), rng.integers(-32768, 32768, 1000)])
    assert len(MIXED) > 60
    assert {s[2].mantissa for s in MIXED} == {1, 3, 5, 7}
    for scales in MIXED:
        sketch, size = Sketch(), len(a)
        names = [sketch.tensor(n, size, s) for n, s in zip("ab", scales, strict=False)]
        getattr(sketch, kind)("y", *names, scales[2])
        program = sketch.program(("a", "b"), {"y": "y"}, {})
        assert_step_agrees(program, in_rows(a, size), in_rows(b, size))


@pytest.mark.parametrize(
    ("source", "target"),
    [(UNIT, GATE), (GATE, UNIT), (UNIT, Scale(1, 0)), (Scale(1, 0), UNIT), (HALF, Scale(5, -17)),
     (Scale(3, -12), Scale(7, -15)), (UNIT, UNIT), (Scale(9, -14), Scale(3, -14))],
    ids=str,
)  # fmt: skip
def test_every_integer_is_rescaled(source: Scale, target: Scale) -> None:
    b = Sketch()
    b.rescale("y", b.tensor("a", 65536, source), target)
    if not b.operators:
        b.operators.append(Operator("rescale", ("a",), (b.tensor("y", 65536, target),)))
    assert_step_agrees(b.program(("a",), {"y": "y"}, {}), EVERY[None])


@pytest.mark.parametrize("scale", [GATE, Scale(3, -16), Scale(3, -12)], ids=str)
def test_every_integer_goes_through_the_functions(scale: Scale) -> None:
    b = Sketch()
    x = b.tensor("x", 65536, scale)
    outputs = {"l": b.logistic("l", x), "t": b.tanh("t", x), "r": b.relu("r", x)}
    assert_step_agrees(b.program(("x",), outputs, {}), EVERY[None])


@pytest.mark.parametrize("kind", ["add", "sub"])
def test_every_sum_reaches_its_table_saturated(kind: str) -> None:
    b = Sketch()
    b.tanh("t", getattr(b, kind)("s", b.tensor("a", 65536, GATE), b.tensor("b", 65536, GATE), GATE))
    b.logistic("l", "s")
    a = np.concatenate([EVERY] * 4)
    other = np.concatenate([np.full(65536, v) for v in (-32768, 32767, 0)] + [EVERY])
    program = b.program(("a", "b"), {"t": "t", "l": "l"}, {})
    assert_step_agrees(program, in_rows(a), in_rows(other))


def test_a_matrix_product_floors_beside_the_rails_and_far_beyond_them() -> None:
    b = Sketch()
    b.product("y", b.tensor("x", 1, UNIT), 8)
    m = b.operators[0].matrix
    assert m is not None
    m.weight[:, 0] = [127, -127, 1, -1, 3, -3, 2, 127]
    # The last row leaves int32 by far; the others cross the rails in halves and less.
    m.multiplier[:] = [32767, 32767, 16385, 16385, 16384, 16384, 16385, 32767]
    m.shift[:] = [21, 21, 14, 14, 15, 15, 16, 8]
    m.bias[:] = [0, 1, 0, 1, 0, 1, -(1 << 17) + 1, 1 << 37]
    assert_step_agrees(b.program(("x",), {"y": "y"}, {}), EVERY[:, None])
    m.bias[:] = -m.bias
    assert_step_agrees(b.program(("x",), {"y": "y"}, {}), EVERY[:, None])
