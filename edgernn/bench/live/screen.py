"""What `--live` shows: in place on a terminal, a line a second in a pipe."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Mapping
from typing import IO, Final

import numpy as np
from numpy.typing import NDArray

from edgernn.bench.live.follow import Progress
from edgernn.bench.live.sources import Source
from edgernn.runtime.engine import StepRuntime
from edgernn.runtime.program import Program

EVERY: Final = 0.1
"""Seconds between pictures on a terminal."""
LINE_EVERY: Final = 1.0
MOST_STATES: Final = 8
MOST_VALUES: Final = 6
BAR: Final = 20
_EIGHTHS: Final = " ▏▎▍▌▋▊▉█"
_HIDE, _SHOWN, _CLEAR = "\x1b[?25l", "\x1b[?25h", "\x1b[J"


class Screen:
    """Use it in a `with`: the cursor is hidden meanwhile.

    out: the stream to write to. clock: seconds. size: (columns, lines) of the terminal.
    """

    def __init__(
        self,
        program: Program,
        source: Source,
        out: IO[str],
        clock: Callable[[], float] = time.perf_counter,
        size: Callable[[], tuple[int, int]] = shutil.get_terminal_size,
    ) -> None:
        self._program, self._source, self._out = program, source, out
        self._clock, self._size = clock, size
        self._terminal = out.isatty()
        self._every = EVERY if self._terminal else LINE_EVERY
        self._last, self._lines = -math.inf, 0
        self._heads: Mapping[str, str] = dict(program.metadata).get("heads", {})
        self._final = set(dict(program.metadata).get("last", ()))
        self._pending: tuple[Progress, StepRuntime] | None = None

    def __enter__(self) -> Screen:
        if self._terminal:
            self._out.write(_HIDE)
        return self

    def __exit__(self, *_: object) -> None:
        if self._pending is not None:
            self._draw(*self._pending)
        if self._terminal:
            self._out.write(_SHOWN)
        self._out.flush()

    def show(self, now: Progress, runtime: StepRuntime) -> None:
        """Called after every step; draws now and then."""
        self._pending = (now, runtime)
        moment = self._clock()
        if moment - self._last >= self._every:
            self._last = moment
            self._draw(now, runtime)

    def _draw(self, now: Progress, runtime: StepRuntime) -> None:
        self._pending = None
        if not self._terminal:
            self._out.write(self.line(now) + "\n")
            self._out.flush()
            return
        columns, height = self._size()
        lines = self.picture(now, runtime)[: max(1, height - 1)]
        up = f"\x1b[{self._lines}F" if self._lines else ""
        self._out.write(up + _CLEAR + "".join(line[: columns - 1] + "\n" for line in lines))
        self._out.flush()
        self._lines = len(lines)

    def line(self, now: Progress) -> str:
        """For a pipe."""
        outputs = "; ".join(self._output(name, y) for name, y in now.outputs.items())
        return f"step {now.steps:,}  {self._timing(now)}  {outputs}"

    def picture(self, now: Progress, runtime: StepRuntime) -> list[str]:
        """For a terminal."""
        of = f" of {self._source.count:,}" if self._source.count else ""
        lines = [f"{self._source.name}  step {now.steps:,}{of}  {now.elapsed:.1f} s"]
        load = "" if now.load is None else f"{bar(now.load, 10)} "
        lines.append(load + self._timing(now))
        lines += [f"  {self._output(name, y)}" for name, y in now.outputs.items()]
        states = runtime.state
        names = list(states)[:MOST_STATES]
        width = max((len(name) for name in names), default=0)
        scales = {s.name: float(self._program.tensors[s.input].scale) for s in self._program.states}
        for name in names:
            lines.append(f"  {name.ljust(width)}  {state_line(states[name], scales[name])}")
        if len(states) > MOST_STATES:
            lines.append(f"  and {len(states) - MOST_STATES} more states")
        return lines

    def _timing(self, now: Progress) -> str:
        parts = [f"step {1e6 * now.step_time:.1f} us"]
        if now.load is not None:
            parts.insert(0, f"load {100 * now.load:.2f} %")
            parts.append(f"misses {now.misses:,}")
        parts.append(f"worst latency {1e3 * now.worst:.2f} ms")
        return "  ".join(parts)

    def _output(self, name: str, y: NDArray[np.float32]) -> str:
        return f"{name}: {described(y, self._heads.get(name, ''), name in self._final)}"


def described(y: NDArray[np.float32], head: str, final: bool) -> str:
    """An output in words: class and score of what chooses among several, else the values.

    head: the function that was left to the application. final: does the model return it once?
    """
    if head in ("softmax", "log_softmax"):
        powers = np.exp(y - y.max())
        best = int(np.argmax(y))
        return f"class {best}, score {powers[best] / powers.sum():.3f}"
    if head == "sigmoid":
        y = (1.0 / (1.0 + np.exp(-y))).astype(np.float32)
    elif final and y.size > 1:
        best = int(np.argmax(y))
        return f"class {best}, score {y[best]:.3f}"
    shown = " ".join(f"{value:.3g}" for value in y[:MOST_VALUES])
    if y.size <= MOST_VALUES:
        return shown
    best = int(np.argmax(np.abs(y)))
    return f"{shown} ... of {y.size}, largest [{best}] {y[best]:.3g}"


def state_line(values: NDArray[np.int16], scale: float) -> str:
    """rms on a bar of the int16 range, the largest unit, and how many are at its rails."""
    real = values.astype(np.float64)
    rms = float(np.sqrt(np.mean(real * real)))
    unit = int(np.argmax(np.abs(real)))
    saturated = int(np.count_nonzero((values == 32767) | (values == -32768)))
    return (
        f"{bar(rms / 32767)} rms {rms * scale:<8.3g} unit {unit} {real[unit] * scale:<+9.3g} "
        f"saturated {saturated}"
    )


def bar(part: float, width: int = BAR) -> str:
    """A part of 1 in eighths of a character; full from 1 on."""
    eighths = round(8 * width * min(max(part, 0.0), 1.0))
    whole, rest = divmod(eighths, 8)
    text = "█" * whole + (_EIGHTHS[rest] if rest else "")
    return f"[{text.ljust(width)}]"
