"""Every network of the family, trained for a moment: int8 beside float, all engines, float ONNX.

The networks are those of `benchmarks.models`, so SUPPORTED.md says "exact" of what is exact here.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import edgernn
from benchmarks.family import arrays_of, run_int8, train
from benchmarks.family_tasks import calibration_of, task_of
from benchmarks.models import ROWS
from edgernn.engines.native_window import CWindowEngine
from edgernn.engines.onnx import FloatOnnx
from edgernn.engines.onnx_window import OnnxWindowEngine
from edgernn.exporters.c.window import to_c_window
from edgernn.exporters.onnx_window import to_onnx_window
from edgernn.exporters.tflite_window import to_tflite_window
from edgernn.float_onnx import float_onnx
from edgernn.quantization import Quantized, QuantizedWindow
from edgernn.runtime import FileFormatError, StepRuntime, Window, save_program
from edgernn.runtime.window import window_of
from edgernn.runtime.window_runtime import WindowRuntime
from edgernn.window_verify import PlainWindowEngine
from tests.edgernn.cells import assert_same_everywhere
from tests.exporters import tflite_cases, tflite_window_runner
from tests.windows import random_inputs

STEPS = 5_000
WINDOWS = (40, 1, 200, 9, 250)
"""Lengths of the windows that every engine is given, ten times over."""

Trained = tuple[Any, Any, Quantized | QuantizedWindow, np.ndarray]


@pytest.fixture(scope="module", params=ROWS)
def trained(request: pytest.FixtureRequest) -> Trained:
    """The row's task, float model, program and float outputs on the test images."""
    row = ROWS[request.param]
    task = task_of(row.reads)
    with warnings.catch_warnings():
        # Of torch: of its flat weights, and of what oneDNN does not have.
        warnings.simplefilter("ignore", UserWarning)
        model = train(row.build(task.sizes), task, epochs=6)
        with torch.no_grad():
            floats = model(*task.test).numpy()
        example = tuple(v[:3] for v in task.train)
        program = edgernn.quantize(model, example, calibration=calibration_of(task))
    return task, model, program, floats


def test_int8_predicts_what_float_predicts(trained: Trained) -> None:
    task, _, program, floats = trained
    ints = run_int8(program, task.test)
    labels = task.test_labels.numpy()
    right = [100 * np.mean(v.argmax(1) == labels) for v in (floats, ints)]
    assert right[0] > 30, "the float model has learned nothing"
    assert abs(right[1] - right[0]) <= 0.8
    assert np.mean(ints.argmax(1) == floats.argmax(1)) >= 0.985


def test_the_float_onnx_model_is_pytorch(trained: Trained) -> None:
    task, model, program, _ = trained
    assert program.graph is not None
    window = isinstance(program, Window)
    names = [t.name for t in program.inputs] if window else list(program.inputs)
    arrays = arrays_of(program, tuple(v[:50] for v in task.test))
    states = {} if window else {
        s.name: np.repeat(s.initial[None], 50, axis=0) for s in program.graph.states
    }  # fmt: skip
    got = FloatOnnx(float_onnx(program.graph)).run(dict(zip(names, arrays, strict=True)), states)
    with torch.no_grad():
        wanted = _logits(model)(*(v[:50] for v in task.test)).numpy()
    (name,) = program.outputs
    assert np.abs(got[name] - wanted).max() <= 1e-5 * max(1.0, np.abs(wanted).max())


def _logits(model: Any) -> Any:
    """What the graph computes: a softmax at the end is the application's."""
    return getattr(model, "net", model)


def test_all_engines_give_the_same_bits(trained: Trained, tmp_path: Path) -> None:
    _, _, program, _ = trained
    if isinstance(program, Window):
        _assert_windows_same(program, tmp_path, 10)
    else:
        assert assert_same_everywhere(program, STEPS) > STEPS


def test_a_stream_is_a_window_too(trained: Trained, tmp_path: Path) -> None:
    _, _, program, _ = trained
    if isinstance(program, Window):
        save_program(program, tmp_path / "p.safetensors")
        with pytest.raises(FileFormatError, match="cannot stream"):
            StepRuntime.load(tmp_path / "p.safetensors")
        return
    _assert_windows_same(window_of(program), tmp_path, 1)


def _assert_windows_same(window: Window, folder: Path, times: int) -> None:
    given = [
        random_inputs(window, steps, 100 * i + steps) for i in range(times) for steps in WINDOWS
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
    content = to_tflite_window(window, WINDOWS[0])
    numbered = {f"{i}/{name}": v for i, x in enumerate(given) for name, v in x.items()}
    for name in interpreters:
        run = tflite_cases.batch_runner_of(name, folder, tflite_window_runner)
        (results,) = run([(content, numbered)])
        for i, right in enumerate(wanted):
            for output, value in right.items():
                got = results[f"{i}/{output}"]
                np.testing.assert_array_equal(got, value, err_msg=f"{name}, {output}")
