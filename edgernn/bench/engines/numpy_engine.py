"""The NumPy engine: StepRuntime, or WindowRuntime."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from edgernn.bench.engines.base import Job, items

PACKAGES: Final = ("edgernn.runtime",)
"""What a program imports to use it."""
NEEDS: Final = "install NumPy: pip install numpy"


class NumpySteps:
    """See `base.Engine`."""

    def __init__(self, job: Job) -> None:
        import numpy as np

        from edgernn.runtime import StepRuntime, WindowRuntime

        path = job.path("model.safetensors")
        self.version, self.notes = f"NumPy {np.__version__}", list[str]()
        if job.window is None:
            runtime = StepRuntime.load(path)
            self.step: Callable[..., Any] = runtime.step_int
            self.reset: Callable[[], None] = runtime.reset
        else:
            self.step, self.reset = WindowRuntime.load(path).run_int, lambda: None

    def items(self, job: Job) -> Iterator[tuple[Any, ...]]:
        """int16 arrays."""
        return items(job.stream("int"), job.inputs)

    def outputs(self, result: Any) -> list[Any]:
        """As they come."""
        return list(result) if isinstance(result, tuple) else [result]


load = NumpySteps
