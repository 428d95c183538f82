"""A window program on every engine, held against the plain one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from edgernn.engines.native_window import CWindowEngine
from edgernn.engines.onnx_window import OnnxWindowEngine
from edgernn.exporters.c.window import to_c_window
from edgernn.exporters.onnx_window import to_onnx_window
from edgernn.exporters.tflite_window import to_tflite_window
from edgernn.runtime.window import Window
from edgernn.runtime.window_runtime import WindowRuntime
from edgernn.window_verify import PlainWindowEngine
from tests.exporters import tflite_cases, tflite_window_runner
from tests.windows import random_inputs

WINDOWS: Final = (40, 1, 200, 9, 250)
"""Lengths of the windows that every engine is given."""


def assert_windows_same(
    window: Window, folder: Path, times: int = 1, lengths: Sequence[int] = WINDOWS
) -> None:
    """Every engine gives the bits of the plain one over random windows, `times` of each length.

    Engines: NumPy, LiteRT, tflite-runtime where there is one, ONNX Runtime, C.
    """
    given = [
        random_inputs(window, steps, 100 * i + steps) for i in range(times) for steps in lengths
    ]
    plain, runtime = PlainWindowEngine(window), WindowRuntime(window)
    wanted = [plain.run(x) for x in given]
    engines = [
        OnnxWindowEngine(to_onnx_window(window), window),
        CWindowEngine(window, to_c_window(window, "net")),
    ]
    for x, right in zip(given, wanted, strict=True):
        found = runtime.run_int(*(x[t.name] for t in window.inputs))
        listed = found if isinstance(found, tuple) else (found,)
        for name, value in zip(window.outputs, listed, strict=True):
            np.testing.assert_array_equal(value, right[name], err_msg=f"numpy, {name}")
        for engine in engines:
            got = engine.run(x)
            for name, value in right.items():
                np.testing.assert_array_equal(got[name], value, err_msg=f"{engine.name}, {name}")
    interpreters = ["ai-edge-litert"]
    if os.environ.get(tflite_cases.VARIABLE) or os.environ.get("CI") == "true":
        interpreters.append("tflite-runtime")
    content = to_tflite_window(window, lengths[0])
    numbered = {f"{i}/{name}": v for i, x in enumerate(given) for name, v in x.items()}
    for name in interpreters:
        run = tflite_cases.batch_runner_of(name, folder, tflite_window_runner)
        (results,) = run([(content, numbered)])
        for i, right in enumerate(wanted):
            for output, value in right.items():
                got = results[f"{i}/{output}"]
                np.testing.assert_array_equal(got, value, err_msg=f"{name}, {output}")
