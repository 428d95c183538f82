"""Tables and constants of a program before it is executed: just inside and just outside."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgernn.runtime import Program
from edgernn.runtime.program import GATE, UNIT, Operator, Scale, State, Tensor
from edgernn.runtime.validate import validate
from tests.runtime.test_validate import ONE, refusal, single

POINTS = np.zeros(513, np.int16)


@pytest.mark.parametrize(
    ("kind", "ins", "outs", "table", "reason"),
    [
        ("lookup", (2, GATE), (3, UNIT), POINTS, "sizes differ"),
        ("lookup", (2, GATE), (2, UNIT), POINTS[:512], "not 513 int16"),
        ("lookup", (2, GATE), (2, UNIT), POINTS[None], "not 513 int16"),
        ("lookup", (2, GATE), (2, UNIT), POINTS.astype(np.int8), "not 513 int16"),
        ("lookup", (2, GATE), (2, UNIT), POINTS.astype(">i2"), "not 513 int16"),
        ("embedding", (1, ONE), (2, UNIT), np.zeros((5, 3), np.int8), "other rows"),
        ("embedding", (1, ONE), (2, UNIT), np.zeros(2, np.int8), "other rows"),
        ("embedding", (1, ONE), (2, UNIT), np.zeros((1, 5, 2), np.int8), "other rows"),
        ("embedding", (1, ONE), (2, UNIT), np.zeros((5, 2), np.int16), "not int8"),
        ("embedding", (1, ONE), (2, UNIT), np.zeros((32769, 2), np.int8), "more than 32768"),
        ("embedding", (1, ONE), (2, UNIT), np.zeros((0, 2), np.int8), "32768 rows"),
        ("embedding", (2, ONE), (2, UNIT), np.zeros((5, 2), np.int8), "no token id"),
        ("embedding", (1, UNIT), (2, UNIT), np.zeros((5, 2), np.int8), "no token id"),
        ("relu", (2, UNIT), (2, UNIT), POINTS, "a table where none belongs"),
        ("rsqrt", (2, Scale(1, -4)), (2, Scale(1, -13)), POINTS, "a table where none belongs"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(
    kind: str, ins: Any, outs: Any, table: Any, reason: str
) -> None:
    message = refusal(single(kind, [ins], [outs], table=table))
    assert reason in message
    assert f"operator y0 ({kind})" in message


def test_tables_at_their_limits_are_accepted() -> None:
    for rows in (1, 32768):
        table = np.full((rows, 2), -128, np.int8)
        validate(single("embedding", [(1, ONE)], [(2, Scale(5, 3))], table=table))
    validate(single("lookup", [(2, Scale(5, 3))], [(2, Scale(7, 60))], table=POINTS))


@pytest.mark.parametrize(
    ("constants", "reason"),
    [
        ({"k": np.zeros(2, np.int16)}, "constant k is not 3 int16"),
        ({"k": np.zeros((1, 3), np.int16)}, "constant k is not 3 int16"),
        ({"k": np.zeros(3, np.int32)}, "constant k is not 3 int16"),
        ({"k": np.zeros(3, ">i2")}, "constant k is not 3 int16"),
        ({"x": np.zeros(3, np.int16), "k": np.zeros(3, np.int16)}, "constant 'x' is an input"),
        ({"h": np.zeros(3, np.int16), "k": np.zeros(3, np.int16)}, "constant 'h' is an input"),
        ({"y": np.zeros(3, np.int16), "k": np.zeros(3, np.int16)}, "writes 'y' wrongly"),
        ({"z": np.zeros(3, np.int16), "k": np.zeros(3, np.int16)}, "none of its tensors"),
        ({}, "reads 'k' too early"),
    ],
    ids=str,
)
def test_a_constant_that_does_not_fit_is_refused(constants: dict[str, Any], reason: str) -> None:
    tensors = {name: Tensor(name, 3, UNIT) for name in ("x", "h", "k", "y")}
    states = (State("s", "h", "k", np.zeros(3, np.int16)),)
    op = Operator("maximum", ("x", "k"), ("y",))
    program = Program(tensors, ("x",), {"y": "y", "k": "k"}, states, (op,))
    validate(replace(program, constants={"k": np.zeros(3, np.int16)}))
    assert reason in refusal(replace(program, constants=constants))
