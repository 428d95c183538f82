"""Normalisation over the features of one step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgernn.importer.registry import Call, rule
from edgernn.importer.values import Flow

if TYPE_CHECKING:
    from edgernn.importer.trace import Tracer


@rule("layer_norm")
def layer_norm(tracer: Tracer, call: Call) -> Flow:
    """nn.LayerNorm over the features, with or without gain and bias."""
    x: Flow = call["input"]
    shape = list(call["normalized_shape"])
    if len(shape) != 1:
        raise call.refuse(
            f"normalises over {len(shape)} axes at once",
            "normalise the features of one step, nn.LayerNorm(features)",
        )
    size = tracer.features(call, x.dims[-1])
    if size != shape[0] or size < 2:
        raise call.refuse(
            f"normalises {size} feature, which leaves nothing of it" if size < 2
            else "does not fit the features it reads",
            "normalise the features of one step, nn.LayerNorm(features)",
        )  # fmt: skip
    given = {"weight": call["weight"], "bias": call["bias"]}
    arrays = {
        name: np.full(size, float(name == "weight"), np.float32)
        if value is None
        else tracer.array(call, value, name)
        for name, value in given.items()
    }
    numbers = {"eps": float(call["eps"])}
    weight = getattr(call["weight"], "path", "")
    wanted = weight.rpartition(".")[0] or call.node.name
    values = [
        tracer.emit("layer_norm", (value,), wanted, arrays, numbers=numbers) for value in x.values
    ]
    return x.computed(values)
