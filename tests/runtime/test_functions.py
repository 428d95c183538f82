"""Look-ups, roots, rows, choices: the rules by independent formulas, and both engines by them."""

from __future__ import annotations

import gc
import math
import tracemalloc
import weakref
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from edgernn.runtime import StepRuntime, tables
from edgernn.runtime.functions import MAX_GAIN, tabulated
from edgernn.runtime.program import UNIT, Operator, Program, Scale
from tests.programs import random_integers, reference_run
from tests.runtime.sketches import Sketch, assert_same_bits, completed
from tests.runtime.test_elementwise import CORNERS, EVERY, assert_step_agrees, in_rows

ONE = Scale(1, 0)
Int16Array = NDArray[np.int16]


def assert_gives(program: Program, wanted: list[int], *x: Int16Array) -> None:
    """One step: both engines give these integers for rows x (1, size)."""
    assert_step_agrees(program, *x)
    (got,), _ = reference_run(program, [v[:, None] for v in x])
    assert got[0, 0].tolist() == wanted


def with_table(table: Int16Array, size: int = 65536) -> Program:
    b = Sketch()
    b.tensor("y", size, Scale(7, -9))
    b.operators.append(Operator("lookup", (b.tensor("x", size, Scale(5, 3)),), ("y",), table=table))
    return b.program(("x",), {"y": "y"}, {})


@pytest.mark.parametrize("style", ["smooth", "rough", "rails", "positive"])
def test_a_lookup_is_the_rounded_value_on_the_line_between_two_points(style: str) -> None:
    rng = np.random.default_rng(0)
    table = {
        "smooth": tabulated(np.tanh, Scale(3, -13), UNIT),
        "rough": rng.integers(-32768, 32768, 513).astype(np.int16),
        "rails": rng.choice([-32768, 32767], 513).astype(np.int16),
        "positive": rng.integers(0, 32768, 513).astype(np.int16),
    }[style]
    wanted = []
    for x in EVERY.tolist():
        i, part = divmod(x + 32768, 128)
        low, high = int(table[i]), int(table[i + 1])
        exact = low + Fraction(high - low) * Fraction(part, 128)
        wanted.append(math.floor(exact + Fraction(1, 2)))
    assert_gives(with_table(table), wanted, EVERY[None])


