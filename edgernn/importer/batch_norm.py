"""nn.BatchNorm1d in eval mode: a factor and an offset per feature, which the weights beside it
take up where they can (see `fold`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgernn.importer.registry import Call, rule, sentence
from edgernn.importer.values import Flow
from edgernn.runtime.errors import UnsupportedError

if TYPE_CHECKING:
    from torch.fx import Node as FxNode

    from edgernn.graph import FloatArray
    from edgernn.importer.trace import Tracer


def refuse_training(node: FxNode) -> None:
    """UnsupportedError if the node is a BatchNorm in training mode."""
    name = str(node.target)
    if name == "aten.batch_norm.default" and node.args[3] is not None and node.args[5]:
        raise UnsupportedError(
            sentence(
                node,
                name,
                "computes its mean from the batch, because the model was exported in training mode",
                "call model.eval() first, then export it again",
                "nn.BatchNorm1d",
            )
        )


@rule("batch_norm", "_native_batch_norm_legit_no_training")
def batch_norm(tracer: Tracer, call: Call) -> Any:
    """nn.BatchNorm1d of a model in eval mode."""
    x = call["input"]
    mean, variance = call["running_mean"], call["running_var"]
    if mean is None or variance is None:
        raise call.refuse(
            "computes its mean from the batch it is given",
            "train it with track_running_stats=True, as it is by default",
            layer="nn.BatchNorm1d",
        )
    if not isinstance(x, Flow) or len(x.dims) not in (2, 3):
        raise call.refuse("does not read features", "feed it (N, C) or (N, C, T)")
    size = tracer.features(call, x.dims[1])
    factor = 1.0 / np.sqrt(tracer.array(call, variance, "variance") + np.float32(call["eps"]))
    offset = np.zeros(size, np.float32)
    if call["weight"] is not None:
        factor = factor * tracer.array(call, call["weight"], "weight")
        offset = tracer.array(call, call["bias"], "bias")
    arrays: dict[str, FloatArray] = {
        "weight": factor.astype(np.float32),
        "bias": offset - tracer.array(call, mean, "mean") * factor,
    }
    wanted = mean.path.rpartition(".")[0] or call.node.name
    result = x.computed(tracer.emit("affine", (value,), wanted, arrays) for value in x.values)
    return result if ".batch_norm." in call.operator else [result, None, None]
