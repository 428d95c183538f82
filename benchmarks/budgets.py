"""The project's own budgets: what it may cost, in budgets.toml, and whether it costs more.

    python -m benchmarks.budgets            # compare; exit code 1 if something is over
    python -m benchmarks.budgets --renew    # the numbers of today become the budget

What is the same on every machine (`benchmarks.deterministic`) is a number, and a test fails where
it gets more than 2 % worse. `goals` are ceilings that a renewal leaves as they are. Ratios of time
(`timing`) are compared by `make bench` alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from benchmarks import deterministic, toml
from benchmarks.deterministic import Numbers
from benchmarks.records import RESULTS, find, load, title
from edgernn.console import table
from edgernn.runtime.file import write_atomically
from edgernn.toml_file import read_toml

PATH: Final = Path(__file__).parent / "budgets.toml"
RENEW: Final = "python -m benchmarks.budgets --renew"
TOLERANCE: Final = 0.02
POINTS: Final = 0.2
"""Of what is a percentage itself; the tolerance of everything else is relative."""
MORE_IS_BETTER: Final = ("_percent", "_db")
TABLES: Final = ("goals", "timing")
"""What is set by hand."""
HEAD: Final = f"""\
# What edgernn itself may cost. `{RENEW}` writes the numbers again; the
# ceilings under [goals] and the ratios under [[timing]] are set by hand and stay.
#
# A test fails where a number is more than 2 % worse (a percentage: 0.2 points; differing bits: one)
# and says so where it is more than 2 % better. Instructions of a step, and bytes.
"""


@dataclass(frozen=True)
class Finding:
    """A number that moved: kind is worse, better, lost (not there any more), new or over (a goal).

    was: the budget. now: what it is.
    """

    kind: str
    section: str
    name: str
    was: float | None
    now: float | None

    @property
    def fails(self) -> bool:
        """Everything but an improvement."""
        return self.kind != "better"

    def __str__(self) -> str:
        what = f"{self.section} {self.name}"
        if self.kind == "over":
            return f"{what}: {_shown(self.now)}, and the goal is {_shown(self.was)} at most"
        if self.kind == "lost":
            return (
                f"{what}: not measured any more, was {_shown(self.was)}; if that is meant: {RENEW}"
            )
        if self.kind == "new":
            return f"{what}: {_shown(self.now)} has no budget yet; set it with: {RENEW}"
        assert self.was is not None
        assert self.now is not None
        change = f" ({self.now / self.was - 1:+.1%})" if self.was else ""
        moved = f"{what}: {_shown(self.now)}, was {_shown(self.was)}{change}"
        if self.kind == "better":
            return f"{moved}: better; tighten the budget with: {RENEW}"
        return f"{moved}: worse than the budget allows; if that is meant: {RENEW}"


def _shown(value: float | None) -> str:
    return "nothing" if value is None else f"{value:,}"


def read(path: Path = PATH) -> tuple[Numbers, dict[str, Any]]:
    """The budgeted numbers, and what is set by hand."""
    content = read_toml(path, "budgets")
    by_hand: dict[str, Any] = {name: content.pop(name) for name in TABLES if name in content}
    numbers: Numbers = {
        f"{group}.{part}": dict(values)
        for group, parts in content.items()
        for part, values in parts.items()
    }
    return numbers, by_hand


def measured() -> Numbers:
    """All numbers of today."""
    return deterministic.boards() | deterministic.files() | deterministic.accuracy()


def compare(budget: Numbers, now: Numbers) -> list[Finding]:
    """What moved by more than is tolerated."""
    findings = []
    for section in dict.fromkeys([*budget, *now]):
        before, today = budget.get(section, {}), now.get(section, {})
        for name in dict.fromkeys([*before, *today]):
            kind = _kind(name, before.get(name), today.get(name))
            if kind is not None:
                finding = Finding(kind, section, name, before.get(name), today.get(name))
                findings.append(finding)
    return findings


def _kind(name: str, was: float | None, now: float | None) -> str | None:
    if was is None or now is None:
        return "new" if was is None else "lost"
    step = POINTS if name.endswith("_percent") else TOLERANCE * abs(was)
    worse = (was - now) if name.endswith(MORE_IS_BETTER) else (now - was)
    # Of numbers that are decimal, a difference that is just tolerated is not exactly so.
    if worse > step + 1e-9:
        return "worse"
    return "better" if -worse > step + 1e-9 else None


def over_goals(goals: Mapping[str, Any], now: Numbers) -> Iterator[Finding]:
    """Numbers above their ceiling. goals: group -> part -> name -> ceiling."""
    for group, parts in goals.items():
        for part, ceilings in parts.items():
            for name, ceiling in ceilings.items():
                value = now.get(f"{group}.{part}", {}).get(name)
                if value is None or value > ceiling:
                    yield Finding("over", f"{group}.{part}", name, ceiling, value)


def to_toml(numbers: Numbers, by_hand: Mapping[str, Any]) -> str:
    """budgets.toml."""
    lines = [HEAD]
    for group, parts in by_hand.get("goals", {}).items():
        for part, values in parts.items():
            lines += [f"[goals.{group}.{toml.key(part)}]", *toml.pairs(values), ""]
    for section, values in numbers.items():
        group, part = section.split(".", 1)
        lines += [f"[{group}.{toml.key(part)}]", *toml.pairs(values), ""]
    for entry in by_hand.get("timing", ()):
        lines += ["[[timing]]", *toml.pairs(entry), ""]
    return "\n".join(lines)


def timing_lines(folder: Path = RESULTS) -> Sequence[str]:
    """A table of the ratios of time that have a limit: over it, under it, or not measured."""
    rows = []
    for entry in read()[1].get("timing", ()):
        record = find(load(entry["question"], folder), **entry["key"])
        found = record["ratios"].get(entry["ratio"]) if record else None
        verdict = "not measured" if found is None else _verdict(found, entry["limit"])
        shown = "" if found is None else f"{found[0]:.2f} ({found[1]:.2f} to {found[2]:.2f})"
        what = f"{entry['question']}: {title(entry['key'])}"
        rows.append([what, entry["ratio"], f"{entry['limit']:.2f}", shown, verdict])
    if not rows:
        return ()
    header = ["budget of time", "ratio", "limit", "is (quartiles)", ""]
    return ["", table(header, rows)]


def _verdict(found: Sequence[float], limit: float) -> str:
    if found[1] > limit:
        return "OVER"
    return "met" if found[0] <= limit else "over, within noise"


@click.command()
@click.option("--renew", is_flag=True, help="Write the numbers of today.")
def main(renew: bool) -> None:
    """Compare with the budgets, or renew them."""
    now, (budget, by_hand) = measured(), read()
    findings = [*compare(budget, now), *over_goals(by_hand.get("goals", {}), now)]
    for finding in findings:
        click.echo(str(finding))
    if renew:
        write_atomically(PATH, to_toml(now, by_hand).encode())
        click.echo(f"wrote {PATH}")
    elif any(finding.fails for finding in findings):
        raise SystemExit(1)
    else:
        click.echo(f"{sum(map(len, now.values()))} numbers within their budgets")


if __name__ == "__main__":
    main()
