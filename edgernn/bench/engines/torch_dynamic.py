"""PyTorch's own int8: torch.ao.quantization.quantize_dynamic, where it still exists."""

from __future__ import annotations

import importlib
import warnings
from typing import Any, Final

from edgernn.bench.engines.base import Job
from edgernn.bench.engines.torch_float import PACKAGES, TorchSteps, settle

__all__ = ["NEEDS", "PACKAGES", "load", "settle"]

NEEDS: Final = "install a torch that has torch.ao.quantization.quantize_dynamic"
OWN: Final = "OwnStep"
FLOATS: Final = ("RNN", "GRU", "LSTM", "GRUCell", "LSTMCell", "RNNCell", "Linear", OWN)


def load(job: Job) -> TorchSteps:
    """The float network after quantize_dynamic; ImportError where torch has it no more."""
    made = TorchSteps(job, quantized)
    left = left_in_float(made.model)
    if left:
        made.notes.append(f"quantize_dynamic left {', '.join(left)} in float, without saying so")
    return made


def quantized(model: Any) -> Any:
    """A module with int8 weights; ImportError without quantize_dynamic, or without its kernels."""
    import torch

    with warnings.catch_warnings():
        # It announces that it will be removed.
        warnings.simplefilter("ignore")
        try:
            package = importlib.import_module("torch.ao.quantization")
            quantize_dynamic = package.quantize_dynamic
        except (ImportError, AttributeError):
            raise ImportError("this torch has no quantize_dynamic any more") from None
        try:
            changed = quantize_dynamic(model, dtype=torch.qint8, inplace=True)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[0]
            raise ImportError(f"quantize_dynamic fails on this machine: {reason}") from None
    changed.settle()
    return changed


def left_in_float(model: Any) -> list[str]:
    """The kinds of layers with weights that are still those of the float model."""
    left = (part for part in model.modules() if "quantized" not in type(part).__module__)
    names = ((type(part).__name__, getattr(part, "kind", "")) for part in left)
    # A cell that torch.nn does not have is known by its kind.
    return sorted({kind if name == OWN else name for name, kind in names if name in FLOATS})
