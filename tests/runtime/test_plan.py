"""The compiled step against the plain one, rule by rule: programs of every structure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgernn.runtime import plan as plan_module
from edgernn.runtime import products
from edgernn.runtime.engine import StepRuntime
from edgernn.runtime.layout import plan_layout
from edgernn.runtime.program import GATE, UNIT
from tests.programs import random_integers, random_structure, reference_run
from tests.runtime.sketches import SKETCHES, Sketch, assert_same_bits, completed, delay_line


@pytest.mark.parametrize("block", range(12))
def test_random_structures_give_the_same_bits(block: int) -> None:
    for seed in range(25 * block, 25 * block + 25):
        program = random_structure(seed, operators=(8, 14, 24)[seed % 3])
        assert_same_bits(program, seed, steps=4, streams=2)


@pytest.mark.parametrize("sketch", SKETCHES, ids=lambda s: s.__name__)
def test_a_structure_gives_the_same_bits(sketch: Callable[[Sketch], dict[str, str]]) -> None:
    b = Sketch()
    assert_same_bits(completed(b, sketch(b)), steps=12)


def test_hundreds_of_nested_splits_can_be_planned() -> None:
    b = Sketch()
    rest = b.logistic("z", b.tensor("x", 1200, GATE))
    for i in range(1199):
        _, rest = b.split(rest, {f"p{i}": 1, f"r{i}": 1199 - i})
    b.mul("y", rest, rest, UNIT)
    assert_same_bits(b.program(("x",), {"y": "y"}, {}), steps=1, streams=1)


def test_a_state_is_updated_in_place_only_where_nothing_reads_it_later() -> None:
    b = Sketch()
    outputs = delay_line(b)
    assert plan_layout(b.program(("x",), outputs, {})).aliases == {}
    b = Sketch()
    x, h = b.tensor("x", 4, UNIT), b.carried("h", 4)
    gates = b.add("s", b.product("p", h, 4, GATE), b.product("q", x, 4, GATE), GATE)
    b.carry("h", b.tanh("next", gates))
    assert plan_layout(b.program(("x",), {"y": "next"}, {})).aliases == {"next": "h_in"}


@pytest.mark.parametrize(
    ("rows", "columns", "split"),
    [
        (400, 300, True),
        (117, 1032, True),
        (117, 1033, False),
        (30, 4096, False),
        (399, 300, False),
        (65536, 1, False),
        (65536, 2, True),
    ],
)
def test_large_products_are_exact(
    rows: int, columns: int, split: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[object] = []
    real = products.split_product

    def counted(*arguments: Any) -> Any:
        called.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(products, "split_product", counted)
    b = Sketch(rows)
    b.product("y", b.tensor("x", columns, UNIT), rows)
    program = b.program(("x",), {"y": "y"}, {})
    matrix = program.operators[0].matrix
    assert matrix is not None
    rng = np.random.default_rng(columns)
    x = np.stack([random_integers(rng, (columns,), s) for s in ("full", "rails", "small", "mixed")])
    # The largest sums there are, of either byte; the bias leaves of them a few units to be seen.
    for row, limit in enumerate((32767, 32768, 128, 127, 1023, -128)):
        signs = rng.choice([-1, 1], columns)
        extreme = np.clip(signs * limit, -32768, 32767)
        matrix.weight[row] = signs * rng.choice([127, 127, 126], columns)
        matrix.multiplier[row], matrix.shift[row] = 16384, 14
        matrix.bias[row] = row - 3 - matrix.weight[row].astype(np.int64) @ extreme
        x = np.concatenate([x, extreme[None].astype(np.int16)])
    wanted, _ = reference_run(program, [x])
    np.testing.assert_array_equal(StepRuntime(program).run_int(x), wanted[0])
    np.testing.assert_array_equal(StepRuntime(program).run_int(x[None])[0], wanted[0])
    assert bool(called) == split


@pytest.mark.parametrize("hidden", [1, 8, 40, 43, 100])
@pytest.mark.parametrize("columns", [1, 9, 70])
def test_one_stacked_product_and_two_apart_give_the_same_bits(
    hidden: int, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    b = Sketch(hidden)
    x, h = b.tensor("x", columns, UNIT), b.carried("h", hidden)
    gx, gh = b.product("gx", x, hidden, GATE), b.product("gh", h, hidden, GATE)
    b.carry("h", b.tanh("next", b.add("a", gx, gh, GATE)))
    program = b.program(("x",), {"y": "next"}, {})
    for limit in (0, 1 << 30):
        monkeypatch.setattr(plan_module, "_STACKED_ELEMENTS", limit)
        assert_same_bits(program, steps=3)