@pytest.mark.parametrize("gain", range(MAX_GAIN + 1))
def test_an_inverse_root_is_the_nearest_integer_in_exact_arithmetic(gain: int) -> None:
    b = Sketch()
    x = b.tensor("x", 65536, Scale(1, -4))
    program = b.program(("x",), {"y": b.rsqrt("y", x, Scale(1, -13 - gain))}, {})
    wanted = []
    for value in EVERY.tolist():
        # round(2^k / sqrt(v)): the largest r with (2 r - 1)^2 v < 4^(k + 1). No tie: 4^(k+1)/v is
        # no odd square.
        v, power = max(value, 1), 4 ** (16 + gain)
        r = (math.isqrt(power // v) + 1) // 2
        while (2 * r + 1) ** 2 * v < power:
            r += 1
        while (2 * r - 1) ** 2 * v >= power:
            r -= 1
        wanted.append(min(r, 32767))
    assert_gives(program, wanted, EVERY[None])


@pytest.mark.parametrize("rows", [1, 2, 300, 32768])
@pytest.mark.parametrize("order", ["C", "F"])
def test_an_embedding_gives_the_row_of_the_nearest_id(rows: int, order: str) -> None:
    rng = np.random.default_rng(rows)
    table = rng.integers(-128, 128, (rows, 5)).astype(np.int8)
    table = np.asfortranarray(table) if order == "F" else table
    b = Sketch()
    b.embedding("y", b.tensor("token", 1, ONE), table, UNIT)
    program = completed(b, {"y": "y"})
    ids = np.unique(np.clip([-32768, -1, 0, 1, rows - 1, rows, 32767, rows // 2], -32768, 32767))
    assert_step_agrees(program, ids.astype(np.int16)[:, None])
    for i in ids.tolist():
        row = table[min(max(i, 0), rows - 1)].tolist()
        assert_gives(program, row, np.array([[i]], np.int16))


def test_the_larger_of_every_pair_of_corners_and_of_many_others() -> None:
    b, rng = Sketch(), np.random.default_rng(1)
    for name in "ab":
        b.tensor(name, 65536, UNIT)
    b.maximum("y", "a", "b")
    x = in_rows(np.concatenate([np.repeat(CORNERS, 19), rng.integers(-32768, 32768, 60_000)]))
    y = in_rows(np.concatenate([np.tile(CORNERS, 19), rng.integers(-32768, 32768, 60_000)]))
    pairs = zip(x[0].tolist(), y[0].tolist(), strict=True)
    program = b.program(("a", "b"), {"y": "y"}, {})
    assert_gives(program, [max(pair) for pair in pairs], x, y)


def choice(size: int, mask: int) -> Program:
    b = Sketch()
    for name, count in (("mask", mask), ("a", size), ("b", size)):
        b.tensor(name, count, Scale(3, -12) if name == "mask" else UNIT)
    b.select("y", "mask", "a", "b")
    return b.program(("mask", "a", "b"), {"y": "y"}, {})


def test_a_choice_takes_the_first_wherever_the_mask_is_not_zero() -> None:
    a, other = random_integers(np.random.default_rng(2), (2, 1, 65536), "full")
    pairs = zip(EVERY.tolist(), a[0].tolist(), other[0].tolist(), strict=True)
    wanted = [x if m else y for m, x, y in pairs]
    assert_gives(choice(65536, 65536), wanted, EVERY[None], a, other)


@pytest.mark.parametrize("size", [1, 2, 7])
def test_a_mask_of_one_element_counts_for_all_of_its_own_stream(size: int) -> None:
    rng = np.random.default_rng(3)
    masks = np.array([0, 1, -1, -32768, 0, 32767, 0], np.int16)[:, None]
    a, other = (random_integers(rng, (7, size)) for _ in range(2))
    program = choice(size, 1)
    assert_step_agrees(program, masks, a, other)
    for m, x, y in zip(masks, a, other, strict=True):
        assert_gives(program, (x if m[0] else y).tolist(), m[None], x[None], y[None])


def test_products_of_what_may_be_negative_are_limited_and_the_others_need_it_not() -> None:
    # Only -32768 * -32768 leaves int16: both factors are that wherever they can be.
    b = Sketch()
    x, k = b.tensor("x", 2, UNIT), b.constant("k", np.full(2, -1.0), UNIT)
    flat, odd = np.full(513, -32768, np.int16), np.arange(0, 513, dtype=np.int16)
    for name, table in (("f", flat), ("g", odd)):
        b.tensor(name, 2, UNIT)
        b.operators.append(Operator("lookup", ("x",), (name,), table=table))
    mixed = b.constant("mixed", np.array([0.5, -1.0]), UNIT)
    plus = b.constant("plus", np.array([0.5, 0.0]), UNIT)
    factors = [k, mixed, plus, "f", "g"]
    factors += [b.maximum("m0", "f", k), b.maximum("m1", "g", k), b.maximum("m2", mixed, "f")]
    factors += [b.select(f"s{i}", x, *two) for i, two in enumerate((("f", "g"), ("g", k)))]
    factors += [b.select("s2", plus, "g", "f"), b.select("s3", x, "g", plus)]
    factors += [b.rsqrt("r", b.tensor("q", 2, Scale(1, -4)), Scale(1, -13))]
    outputs = {}
    for i, name in enumerate(factors):
        outputs[f"p{i}"] = b.mul(f"p{i}", name, x, b.scale(name))
        outputs[f"q{i}"] = b.mul(f"q{i}", x, name, b.scale(name))
    program = completed(b, outputs)
    assert len(program.outputs) == 26
    lowest = np.full((1, 2), -32768, np.int16)
    for row in (lowest, lowest * 0, lowest + 1, np.array([[0, -32768]], np.int16)):
        assert_step_agrees(program, row, lowest)
    assert_same_bits(program)


def test_equal_tables_are_one_and_go_with_their_last_user() -> None:
    points = np.arange(-256, 257, dtype=np.int16)
    runtimes = [StepRuntime(with_table(points.copy(), 3)) for _ in range(2)]
    table = tables.interpolated(points)
    assert tables.interpolated(points.copy()) is table
    assert tables.interpolated(points[::-1]) is not table
    gone = weakref.ref(table)
    del table
    assert gone() is not None
    x = np.array([-32768, 0, 32767], np.int16)
    assert [r.step_int(x).tolist() for r in runtimes] == [[-256, 0, 256]] * 2
    runtimes.clear()
    gc.collect()
    assert gone() is None


def test_a_table_of_rows_is_not_copied() -> None:
    b = Sketch()
    table = np.ones((32768, 64), np.int8)
    program = completed(b, {"y": b.embedding("y", b.tensor("token", 1, ONE), table, UNIT)})
    tracemalloc.start()
    try:
        runtime = StepRuntime(program)
        assert tracemalloc.get_traced_memory()[1] < 1 << 18
    finally:
        tracemalloc.stop()
    assert runtime.step_int(np.array([9], np.int16)).tolist() == [1] * 64


def test_a_step_with_all_of_them_allocates_nothing() -> None:
    b, size = Sketch(), 40
    rows = np.asfortranarray(b.rng.integers(-128, 128, (20, size)).astype(np.int8))
    row = b.embedding("row", b.tensor("token", 1, ONE), rows, Scale(1, -4))
    k = b.constant("k", np.ones(size), Scale(1, -4))
    chosen = b.select("c1", "token", k, b.maximum("m", row, k))
    chosen = b.select("c2", row, chosen, k)
    f = b.lookup("f", chosen, np.sin, UNIT)
    b.mul("y", b.rsqrt("r", chosen, Scale(1, -13)), f, Scale(1, -13))
    runtime = StepRuntime(completed(b, {"y": "y"}))
    x, out = np.array([3], np.int16), np.zeros(size, np.int16)
    for _ in range(20):
        runtime.step_int(x, out=out)
    peaks = []
    for _ in range(5):
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            for _ in range(100):
                runtime.step_int(x, out=out)
            peaks.append(tracemalloc.get_traced_memory()[1] - before)
        finally:
            tracemalloc.stop()
    # One small array would show: 40 truth values and their header are 150 bytes.
    assert min(peaks) < 120
