"""Every network of the family, trained for a moment: int8 beside float, all engines, float ONNX.

The networks are those of `benchmarks.models`, so SUPPORTED.md says "exact" of what is exact here.
"""

from __future__ import annotations

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
from edgernn.engines.onnx import FloatOnnx
from edgernn.float_onnx import float_onnx
from edgernn.quantization import Quantized, QuantizedWindow
from edgernn.runtime import FileFormatError, StepRuntime, Window, save_program
from edgernn.runtime.window import window_of
from tests.edgernn.cells import assert_same_everywhere
from tests.edgernn.windows import assert_windows_same

STEPS = 5_000

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
        assert_windows_same(program, tmp_path, 10)
    else:
        assert assert_same_everywhere(program, STEPS) > STEPS


def test_a_stream_is_a_window_too(trained: Trained, tmp_path: Path) -> None:
    _, _, program, _ = trained
    if isinstance(program, Window):
        save_program(program, tmp_path / "p.safetensors")
        with pytest.raises(FileFormatError, match="cannot stream"):
            StepRuntime.load(tmp_path / "p.safetensors")
        return
    assert_windows_same(window_of(program), tmp_path, 1)
