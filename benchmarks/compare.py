"""Two runs side by side: ratios now over then, per question, and what got worse beyond noise.

    python -m benchmarks.compare BASE [NOW]        # folders of results; NOW is benchmarks/results

Ratios to other engines are compared wherever both runs were. Microseconds and seconds follow the
load of the machine: they are shown, as slower or faster, where both ran on the same processor, and
count for nothing. Worse is a ratio that moved by more than 10 % and by more than the quartiles of
both runs overlap, and memory, bytes, instructions and agreement by less. Exit code 1 if something
got worse.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from benchmarks.records import QUESTIONS, RESULTS, Record, Result, load, title
from edgernn.console import table
from edgernn.runtime.errors import EdgernnError, FileFormatError

NOISE: Final = 0.10
POINTS: Final = 0.1
"""Of agreement with float, in %."""
STEADY: Final = ("MiB", "bytes")
"""Units of what the load does not move."""
COUNTED: Final = 0.02
"""Instructions and bytes do not vary."""


@dataclass(frozen=True)
class Change:
    """One figure of both runs: worse is beyond noise, to the worse; better the same way.

    counts: whether it is one that the load of the machine does not move.
    """

    what: str
    then: float
    now: float
    worse: bool
    better: bool
    counts: bool = True

    @property
    def ratio(self) -> float:
        """Now over then."""
        return self.now / self.then if self.then else float(self.now != self.then)


def compare(then: Result, now: Result) -> list[Change]:
    """Every figure that both have."""
    before = {_name(r): r for r in then["records"]}
    same = then["processor"] == now["processor"]
    found: list[Change] = []
    for record in now["records"]:
        old = before.get(_name(record))
        if old is None:
            continue
        if "agreement" in record:
            found.append(_agreement(old, record))
        elif "costs" in record:
            found += _costs(old, record)
        else:
            found += _timings(old, record, same)
    return found


def _name(record: Record) -> str:
    if "key" in record:
        return title(record["key"])
    return ", ".join(f"{record[k]}" for k in ("data", "model", "seed", "rounding"))


def _agreement(old: Record, new: Record) -> Change:
    then, now = old["agreement"], new["agreement"]
    what = f"{_name(new)}: agreement %"
    return Change(what, then, now, then - now > POINTS, now - then > POINTS)


def _costs(old: Record, new: Record) -> Iterator[Change]:
    for what, now in new["costs"].items():
        if what not in old["costs"]:
            continue
        then = old["costs"][what]
        limit = COUNTED * then
        yield Change(f"{_name(new)}: {what}", then, now, now - then > limit, then - now > limit)


def _timings(old: Record, new: Record, same_processor: bool) -> Iterator[Change]:
    groups = ["ratios", *(["values"] if same_processor else [])]
    for group in groups:
        for name, now in new[group].items():
            then = old[group].get(name)
            if then is not None:
                unit = f", {new['unit']}" if group == "values" else ""
                worse, better = _apart(then, now), _apart(now, then)
                counts = group == "ratios" or new["unit"] in STEADY
                what = f"{_name(new)}: {name}{unit}"
                yield Change(what, then[0], now[0], worse, better, counts)


def _apart(low: Sequence[float], high: Sequence[float]) -> bool:
    """Median and quartiles: is the second larger by more than noise?"""
    return high[0] > (1 + NOISE) * low[0] and high[1] > low[2]


def summary(question: str, changes: Sequence[Change]) -> str:
    """A table: how many figures, the median and the ends of now / then, and what moved."""
    ratios = sorted(c.ratio for c in changes)
    middle = ratios[len(ratios) // 2]
    lines = [
        f"{question}: {len(changes)} figures, now / then {middle:.2f} in the middle, "
        f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
    ]
    moved = [c for c in changes if c.worse or c.better]
    if moved:
        rows = [
            [c.what, f"{c.then:,.4g}", f"{c.now:,.4g}", f"{c.ratio:.2f}", _verdict(c)]
            for c in sorted(moved, key=lambda c: (not c.counts, not c.worse, -c.ratio))
        ]
        lines.append(table([question, "then", "now", "now / then", ""], rows))
    return "\n".join(lines)


def _versions(then: Result, now: Result) -> str:
    """What the peers were, and are."""
    before, today = then["versions"], now["versions"]
    names = [name for name in today if before.get(name) != today[name]]
    return ", ".join(f"{name} {before.get(name, 'absent')} -> {today[name]}" for name in names)


def _verdict(change: Change) -> str:
    if change.counts:
        return "WORSE" if change.worse else "better"
    return "slower" if change.worse else "faster"


@click.command()
@click.argument("base", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument(
    "now", type=click.Path(path_type=Path, exists=True, file_okay=False), default=RESULTS
)
def main(base: Path, now: Path) -> None:
    """Compare the results in two folders."""
    worse: list[Change] = []
    compared = 0
    try:
        for question in QUESTIONS:
            then, today = load(question, base), load(question, now)
            if then is None or today is None:
                click.echo(f"{question}: not in {base if then is None else now}")
                continue
            changes = compare(then, today)
            if not changes:
                click.echo(f"{question}: no figure that both have")
                continue
            if then["processor"] != today["processor"]:
                click.echo(f"{question}: another processor ({then['processor']}), ratios only")
            if moved := _versions(then, today):
                click.echo(f"{question}: other versions: {moved}")
            compared += len(changes)
            worse += [c for c in changes if c.worse and c.counts]
            click.echo(summary(question, changes) + "\n")
        if not compared:
            raise FileFormatError(f"{base} has no results of `make bench`; name a folder of them")
    except EdgernnError as error:
        raise click.ClickException(str(error)) from None
    if worse:
        click.echo(f"{len(worse)} of {compared} figures got worse beyond noise")
        raise SystemExit(1)
    click.echo(f"none of {compared} figures got worse beyond noise")


if __name__ == "__main__":
    main()
