"""Pooling over time: the mean or the maximum of all steps, as a cell that keeps it so far."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from edgernn.cells import CELLS
from edgernn.graph import Carried, Node
from edgernn.importer.arithmetic import affine
from edgernn.importer.layer_axes import added, over_layers
from edgernn.importer.registry import Call, rule
from edgernn.importer.shapes import pick_last
from edgernn.importer.values import Flow, sanitize

if TYPE_CHECKING:
    from edgernn.importer.trace import Tracer


@rule("mean.dim")
def mean(tracer: Tracer, call: Call) -> Flow:
    """y.mean(dim=1) over time, the mean of all steps; h_n.mean(0) over layers or directions."""
    x: Flow = call["self"]
    if over_layers(x, call["dim"] or ()):
        count = prod(x.shape[d] for d in call["dim"])
        total = added(tracer, call, x, call["dim"], call["keepdim"])
        return affine(tracer, call, total, 1 / count, 0.0)
    return _pooled(tracer, call, "mean_pooling", call["dim"])


@rule("amax")
def amax(tracer: Tracer, call: Call) -> Flow:
    """y.amax(dim=1) over time, the maximum of all steps."""
    return _pooled(tracer, call, "max_pooling", call["dim"])


@rule("max.dim")
def maximum(tracer: Tracer, call: Call) -> list[Any]:
    """y.max(dim=1).values over time, the maximum of all steps."""
    return [_pooled(tracer, call, "max_pooling", [call["dim"]]), None]


def _pooled(tracer: Tracer, call: Call, kind: str, dims: Any) -> Flow:
    x: Flow = call["self"]
    chosen = {d % len(x.dims) for d in dims} if dims else set(range(len(x.dims)))
    roles = [axis.role for d in chosen for axis in x.dims[d]]
    if roles != ["time"] or x.moment != "steps":
        raise call.refuse(
            "pools other axes than time" if x.moment == "steps" else "pools a single step",
            "pool the steps of a recurrent layer, y.mean(dim=1) or y.amax(dim=1), and combine "
            "features with nn.Linear",
        )
    features = [d for d in x.dims if any(axis.role == "feature" for axis in d)]
    size = features[0][0].size if features else 1
    values = [_cell(tracer, call, kind, value, size) for value in x.values]
    (time,) = chosen
    kept = [()] if call["keepdim"] else []
    changed = x.computed(values, [*x.dims[:time], *kept, *x.dims[time + 1 :]])
    return pick_last(tracer, call, changed)


def _cell(tracer: Tracer, call: Call, kind: str, value: str, size: int) -> str:
    cell = CELLS[kind]
    starts = {"p": np.zeros(size), "n": np.zeros(1), "m": np.full(size, np.finfo(np.float32).min)}
    prefix = sanitize(call.node.name)
    own = tuple(
        tracer.names.value(sanitize(wanted))
        for wanted in (f"{prefix}_l0", f"{prefix}_cell0")[: len(cell.outputs)]
    )
    carried = tuple(
        Carried(tracer.names.state(prefix, letter, 1)[0], name, starts[letter].astype(np.float32))
        for letter, name in zip(cell.states, own, strict=True)
    )
    tracer.nodes.append(Node(kind, (value,), own, {}, carried))
    return own[0]
