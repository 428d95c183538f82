"""nn.Embedding: token ids, an input of integers, become rows of a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgernn.importer.registry import Call, rule
from edgernn.importer.values import Axis, Flow

if TYPE_CHECKING:
    from torch.fx import Node as FxNode

    from edgernn.importer.trace import Tracer

MAX_ROWS = 32768
"""An id is an int16."""


@rule("embedding")
def embedding(tracer: Tracer, call: Call) -> Flow:
    """nn.Embedding on token ids that are an input of the model."""
    x, table = call["indices"], tracer.array(call, call["weight"], "table")
    rows, size = table.shape
    if rows > MAX_ROWS:
        raise call.refuse(
            f"has {rows} rows, and an id is a number of 16 bits",
            f"embed the {MAX_ROWS} most frequent tokens and one for all others",
        )
    dims = x.dims
    if len(dims) == 3:
        # (N, T, 1): the axis of size one goes along.
        width, dims = tracer.features(call, dims[2]), (*dims[:2], ())
        if width != 1:
            raise call.refuse(
                f"embeds {width} ids of a step at once",
                "embed each with a table of its own, x[..., 0], and join them with torch.cat",
            )
    source = _source(tracer, call, x)
    low, high = tracer.limits.get(source, (0, rows))
    tracer.limits[source] = (low, min(high, rows))
    wanted = call["weight"].path.rpartition(".")[0] or call.node.name
    value = tracer.emit("embedding", x.values, wanted, {"table": table})
    return Flow((value,), (*dims, (Axis(size, "feature"),)), x.moment)


def _source(tracer: Tracer, call: Call, x: Flow) -> FxNode:
    """The placeholder that the ids come from, by way of slices."""
    (value,) = x.values
    producers = {node.name: node for node in tracer.nodes if node.kind == "slice"}
    while value in producers:
        (value,) = producers[value].inputs
    if not x.integer or value not in tracer.inputs:
        raise call.refuse("computes its ids", "pass the token ids as an input of the model")
    return tracer.inputs[value][0]
