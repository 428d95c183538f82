"""Programs of no particular architecture: the exported files give the bits of the NumPy engine."""

from __future__ import annotations

import pytest

from edgernn.engines.onnx import OnnxEngine
from edgernn.engines.tflite import TFLiteEngine
from edgernn.exporters.onnx_step import to_onnx
from edgernn.exporters.tflite import to_tflite
from edgernn.streams import random_streams
from edgernn.verify import require, verify
from tests.programs import random_structure


@pytest.mark.parametrize("seed", range(40))
def test_both_formats_run_any_valid_program(seed: int) -> None:
    program = random_structure(seed)
    engines = [TFLiteEngine(to_tflite(program), program), OnnxEngine(to_onnx(program), program)]
    streams = random_streams([program.tensors[n] for n in program.inputs], 40, seed)
    require(verify(program, [(engine, None) for engine in engines], streams, {}))
