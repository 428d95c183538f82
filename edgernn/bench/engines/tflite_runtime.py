"""A .tflite file in tflite-runtime, often in an environment of its own."""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import Any, Final

from edgernn.bench.engines import tflite
from edgernn.bench.engines.base import Job

PACKAGES: Final = ("numpy", "tflite_runtime.interpreter")
"""What a program imports to use it."""
NEEDS: Final = "name a Python that has it with --tflite-python"


def load(job: Job) -> Any:
    """See `tflite.load`."""
    interpreter = importlib.import_module("tflite_runtime.interpreter").Interpreter
    version = importlib.metadata.version("tflite-runtime")
    return tflite.load(job, interpreter, f"tflite-runtime {version}")
