"""Flash, RAM and instructions without a compiler; firmware_tests/ compares them with boards."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path

import pytest

from edgernn.exporters.c import numbers, to_c
from edgernn.exporters.c.actions import Multiply
from edgernn.exporters.c.model import Model
from edgernn.exporting import export
from edgernn.footprint import (
    Target,
    breakdown,
    estimate,
    estimates,
    load_targets,
    window_breakdown,
    window_estimate,
)
from edgernn.footprint.estimate import constant_bytes
from edgernn.footprint.features import Function, functions, product_features
from edgernn.footprint.targets import TARGETS as TARGETS_FILE
from edgernn.footprint.targets import to_json
from tests.programs import random_program, random_structure
from tests.windows import random_stack

TARGETS = load_targets()
NAMES = (
    "cortex-m0plus",
    "cortex-m3",
    "cortex-m4",
    "cortex-m7",
    "cortex-m33",
    "cortex-m55",
    "rv32imc",
    "aarch64",
)
target = pytest.mark.parametrize("target", TARGETS.values(), ids=lambda t: t.name)
STACKS = [
    (["gru"], [64], 32, 0),
    (["lstm"], [21], 9, 4),
    (["rnn_tanh", "rnn_relu"], [17, 40], 12, 3),
    (["gru", "gru", "gru"], [9, 24, 10], 5, 1),
]


def test_targets() -> None:
    assert tuple(TARGETS) == NAMES
    for t in TARGETS.values():
        assert re.fullmatch(r"\S+-gcc \d+(\.\d+)* -O2", t.compiler)


@target
@pytest.mark.parametrize("stack", STACKS)
def test_usual_cells_are_known(
    target: Target, stack: tuple[list[str], list[int], int, int]
) -> None:
    program = random_program(*stack[:3], seed=1, head=stack[3])
    cost = estimate(program, target)
    macs = program.weight_count
    assert cost.measured
    assert 0.2 * macs < cost.instructions < 8 * macs + 20_000
    assert macs < cost.weights < 2.2 * macs + 12 * program.row_count + 500
    assert 500 < cost.code < 8000
    assert cost.state == Model(program, "m").state_bytes
    assert cost.scratch < cost.stack < cost.scratch + 500
    assert cost.flash == cost.weights + cost.tables + cost.code
    assert cost.ram == cost.state + cost.stack


@target
@pytest.mark.parametrize("seed", range(6))
def test_a_breakdown_adds_up_to_the_estimate(target: Target, seed: int) -> None:
    program = random_program(*STACKS[seed][:3], 1) if seed < 4 else random_structure(seed)
    cost, parts = estimate(program, target), breakdown(program, target)
    assert [part.kind for part in parts[-2:]] == ["engine", "step and calls"]
    for what in ("instructions", "macs", "weights", "tables", "code", "flash"):
        assert sum(getattr(part, what) for part in parts) == getattr(cost, what), what
    actions = Model(program, "m").schedule.actions
    assert len(parts) == len(actions) + 2
    for part, action in zip(parts, actions, strict=False):
        assert part.instructions > 0
        assert part.names
        if isinstance(action, Multiply):
            assert (part.kind, part.names) == ("product", (action.name,))
            assert part.macs == action.matrix.weight.size <= part.weights
    # What is left over is little: the checks of the arguments, rounding, and the C library's part.
    assert abs(parts[-1].instructions) < 120


@target
def test_a_breakdown_of_a_window_adds_up_to_the_estimate(target: Target) -> None:
    window = random_stack(2)
    for steps in (1, 30):
        cost = window_estimate(window, target, steps)
        parts = window_breakdown(window, target, steps)
        for what in ("instructions", "macs", "weights", "tables", "code", "flash"):
            assert sum(getattr(part, what) for part in parts) == getattr(cost, what), what
        assert {part.stage for part in parts} == set(range(len(window.stages) + 1))


def test_prices_of_loops_come_back_from_the_file() -> None:
    assert to_json(list(TARGETS.values())) == TARGETS_FILE.read_text(encoding="ascii")


@target
def test_errors_are_stated(target: Target) -> None:
    assert set(target.errors) == {"measured", "summed", "window"}
    for errors in target.errors.values():
        assert errors.programs >= 10
        for error in (errors.instructions, errors.flash, errors.ram):
            assert 0 < error.mean <= error.worst < 1
    usual = estimate(random_program(["gru"], [16], 5, 1), target).errors
    assert usual == target.errors["measured"]
    assert usual.percent()["flash"] == round(100 * usual.flash.stated, 1) >= 5


@target
def test_more_units_cost_more(target: Target) -> None:
    costs = [estimate(random_program(["gru"], [n], 16, 3), target) for n in (16, 32, 64, 128)]
    for less, more in pairwise(costs):
        assert less.instructions < more.instructions
        assert less.flash < more.flash
        assert less.ram < more.ram


@target
@pytest.mark.parametrize("seed", range(10))
def test_other_loops_are_flagged(target: Target, seed: int) -> None:
    """Programs of no architecture: no price of theirs is kept, and sums remain sums."""
    program = random_structure(seed)
    cost = estimate(program, target)
    has_loops = bool(functions(Model(program, "m")))
    assert cost.measured != has_loops
    assert cost.instructions > 0
    assert cost.code > 0
    assert cost.stack >= cost.scratch


@target
@pytest.mark.parametrize("seed", range(30))
def test_constants_are_those_of_the_blocks(target: Target, seed: int) -> None:
    """Counted here from the text of the C file."""
    model = Model(random_structure(seed), "m")
    total = sum(2 * len(s.initial) for s in model.program.states if s.initial.any())
    source = to_c(model.program, "m")["m.c"].decode()
    for bits, size in re.findall(r"const int(8|16)_t m_(?:constant|table)_\w+\[(\d+)\]", source):
        total += int(size) * int(bits) // 8
    for action in model.schedule.actions:
        if not isinstance(action, Multiply):
            continue
        text = " ".join(numbers.blocks(action.matrix))
        total += 32 * text.count("BLOCK8(") + 4 * target.rest4 * text.count("BLOCK4(")
        if numbers.fits_32_bits(action.matrix):
            total += target.group_bytes * len(list(numbers.row_constants(action.matrix)))
        else:
            total += 16 * len(list(numbers.wide_row_constants(action.matrix)))
        total += target.matrix_bytes
    assert constant_bytes(model, target) == total


def test_a_function_is_shared_by_layers_of_one_kind() -> None:
    model = Model(random_program(["gru", "gru"], [9, 24], 5, 1, 2), "m")
    (function,) = functions(model)
    assert function.sizes == (9, 24)
    assert function.form(1) == "shared any whole"
    assert function.form(2) == "shared any mixed"
    assert Function(function.loop, (27, 18)).form(8) == "shared any partial"
    assert Function(function.loop, (29, 18)).form(8) == "shared any mixed"
    assert Function(function.loop, (24, 16)).form(8) == "shared any whole"
    alone = functions(Model(random_program(["gru"], [24], 7, 2, 2), "m"))[0]
    assert alone.key == function.key
    assert [alone.form(lanes) for lanes in (1, 2, 16, 24)] == [
        "once several whole",
        "once several whole",
        "once several partial",
        "once single whole",
    ]
    assert alone.key != functions(Model(random_program(["lstm"], [24], 7, 2, 2), "m"))[0].key


def test_constants_that_save_instructions_make_another_loop() -> None:
    keys = set()
    for text in ("edgernn_tanh(v, 12)", "edgernn_tanh(v, 11)", "edgernn_tanh(v, 10)"):
        from edgernn.footprint import features

        keys.add(re.sub(r", (-?\d+)\b", features._constant, text))
    assert len(keys) == 2
    assert isinstance(functions(Model(random_program(["gru"], [8], 3, 1), "m"))[0], Function)


@target
def test_every_shape_of_a_product_has_prices(target: Target) -> None:
    """What has none would seem to cost nothing."""
    for rest in (*range(8), "skewed"):
        for unit in ("pair", "group"):
            assert target.instructions[f"linear {rest} {unit} block"] > 4
    for engine in ("plain", "add+plain", "wide", "plain+wide", "add+plain+wide+wideadd"):
        assert 100 < target.code[f"engine {engine}"] < 3000
        assert target.frames[f"engine {engine}"] <= target.frames["engine"]


def test_features_of_a_product() -> None:
    model = Model(random_program(["rnn_relu"], [13], 21, 1), "m")
    first, second = (a for a in model.schedule.actions if isinstance(a, Multiply))
    assert dict(+product_features(first)) == {
        "linear call": 1,
        "linear 5 call": 1,
        "linear 5 pair": 2,
        "linear 5 pair block": 4,
        "linear end 5": 1,
    }
    assert product_features(second)["add group"] == 4
    assert product_features(second)["linear 5 pair odd"] == 2


def test_report() -> None:
    program = random_program(["gru"], [12], 5, 1)
    found = estimates(program)
    assert list(found) == list(NAMES)
    for t in found.values():
        assert t["flash_bytes"] == t["weights_bytes"] + t["tables_bytes"] + t["code_bytes"]
        assert t["ram_bytes"] == t["state_bytes"] + t["stack_bytes"]
        assert t["measured_loops"] is True
        assert t["core"].startswith(("Cortex-M", "RV32", "AArch64"))
        assert t["macs_per_step"] == 3 * 12 * (12 + 5)
        assert list(t["errors"]) == ["instructions", "flash", "ram"]


def test_export_writes_it(tmp_path: Path) -> None:
    program = random_program(["gru"], [12], 5, 1)
    report = export(program, tmp_path, ("c",), name="kws", verify_steps=5)
    assert json.loads((tmp_path / "report.json").read_text())["c"] == report["c"]
    assert report["c"]["name"] == "kws"
    assert report["c"]["state_bytes"] == 4 + 2 * 12
    assert report["c"]["targets"] == estimates(program)
    header = (tmp_path / "c" / "kws.h").read_text()
    assert f"#define KWS_SCRATCH_BYTES {report['c']['scratch_bytes']} " in header
    assert "c" not in export(program, tmp_path, (), verify_steps=5)
