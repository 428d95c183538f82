"""The step in C, compiled for this machine, called from Python."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from edgernn.bench.engines.base import Job, items

LIBRARY = "library.so"
PACKAGES: Final = ("edgernn.runtime", "edgernn.runtime.native")
"""What a program imports to use it."""
NEEDS: Final = "install NumPy: pip install numpy"


class NativeSteps:
    """See `base.Engine`."""

    def __init__(self, job: Job) -> None:
        from edgernn.runtime import StepRuntime, load_program
        from edgernn.runtime.native import NativeEngine

        program = load_program(job.path("model.safetensors"))
        engine = NativeEngine(program, job.path(LIBRARY))
        runtime = StepRuntime(program, engine)
        self.step, self.reset = runtime.step_int, runtime.reset
        self.version, self.notes = f"{engine.kernels} kernels, {engine.binding}", list[str]()

    def items(self, job: Job) -> Iterator[tuple[Any, ...]]:
        """int16 arrays."""
        return items(job.stream("int"), job.inputs)

    def outputs(self, result: Any) -> list[Any]:
        """As they come."""
        return list(result) if isinstance(result, tuple) else [result]


class NativeWindows:
    """See `base.Engine`."""

    def __init__(self, job: Job) -> None:
        from edgernn.engines.native_window import WindowLibrary
        from edgernn.runtime.file import load_any
        from edgernn.runtime.window import Window, window_of

        program = load_any(job.path("model.safetensors"))
        window = program if isinstance(program, Window) else window_of(program)
        library = WindowLibrary(window, job.path(LIBRARY))
        self._names, self._run = job.inputs, library.run
        self.version, self.notes = f"{library.kernels} kernels, ctypes", list[str]()

    def step(self, *x: Any) -> Any:
        """A window."""
        return self._run(dict(zip(self._names, x, strict=True)))

    def items(self, job: Job) -> Iterator[tuple[Any, ...]]:
        """int16 arrays."""
        return items(job.stream("int"), job.inputs)

    def outputs(self, result: Any) -> list[Any]:
        """As they come."""
        return list(result.values())

    def reset(self) -> None:
        """A window has no state."""


def load(job: Job) -> NativeSteps | NativeWindows:
    """The library that was compiled for the job."""
    return NativeSteps(job) if job.window is None else NativeWindows(job)
