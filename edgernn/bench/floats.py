"""The float network of a model that is given beside a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edgernn.float_engine import run_float
from edgernn.graph import FloatArray, Graph
from edgernn.runtime.errors import InputError


def graph_to_bytes(graph: Graph) -> bytes:
    """A graph that was not calibrated as a file for the PyTorch engines: its ranges are 0."""
    from edgernn.float_file import FloatModel, float_to_bytes

    names: set[str] = set()

    def observe(name: str, value: FloatArray) -> None:
        names.add(name)

    zeros = {name: np.zeros((1, 1, graph.sizes[name]), np.float32) for name in graph.inputs}
    with np.errstate(all="ignore"):
        run_float(graph, zeros, observe=observe)
    return float_to_bytes(FloatModel(graph, dict.fromkeys(sorted(names), 0.0)))


def graph_of(
    model: str, weights: Path | None = None, example: Mapping[str, FloatArray] | None = None
) -> Graph:
    """Import `model.pt2`, or `package.module:factory` with its weights.

    example: input name -> (T, F), which a factory's module is traced with; InputError without.
    MissingExtraError without torch.
    """
    from edgernn.importer import import_model, load_factory, load_pt2
    from edgernn.importer.extras import require_torch

    if ":" not in model or Path(model).exists():
        if weights is not None:
            raise InputError("--weights goes with package.module:factory; a .pt2 file has its own")
        return import_model(load_pt2(model))
    if not example:
        raise InputError(f"{model} needs an example, and the folder has no sample; give a .pt2")
    torch = require_torch()
    module = load_factory(model, weights)
    return import_model(module, tuple(torch.from_numpy(v[None]) for v in example.values()))
