"""The project stays within its own budgets, and the comparison with them can fail."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import budgets, deterministic
from benchmarks.budgets import RENEW, Finding, compare, over_goals, read, to_toml
from benchmarks.deterministic import Numbers
from benchmarks.records import result, save
from firmware_tests.table import kept

README = Path(__file__).parents[2] / "README.md"
ROWS = {
    "GRU, 64 hidden units, 32 inputs": "gru_64_32",
    "LSTM, 64 hidden units, 32 inputs": "lstm_64_32",
}


@pytest.mark.parametrize(
    ("groups", "measured"),
    [
        (deterministic.BOARD_COSTS, deterministic.boards),
        (("files",), deterministic.files),
        (("digits",), deterministic.accuracy),
    ],
    ids=["boards", "files", "accuracy"],
)
def test_nothing_costs_more_than_its_budget(
    groups: tuple[str, ...],
    measured: Callable[[], Numbers],
    capsys: pytest.CaptureFixture[str],
) -> None:
    budget, by_hand = read()
    chosen = {name: part for name, part in budget.items() if name.split(".")[0] in groups}
    goals = {name: part for name, part in by_hand["goals"].items() if name in groups}
    now = measured()
    assert chosen
    findings = [*compare(chosen, now), *over_goals(goals, now)]
    with capsys.disabled():
        for finding in findings:
            if not finding.fails:
                print(f"\n{finding}", file=sys.stderr)
    failing = [str(finding) for finding in findings if finding.fails]
    assert not failing, "\n".join(failing)


def test_every_budget_is_measured_and_written_as_it_is_read() -> None:
    numbers, by_hand = read()
    groups = {name.split(".")[0] for name in numbers}
    assert groups == {*deterministic.BOARD_COSTS, "files", "digits"}
    assert to_toml(numbers, by_hand) == budgets.PATH.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "was", "now", "kind"),
    [
        ("gru", 1000, 1020, None),
        ("gru", 1000, 1021, "worse"),
        ("gru", 1000, 980, None),
        ("gru", 1000, 979, "better"),
        ("differing", 0, 1, "worse"),
        ("differing", 0, 0, None),
        ("agreement_percent", 99.8, 99.6, None),
        ("agreement_percent", 99.8, 99.4, "worse"),
        ("snr_db", 50.0, 48.9, "worse"),
        ("snr_db", 50.0, 51.1, "better"),
        ("gru", None, 5, "new"),
        ("gru", 5, None, "lost"),
    ],
)
def test_what_moved_is_found(
    name: str, was: float | None, now: float | None, kind: str | None
) -> None:
    def numbers(value: float | None) -> Numbers:
        return {"flash.core": {} if value is None else {name: value}}

    found = compare(numbers(was), numbers(now))
    assert found == ([] if kind is None else [Finding(kind, "flash.core", name, was, now)])
    for finding in found:
        assert finding.fails == (kind != "better")
        assert RENEW in str(finding)
        assert "flash.core" in str(finding)


def test_a_regression_says_what_it_was_and_is() -> None:
    line = str(Finding("worse", "instructions.cortex-m4", "gru_64_32", 24001, 24800))
    assert "instructions.cortex-m4 gru_64_32: 24,800, was 24,001 (+3.3%)" in line


def test_a_goal_that_is_missed_or_not_measured_is_over() -> None:
    goals = {"ram": {"core": {"a": 10, "b": 10, "c": 10}}}
    found = list(over_goals(goals, {"ram.core": {"a": 11, "b": 10}}))
    assert [(f.kind, f.name, f.now) for f in found] == [("over", "a", 11), ("over", "c", None)]


def test_a_ratio_of_time_is_over_only_beyond_its_quartiles(tmp_path: Path) -> None:
    ratio = "NumPy / ONNX Runtime float"
    limits = {e["key"]["hidden"]: e["limit"] for e in read()[1]["timing"] if e["ratio"] == ratio}
    found = {16: [1.1, 0.9, 1.2], 64: [1.2, 1.1, 1.3], 128: [0.9, 0.8, 1.7]}
    assert [limits[hidden] for hidden in found] == [1.0, 1.0, 1.5]
    records = [
        {"key": {"cell": "GRU", "hidden": hidden}, "values": {}, "ratios": {ratio: quartiles}}
        for hidden, quartiles in found.items()
    ]
    save(result("step", records), tmp_path)
    lines = "\n".join(budgets.timing_lines(tmp_path)).splitlines()
    said = {line.split()[3]: line for line in lines if ratio in line}
    verdicts = {"16": "over, within noise", "64": "OVER", "128": "met", "256": "not measured"}
    assert said.keys() == verdicts.keys()
    for hidden, verdict in verdicts.items():
        assert said[hidden].endswith(verdict)


def test_the_readme_shows_what_the_boards_need() -> None:
    lines = README.read_text(encoding="utf-8").splitlines()
    for title, model in ROWS.items():
        shown = [line for line in lines if line.startswith(f"| {title} |")]
        assert shown, f"the README has no row {title!r}; its instructions are those of {model}"
        needed = {
            f"{costs[model]['instructions']:,}" for costs in kept().values() if model in costs
        }
        numbers = re.findall(r"[\d,]+", shown[0].removeprefix(f"| {title}"))
        assert len(numbers) > 4
        assert needed.issuperset(numbers), f"the README's {title}; measured: {sorted(needed)}"
