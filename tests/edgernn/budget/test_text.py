"""What the tables of `edgernn budget` say."""

from __future__ import annotations

import pytest

from edgernn.budget import Budget, advise, check
from edgernn.budget.advice import LONGEST, Advice
from edgernn.budget.check import Line
from edgernn.budget.text import BAR, advice_text, amount, bar, estimated, percent
from edgernn.targets.units import parse_seconds
from tests.edgernn.budget.subjects import core, stack, subject


@pytest.mark.parametrize("share", [-50.0, -0.001, 0.0, 0.4, 1.0, 1.001, 60.0, float("inf")])
def test_a_bar_is_as_long_whatever_the_share(share: float) -> None:
    assert len(bar(share).rstrip("+")) == BAR + 2
    assert bar(share).endswith("+") == (share > 1)


def test_a_gain_takes_nothing_of_its_limit() -> None:
    assert percent(-50.0) == percent(-0.001) == "0 %"


@pytest.mark.parametrize("seconds", [4.940287499999999e-05, 0.0038874228749999993, 0.002, 2.0])
def test_a_time_as_it_is_shown_holds_as_a_limit(seconds: float) -> None:
    shown = parse_seconds(estimated(Line("time", seconds)))
    assert seconds <= shown <= 1.001 * seconds


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("power", 12.6, "12.6 mW"),
        ("power", 0.166, "166 uW"),
        ("energy", 1234.5, "1.23 J"),
        ("energy", 1.88e-4, "188 nJ"),
        ("load", 6402.0, "6,402 %"),
        ("load", 2.354, "2.35 %"),
        ("accuracy_drop", 28.25, "28.25 points"),
    ],
)
def test_amounts_are_in_units_that_suit_them(name: str, value: float, text: str) -> None:
    assert amount(name, value) == text


def test_advice_claims_no_more_than_was_tried() -> None:
    model = subject(stack(["gru"], [1]))
    verdict = check(model, Budget(core()))
    # There is no unit less to save anything.
    assert advise(model, verdict.budget).layers[0].flash is None
    assert " 0.0 B" not in advice_text(advise(model, verdict.budget), verdict)
    assert f"{LONGEST:,} steps or more fit" in advice_text(Advice(window=LONGEST), verdict)
    assert "up to 7 steps fit" in advice_text(Advice(window=7), verdict)
    assert "int8" not in advice_text(Advice(), verdict)
