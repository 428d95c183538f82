"""What does the native engine cost: the call from Python, the step alone, against float C++?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.engines import LITERT, litert
from benchmarks.subjects import NUMPY, native, subject
from benchmarks.yardstick import LOOP, YARDSTICKS, yardsticks
from edgernn.exporters.tflite import to_tflite
from edgernn.runtime import StepRuntime

STEP, INTO, ALONE = "step_int", "step_int, out=", "C alone"
SIZES = ((16, 8), (32, 16), (64, 32), (128, 40), (256, 64))


@pytest.mark.parametrize(("hidden", "features"), SIZES)
def test_native(measure: Callable[..., Any], tmp_path: Path, hidden: int, features: int) -> None:
    s = subject("GRU", hidden, features)
    library, kernels = native(s.program, tmp_path)
    numpy, x, out = StepRuntime(s.program), s.integers[0, 0], np.empty(hidden, np.int16)
    window = np.ascontiguousarray(np.broadcast_to(x, (LOOP, features)))
    states = {f"state_{v.name}": v.initial[None] for v in s.program.states}
    calls: dict[str, Callable[[], object]] = {
        STEP: lambda: library.step_int(x),
        INTO: lambda: library.step_int(x, out=out),
        ALONE: lambda: library.run_int(window),
        NUMPY: lambda: numpy.step_int(x),
        LITERT: litert(to_tflite(s.program), {"x": x[None], **states}),
        **yardsticks(s.graph, s.data[0, 0], tmp_path),
    }
    key = {**s.key, "kernels": kernels}
    loops = dict.fromkeys([ALONE, *YARDSTICKS], LOOP)
    measure(key, calls, (STEP, INTO, ALONE), per_call=loops)
