"""A .tflite file in LiteRT."""

from __future__ import annotations

import importlib.metadata
from typing import Any, Final

from edgernn.bench.engines import tflite
from edgernn.bench.engines.base import Job

PACKAGES: Final = ("numpy", "ai_edge_litert.interpreter")
"""What a program imports to use it."""
NEEDS: Final = "install it with: pip install 'edgernn[tflite]'"


def load(job: Job) -> Any:
    """See `tflite.load`."""
    from ai_edge_litert.interpreter import Interpreter

    version = importlib.metadata.version("ai-edge-litert")
    return tflite.load(job, Interpreter, f"ai-edge-litert {version}")
