"""Follow a stream: step a program as its input comes, and keep its deadlines in view."""

from __future__ import annotations

import math
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgernn.bench.live.sources import Source, open_source
from edgernn.console import table
from edgernn.runtime.engine import StepRuntime
from edgernn.runtime.errors import FileFormatError, InputError

RECENT: Final = 32
"""Steps over which the load that is shown is averaged."""
WARM: Final = 8
"""Steps of zeros before the first one, which would else pay for what is made on first use."""
KEPT: Final = 1 << 20
"""Step times that the percentiles of the end look at: the last ones."""


@dataclass
class Progress:
    """Where a stream is. Times in seconds.

    latency: from when a step was due to its end, of the last step; step_time: what it took.
    """

    steps: int = 0
    misses: int = 0
    step_time: float = 0.0
    latency: float = 0.0
    worst: float = 0.0
    elapsed: float = 0.0
    load: float | None = None
    outputs: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


@dataclass(frozen=True)
class Summary:
    """What a stream was like. seconds: median, p99 and worst time of a step; latency: the worst.

    load: step time over period, mean; None without a period. misses: steps that ended after the
    next one was due. end: why it ended, "end of stream" or "interrupted".
    """

    source: str
    engine: str
    steps: int
    elapsed: float
    period: float | None
    load: float | None
    misses: int | None
    seconds: tuple[float, float, float]
    latency: float
    end: str

    def as_json(self) -> dict[str, Any]:
        """For machines; seconds."""
        names = ("median", "p99", "worst")
        return vars(self) | {"seconds": dict(zip(names, self.seconds, strict=True))}

    def text(self) -> str:
        """A table."""
        if not self.steps:
            return f"{self.source}: no steps; {self.end}"
        median, p99, worst = (f"{1e6 * value:.1f} us" for value in self.seconds)
        rows = [
            ["steps", f"{self.steps:,} in {self.elapsed:.1f} s, {self.engine}"],
            ["step, median / p99 / worst", f"{median} / {p99} / {worst}"],
            ["latency, worst", f"{1e3 * self.latency:.2f} ms"],
        ]
        if self.load is None or self.period is None:
            rows.append(["load", "unknown: --rate says how often a step is due"])
        else:
            rows.append(["load", f"{100 * self.load:.2f} % of {1e3 * self.period:.3g} ms"])
            rows.append(["deadline misses", f"{self.misses:,}"])
        return table([self.source, self.end], rows)


Show = Callable[[Progress, StepRuntime], None]


class Follower:
    """Steps a runtime along a source.

    speed: how many times faster than its own rate a source is replayed; math.inf for no waiting.
    show: called after each step. clock, sleep: seconds, as time.perf_counter and time.sleep.
    """

    def __init__(
        self,
        runtime: StepRuntime,
        source: Source,
        speed: float = 1.0,
        show: Show | None = None,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._runtime, self._source, self._speed = runtime, source, speed
        self._show, self._clock, self._sleep = show, clock, sleep
        self._waits = source.paced and not math.isinf(speed)
        # Without waiting a step still has the time that the stream would leave it.
        self._period = source.period
        if self._period is not None and self._waits:
            self._period /= speed
        sizes = [runtime.program.tensors[name].size for name in runtime.program.inputs]
        self._cuts = np.cumsum(sizes)[:-1]
        self._sizes = sizes
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._times: deque[float] = deque(maxlen=KEPT)
        self._total = 0.0
        self.progress = Progress()

    def run(self) -> Summary:
        """To the end of the stream, or Ctrl-C."""
        state = self._runtime.state
        for _ in range(WARM):
            self._runtime.step(*(np.zeros(size, np.float32) for size in self._sizes))
        self._runtime.state = state
        end, start = "end of stream", self._clock()
        try:
            for item in self._source.items:
                arrived = self._clock()
                if self._waits and item.due is not None:
                    due = start + item.due / self._speed
                    if due > arrived:
                        self._sleep(due - arrived)
                    # Behind, the wait in the queue is a part of the latency.
                    arrived = due
                self._step(item.values, arrived, start)
        except KeyboardInterrupt:
            end = "interrupted"
        return self._summary(end)

    def _step(self, values: NDArray[np.float32], due: float, start: float) -> None:
        runtime, now = self._runtime, self.progress
        begin = self._clock()
        y = runtime.step(*np.split(values, self._cuts))
        done = self._clock()
        now.steps += 1
        now.step_time, now.latency = done - begin, done - due
        now.worst, now.elapsed = max(now.worst, now.latency), done - start
        self._times.append(now.step_time)
        self._total += now.step_time
        if self._period is not None:
            now.misses += now.latency > self._period
            self._recent.append(now.step_time)
            now.load = sum(self._recent) / len(self._recent) / self._period
        named = y if isinstance(y, tuple) else (y,)
        now.outputs = dict(zip(runtime.program.outputs, named, strict=True))
        if self._show is not None:
            self._show(now, runtime)

    def _summary(self, end: str) -> Summary:
        now, period = self.progress, self._period
        times = np.array(self._times) if self._times else np.zeros(1)
        median, p99 = np.percentile(times, [50, 99])
        mean = self._total / now.steps if now.steps else 0.0
        return Summary(
            self._source.name,
            f"{self._runtime.engine} engine",
            now.steps,
            now.elapsed,
            period,
            None if period is None else mean / period,
            None if period is None else now.misses,
            (float(median), float(p99), float(times.max())),
            now.worst,
            end,
        )


def parse_speed(text: str) -> float:
    """A factor, or `max`. InputError for anything else."""
    if text == "max":
        return math.inf
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0.0 < speed < math.inf:
        raise InputError(f"--speed takes a factor such as 4, or max, not {text!r}")
    return speed


def follow_folder(
    folder: Path,
    source: str,
    *,
    rate: float | None = None,
    speed: str = "1",
    layout: str = "csv",
    native: bool = False,
    quiet: bool = False,
) -> Summary:
    """Follow a stream with the program of an exported folder, on the terminal.

    source, rate, layout: see `open_source`. native: the library of `edgernn build` steps it. quiet:
    show nothing. InputError for a window program, which cannot stream.
    """
    from edgernn.bench.live.screen import Screen
    from edgernn.runtime.file import load_any
    from edgernn.runtime.program import Program

    factor, path = parse_speed(speed), folder / "model.safetensors"
    if not path.is_file():
        raise FileFormatError(
            f"{folder} holds no model.safetensors; write one with `edgernn export --int8`"
        )
    program = load_any(path)
    if not isinstance(program, Program):
        raise InputError(
            f"{path} reads whole windows, backwards too, so it cannot follow a stream; measure it "
            "with `edgernn bench` without --live, or train one direction"
        )
    runtime = StepRuntime.load(path, engine="native" if native else "numpy")
    features = sum(program.tensors[name].size for name in program.inputs)
    opened = open_source(source, features, rate=rate, layout=layout)
    if quiet:
        return Follower(runtime, opened, factor).run()
    with Screen(program, opened, sys.stdout) as screen:
        return Follower(runtime, opened, factor, screen.show).run()
