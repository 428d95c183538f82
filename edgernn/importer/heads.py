"""What a model's outputs end with: softmax, log_softmax, sigmoid, softplus.

They do not change which class is the largest, so by default the integer program stops before them
and returns logits; what was left out is recorded with the output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Literal

from edgernn.graph import Node
from edgernn.importer.arithmetic import affine
from edgernn.importer.registry import Call, rule
from edgernn.importer.values import Flow

if TYPE_CHECKING:
    from edgernn.importer.trace import Tracer

Heads = Literal["logits", "integer"]
HEADS: Final = ("logits", "integer")
KINDS: Final = ("softmax", "log_softmax", "sigmoid", "softplus")
_PICKS: Final = ("last", "first")


@rule("softmax.int", "_softmax")
def softmax(tracer: Tracer, call: Call) -> Flow:
    """nn.Softmax over the features; at the end of a model it is left to the application."""
    return _over_features(tracer, call, "softmax")


@rule("log_softmax.int", "_log_softmax")
def log_softmax(tracer: Tracer, call: Call) -> Flow:
    """nn.LogSoftmax over the features, at the end of a model, left to the application."""
    return _over_features(tracer, call, "log_softmax")


@rule("softplus")
def softplus(tracer: Tracer, call: Call) -> Flow:
    """nn.Softplus; at the end of a model it is left to the application, if beta is 1."""
    x: Flow = call["self"]
    beta = float(call["beta"])
    if beta == 0 or call["threshold"] < 10:
        raise call.refuse(
            "has beta 0, or a threshold below 10, where it jumps",
            "use nn.Softplus(beta), with the threshold as it is",
        )
    if beta != 1:
        x = affine(tracer, call, x, beta, 0.0)
    y = x.computed(tracer.emit("softplus", (value,), call.node.name) for value in x.values)
    return y if beta == 1 else affine(tracer, call, y, 1 / beta, 0.0)


def _over_features(tracer: Tracer, call: Call, kind: str) -> Flow:
    x: Flow = call["self"]
    dim = x.dims[call["dim"] % len(x.dims)]
    if any(axis.role in ("time", "batch", "layer") for axis in dim):
        raise call.refuse(
            f"is a softmax over {dim[0].role}",
            "to weigh the steps of a sequence use edgernn.nn.AttentionPooling or SoftmaxOverTime; "
            "otherwise take the softmax over the features, dim=-1",
        )
    tracer.features(call, dim)
    return x.computed(tracer.emit(kind, (value,), call.node.name) for value in x.values)


def without_heads(
    tracer: Tracer, nodes: Sequence[Node], values: Sequence[str]
) -> tuple[list[Node], list[str], list[str]]:
    """The nodes and the outputs' values before their heads, and the head of each output or ""."""
    producers = {name: node for node in nodes for name in node.outputs}
    kept, before, heads = list(nodes), [], []
    for value in values:
        picks, source = [], producers.get(value)
        while source is not None and source.kind in _PICKS:
            picks.append(source)
            source = producers.get(source.inputs[0])
        if source is None or source.kind not in KINDS:
            before.append(value)
            heads.append("")
            continue
        given = source.inputs[0]
        for pick in reversed(picks):
            # Of the logits now, so it is another value.
            name = tracer.names.value(f"{pick.name}_logits")
            kept.append(replace(pick, inputs=(given,), outputs=(name,)))
            given = name
        before.append(given)
        heads.append(source.kind)
    return _read_nodes(kept, before), before, heads


def _read_nodes(nodes: list[Node], values: list[str]) -> list[Node]:
    """Without the heads, and the picks of heads, that nothing reads any more."""
    while True:
        read = {*values, *(name for node in nodes for name in node.reads)}
        kept = [n for n in nodes if n.kind not in (*KINDS, *_PICKS) or read.intersection(n.outputs)]
        if len(kept) == len(nodes):
            return kept
        nodes = kept
