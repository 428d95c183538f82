"""Token ids given as numbers: what is an id is taken as it is, what is none is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgernn.runtime import InputError, StepRuntime
from edgernn.runtime.engine import quantize
from edgernn.runtime.program import UNIT, Scale
from edgernn.runtime.tokens import token_limits
from tests.runtime.sketches import Sketch, completed

ONE = Scale(1, 0)


def rows(count: int) -> Any:
    """Row i is (i, -i)."""
    return np.stack([np.arange(count), -np.arange(count)], axis=1).astype(np.int8)


def one_token(count: int = 9) -> StepRuntime:
    """A state that sums the rows up."""
    b = Sketch()
    b.carried("h", 2)
    b.states[0].initial[:] = 0
    b.embedding("row", b.tensor("token", 1, ONE), rows(count), UNIT)
    b.carry("h", b.add("next", "row", "h_in", UNIT))
    return StepRuntime(completed(b, {"y": "next"}))


@pytest.mark.parametrize(
    "token", [3, 3.0, np.float16(3), np.int64(3), np.uint8(3)], ids=lambda v: type(v).__name__
)
def test_an_id_may_be_any_whole_number(token: Any) -> None:
    np.testing.assert_array_equal(one_token().step([token]) * 2.0**15, [3, -3])
    np.testing.assert_array_equal(one_token().run([[token], [8]]) * 2.0**15, [[3, -3], [11, -11]])


@pytest.mark.parametrize("count", [1, 9, 100])
@pytest.mark.parametrize("token", [-1, 0.5, -0.25, "rows", 1e9, 32768, -40000, 2**63])
def test_what_is_no_id_is_refused_in_one_sentence_and_the_state_stays(
    token: Any, count: int
) -> None:
    token = count if token == "rows" else token
    runtime = one_token(count)
    runtime.step([count - 1])
    before = runtime.state["h"]
    x = np.zeros((3, 4, 1), np.asarray(token).dtype)
    x[1, 2] = token
    reason = (
        rf"^token holds {x[1, 2, 0]}, which is no id of its embedding of {count} rows; "
        rf"pass whole numbers from 0 to {count - 1}$"
    ).replace("+", r"\+")
    for call, value in ((runtime.step, x[1, 2]), (runtime.run, x[1]), (runtime.run, x)):
        with pytest.raises(InputError, match=reason):
            call(value)
        np.testing.assert_array_equal(runtime.state["h"], before)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_infinity_are_refused_as_everywhere(bad: float) -> None:
    with pytest.raises(InputError, match="token holds NaN or infinity"):
        one_token().step([bad])


@pytest.mark.parametrize(("token", "row"), [(-1, 0), (-32768, 0), (9, 8), (32767, 8), (4, 4)])
def test_the_raw_bits_are_clamped_by_the_rule(token: int, row: int) -> None:
    x = np.array([token], np.int16)
    assert one_token().step_int(x).tolist() == [row, -row]
    assert one_token().run_int(x[None, None]).tolist() == [[[row, -row]]]


def several() -> Sketch:
    """Ids among other numbers of one vector, one id of two tables, and an input beside them."""
    b = Sketch()
    x, _ = b.tensor("x", 4, ONE), b.tensor("u", 2, ONE)
    b.split(x, {"a": 1, "rest": 3})
    b.split("rest", {"number": 1, "b": 2})
    b.split("b", {"c": 1, "d": 1})
    for i, (source, count) in enumerate((("a", 5), ("d", 7), ("a", 3), ("a", 4))):
        b.embedding(f"e{i}", source, rows(count), UNIT)
    b.add("s", "u", b.concat("n", ("number", "c")), ONE)
    return b


def test_ids_are_found_in_the_parts_of_an_input() -> None:
    program = completed(several(), {"y": "e1", "s": "s"})
    limits = token_limits(program)
    assert {name: limit.tolist() for name, limit in limits.items()} == {"x": [3, 0, 0, 7]}
    runtime = StepRuntime(program)
    y, _ = runtime.step([2, -9.5, 2.5, 6], [0.5, -1])
    np.testing.assert_array_equal(y * 2.0**15, [6, -6])
    with pytest.raises(InputError, match=r"x holds 3.0, .* of 3 rows; .* 0 to 2$"):
        runtime.step([3, -9.5, 2.5, 6], [0, 0])
    with pytest.raises(InputError, match=r"x holds 6.5, .* of 7 rows; .* 0 to 6$"):
        runtime.step([2, -9.5, 2.5, 6.5], [0, 0])


def test_an_id_that_is_computed_is_clamped_and_its_input_is_not_checked() -> None:
    b = Sketch()
    b.embedding("y", b.relu("r", b.tensor("x", 1, ONE)), rows(4), UNIT)
    program = completed(b, {"y": "y"})
    assert token_limits(program) == {}
    np.testing.assert_array_equal(StepRuntime(program).step([-7.0]), [0, 0])
    assert quantize([-7.0], program.tensors["x"]).tolist() == [-7]
