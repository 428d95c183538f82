"""The process of one engine: it loads it, says what that took, and then steps it when told to.

    python -m edgernn.bench.worker litert folder

One engine a process: what it imports, allocates and starts in threads is its own, and so are its
start-up time and its memory. Commands come as lines on stdin, answers as a line of JSON on stdout,
followed by bytes if it says so. Nothing heavy is imported before the start-up is measured.
"""

from __future__ import annotations

import gc
import importlib
import io
import itertools
import json
import os
import sys
import time
from collections.abc import Callable
from typing import IO, Any

from edgernn.bench.engines import KINDS
from edgernn.bench.engines.base import Job

SETTLING_STEPS = 100
_PAGES = "/proc/self/statm"


def preemptions() -> int:
    """How often another process has taken the processor from this one."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def resident() -> int:
    """Bytes of memory that this process has in RAM; where the system does not say, the most that
    it ever had."""
    if os.path.exists(_PAGES):
        with open(_PAGES) as pages:
            return int(pages.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


class Server:
    """Answers for one engine."""

    def __init__(self, name: str, folder: str, answers: IO[bytes]) -> None:
        self._answers = answers
        self._kind, self._job = KINDS[name], Job.load(folder)

    def start(self) -> None:
        """Load the engine, make its first step, and say what that took."""
        job, memory, clock = self._job, [resident()], time.perf_counter
        # What an adapter of ours takes is not the engine's.
        adapter = importlib.import_module(f"edgernn.bench.engines.{self._kind.module}")
        stamps = [clock()]
        try:
            for package in adapter.PACKAGES:
                importlib.import_module(package)
            stamps.append(clock())
            memory.append(resident())
            if hasattr(adapter, "settle"):
                self._settled = adapter.settle()
            engine = self._engine = adapter.load(job)
            stamps.append(clock())
        except ImportError as error:
            self._answer({"missing": f"{_first_line(error)}; {adapter.NEEDS}"})
            return
        self._items = list(engine.items(job))
        first = clock()
        engine.step(*self._items[0])
        stamps.append(stamps[-1] + clock() - first)
        for item in itertools.islice(itertools.cycle(self._items), SETTLING_STEPS):
            engine.step(*item)
        memory.append(resident())
        engine.reset()
        self._place = 0
        # What is there by now stays; it need not be looked through in every turn.
        gc.collect()
        gc.freeze()
        self._answer(
            {
                "version": engine.version,
                "notes": engine.notes,
                "seconds": [b - a for a, b in itertools.pairwise(stamps)],
                "bytes": [b - a for a, b in itertools.pairwise(memory)],
            }
        )

    def check(self, count: int) -> None:
        """The outputs of the first items of the stream, from the initial state, as .npz."""
        import numpy as np

        engine = self._engine
        engine.reset()
        series = []
        for item in self._items[:count]:
            # Some engines show memory that their next step writes.
            series.append([np.array(value) for value in engine.outputs(engine.step(*item))])
        engine.reset()
        content = io.BytesIO()
        arrays: dict[str, Any] = {
            str(i): np.stack(list(v)) for i, v in enumerate(zip(*series, strict=True))
        }
        np.savez(content, **arrays)
        self._answer({}, content.getvalue())

    def turn(self, count: int, warm: int) -> None:
        """Time `count` items after `warm` that do not count: clock readings, int64."""
        import numpy as np

        from edgernn.bench.timing import no_garbage, timed, timer_cost

        step, items, whole = self._engine.step, self._items, count + warm
        begin = self._place % len(items)
        given = list(itertools.islice(itertools.cycle(items), begin, begin + whole))
        self._place += whole
        with no_garbage():
            for item in given[:warm]:
                step(*item)
            cost, before = timer_cost(), preemptions()
            stamps = timed(step, given[warm:], time.perf_counter_ns)
            taken = preemptions() - before
        self._answer({"timer": cost, "preemptions": taken}, np.array(stamps, np.int64).tobytes())

    def _answer(self, fields: dict[str, Any], content: bytes = b"") -> None:
        line = json.dumps({**fields, "content": len(content)})
        self._answers.write(line.encode() + b"\n" + content)
        self._answers.flush()

    def serve(self, commands: IO[str]) -> None:
        """Until there are no more commands."""
        try:
            self.start()
            for line in commands:
                name, *numbers = line.split()
                command: Callable[..., None] = self.check if name == "check" else self.turn
                command(*map(int, numbers))
        except Exception as error:
            self._answer({"error": f"{type(error).__name__}: {_first_line(error)}"})


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no reason given"])[0][:300]


def main() -> None:
    """See above."""
    # Packages print what they please; that must not come between answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    _, name, folder = sys.argv
    Server(name, folder, answers).serve(sys.stdin)


if __name__ == "__main__":
    main()
