"""The other end of `worker`: a process with one engine in it, told what to do."""

from __future__ import annotations

import contextlib
import io
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgernn.runtime.errors import EdgernnError

ONE_THREAD: Final = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
        "NUMEXPR_NUM_THREADS",
    ),
    "1",
)
PATIENCE: Final = 300.0
"""Seconds without an answer after which a process counts as stuck."""
BUNDLE: Final = ("engines/__init__.py", "engines/base.py", "engines/tflite.py",
                 "engines/tflite_runtime.py", "timing.py", "worker.py")  # fmt: skip


class EngineAbsent(Exception):
    """An engine is not there; the message says what is missing and the way out."""


@dataclass(frozen=True)
class Start:
    """What an engine took to be there.

    version: package and version. notes: see `engines.base.Engine`. seconds: to import its
    packages, to load the model, to make the first step. bytes: of memory that the packages took,
    and then the model, loaded and stepped.
    """

    version: str
    notes: tuple[str, ...]
    seconds: tuple[float, float, float]
    bytes: tuple[int, int]


class Worker:
    """A process of its own, on one thread, with one engine loaded; use it in a `with`.

    name: of `engines.KINDS`. folder: of the job. python: another interpreter than this one, whose
    environment need not have edgernn. EngineAbsent if the engine is not there, EdgernnError if it
    fails.
    """

    def __init__(self, name: str, folder: Path, python: str | None = None) -> None:
        self.name = name
        environment = os.environ | ONE_THREAD
        if python is not None:
            environment["PYTHONPATH"] = str(bundle(folder))
        elif paths := environment.get("PYTHONPATH"):
            # It starts in another folder than this process.
            absolute = [os.path.abspath(path) for path in paths.split(os.pathsep) if path]
            environment["PYTHONPATH"] = os.pathsep.join(absolute)
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        command = [python or sys.executable, "-m", "edgernn.bench.worker", name, str(folder)]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=environment,
                # What lies in the current folder is not to be imported.
                cwd=folder,
            )
        except OSError as error:
            self._errors.close()
            raise EngineAbsent(f"{python} cannot be started: {error.strerror}") from None
        try:
            fields, _ = self._answer()
        except BaseException:
            self.close()
            raise
        self.start = Start(
            fields["version"],
            tuple(fields["notes"]),
            tuple(fields["seconds"]),
            tuple(fields["bytes"]),
        )

    def check(self, count: int) -> list[NDArray[Any]]:
        """The outputs of the first `count` items from the initial state, (count, ...) each."""
        _, content = self._asked(f"check {count}")
        with np.load(io.BytesIO(content), allow_pickle=False) as data:
            return [data[str(i)] for i in range(len(data.files))]

    def turn(self, count: int, warm: int) -> tuple[NDArray[np.int64], float, int]:
        """Clock readings, nanoseconds, around `count` items after `warm` others; what a reading
        costs; and how often another process took the processor meanwhile."""
        fields, content = self._asked(f"turn {count} {warm}")
        return np.frombuffer(content, np.int64), fields["timer"], fields["preemptions"]

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()

    def _asked(self, command: str) -> tuple[Mapping[str, Any], bytes]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(command.encode() + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise EdgernnError(f"{self.name} ended: {self._last_words()}") from None
        return self._answer()

    def _answer(self) -> tuple[Mapping[str, Any], bytes]:
        pipe = self._process.stdout
        assert pipe is not None
        ready, _, _ = select.select([pipe], [], [], PATIENCE)
        if not ready:
            self._process.kill()
            raise EdgernnError(f"{self.name} gave no answer in {PATIENCE:.0f} s")
        line = pipe.readline()
        if not line:
            raise EdgernnError(f"{self.name} ended: {self._last_words()}")
        try:
            fields = json.loads(line)
        except ValueError:
            self._process.kill()
            raise EdgernnError(
                f"{self.name} answers what no worker does, {line[:40].decode(errors='replace')!r}; "
                "is that a Python?"
            ) from None
        if "missing" in fields:
            raise EngineAbsent(fields["missing"])
        if "error" in fields:
            raise EdgernnError(f"{self.name} fails: {fields['error']}")
        return fields, pipe.read(fields["content"])

    def _last_words(self) -> str:
        self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else f"exit code {self._process.returncode}"


def bundle(folder: Path) -> Path:
    """A folder to import the worker from, for an environment without edgernn."""
    source, target = Path(__file__).parent, folder / "bundle"
    if not target.exists():
        package = target / "edgernn" / "bench"
        for file in ("../__init__.py", "__init__.py", *BUNDLE):
            path = package / file
            path.parent.mkdir(parents=True, exist_ok=True)
            if file in BUNDLE:
                shutil.copyfile(source / file, path)
            else:
                path.touch()
    return target


def median_start(starts: Sequence[Start]) -> Start:
    """Of several fresh processes."""
    middle = np.median([s.seconds for s in starts], axis=0)
    memory = np.median([s.bytes for s in starts], axis=0)
    return Start(
        starts[-1].version,
        starts[-1].notes,
        (float(middle[0]), float(middle[1]), float(middle[2])),
        (int(memory[0]), int(memory[1])),
    )
