"""The benchmark: start every engine, check what it computes, and time all in turns."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from edgernn.bench.agreement import Agreement, References
from edgernn.bench.engines import BASELINE, KINDS
from edgernn.bench.prepare import Prepared
from edgernn.bench.process import EngineAbsent, Start, Worker, median_start
from edgernn.bench.timing import Ratio, Summary, Timings, shuffled
from edgernn.progress import Progress
from edgernn.runtime.errors import EdgernnError, InputError

ROUNDS: Final = 100
WARM: Final = 32
WARM_WINDOWS: Final = 4
"""Before each turn, not timed: the caches held another engine's."""
LEAST: Final = 50
STARTS: Final = 3


@dataclass
class Row:
    """An engine. reason: why there are no figures; wrong: whether because it computes something
    else. ratio: to the baseline; best: to the fastest. model_bytes: of the file it loads.
    preemptions: how often another process took the processor while it was timed."""

    name: str
    title: str
    reason: str = ""
    wrong: bool = False
    start: Start | None = None
    model_bytes: int = 0
    agreement: Agreement | None = None
    summary: Summary | None = None
    ratio: Ratio | None = None
    best: Ratio | None = None
    preemptions: int = 0


@dataclass
class Result:
    """rows in the order of KINDS; timings of those that were timed. window: steps of one."""

    rows: list[Row]
    timings: Timings
    window: int | None
    settings: Mapping[str, int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """No engine computed anything else."""
        return not any(row.wrong for row in self.rows)

    @property
    def timed(self) -> bool:
        """Was any engine there to be timed?"""
        return bool(self.timings.rounds)


def chosen(names: str | None) -> list[str]:
    """Engines of a comma-separated list; all of them without one. InputError for unknown ones."""
    if names is None:
        return list(KINDS)
    wanted = [name for name in names.replace(" ", "").split(",") if name]
    unknown = [name for name in wanted if name not in KINDS]
    if unknown or not wanted:
        raise InputError(f"engine {(unknown or [names])[0]!r} is none of {', '.join(KINDS)}")
    return [name for name in KINDS if name in wanted]


def measure(
    prepared: Prepared,
    engines: Sequence[str],
    *,
    steps: int,
    rounds: int | None = None,
    starts: int = STARTS,
    seed: int = 0,
    pythons: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Result:
    """Time `steps` steps (or windows) of each engine, in `rounds` rounds.

    rounds: by default ROUNDS, fewer if there would be less than LEAST steps in one.
    starts: fresh processes to measure start-up and memory with. pythons: engine -> the Python of
    another environment to run it in. An engine that is not there, that fails, or that does not
    compute the same gets a row that says so.
    """
    rounds = min(rounds or min(ROUNDS, max(1, steps // LEAST)), steps)
    each = -(-steps // rounds)
    references = References(prepared)
    with contextlib.ExitStack() as stack:
        rows, workers = [], dict[str, Worker]()
        done, total = 0, len(engines) * (starts + rounds)
        for name in engines:
            row = Row(name, KINDS[name].title)
            rows.append(row)
            try:
                workers[name] = _started(prepared, row, references, starts, pythons or {})
                stack.callback(workers[name].close)
            except _Refused as refused:
                row.reason = str(refused)
            done += starts
            if progress:
                progress(done, total)
        warm = WARM if prepared.job.window is None else WARM_WINDOWS
        timings, preempted = Timings(), dict[str, int]()
        for order in shuffled(list(workers), rounds, seed):
            for name in order:
                stamps, cost, taken = workers[name].turn(each, warm)
                timings.add(name, stamps, cost)
                preempted[name] = preempted.get(name, 0) + taken
            done += len(engines)
            if progress:
                progress(min(done, total), total)
    for row in rows:
        if row.name in workers:
            row.summary, row.preemptions = timings.summary(row.name), preempted[row.name]
            row.best = timings.ratio(row.name, timings.fastest())
            if BASELINE in workers:
                row.ratio = timings.ratio(row.name, BASELINE)
    settings = {"steps": each * rounds, "rounds": rounds, "starts": starts, "seed": seed}
    return Result(rows, timings, prepared.job.window, settings)


class _Refused(Exception):
    """Why an engine is not timed."""


def _started(
    prepared: Prepared,
    row: Row,
    references: References,
    starts: int,
    pythons: Mapping[str, str],
) -> Worker:
    """A worker that is ready and computes what it must; its row has what that took."""
    name, folder = row.name, Path(prepared.job.folder)
    reason = prepared.absent(name)
    if reason:
        raise _Refused(reason)
    # The file of the weights: what else is read is the engine's own.
    row.model_bytes = prepared.sizes[KINDS[name].reads[-1]]
    found: list[Start] = []
    try:
        for _ in range(starts - 1):
            with Worker(name, folder, pythons.get(name)) as fresh:
                found.append(fresh.start)
        worker = Worker(name, folder, pythons.get(name))
    except (EngineAbsent, EdgernnError) as error:
        raise _Refused(str(error)) from None
    try:
        row.start = median_start([*found, worker.start])
        row.agreement = references.compare(name, worker.check(references.count(name)))
    except EdgernnError as error:
        worker.close()
        raise _Refused(str(error)) from None
    if row.agreement.wrong:
        worker.close()
        row.wrong = True
        raise _Refused(row.agreement.wrong)
    return worker
