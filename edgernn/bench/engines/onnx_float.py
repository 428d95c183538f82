"""The float reference in ONNX Runtime."""

from __future__ import annotations

from edgernn.bench.engines.base import Job
from edgernn.bench.engines.onnx import NEEDS, PACKAGES, OnnxSteps

__all__ = ["NEEDS", "PACKAGES", "load"]


def load(job: Job) -> OnnxSteps:
    """model.float.onnx, one step at a time, its states fed back."""
    return OnnxSteps(job, floats=True)
