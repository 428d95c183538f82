"""Axes of layers and directions: a flow has one value for each element of them, in row-major order.

h_n has one, `h.view(layers, 2, N, H)` makes two of it, and `y.view(N, T, 2, H)` one of features.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from edgernn.importer.values import Axis, Dim, Flow, dim_size

if TYPE_CHECKING:
    from edgernn.importer.registry import Call
    from edgernn.importer.trace import Tracer


def layer_axes(dims: Iterable[Dim]) -> list[Axis]:
    """The axes of layers or directions, in order."""
    return [axis for dim in dims for axis in dim if axis.role == "layer"]


def rearranged(flow: Flow, dims: Sequence[Dim]) -> Flow:
    """The flow with its dimensions in another order; its values follow their axes."""
    before, after = layer_axes(flow.dims), layer_axes(dims)
    if len(before) < 2:
        return flow.view(dims)
    order = np.arange(len(flow.values)).reshape([axis.size for axis in before])
    order = order.transpose([before.index(axis) for axis in after])
    return flow.view(dims, values=tuple(flow.values[i] for i in order.reshape(-1)))


def taken(call: Call, flow: Flow, dim: int, begin: int, size: int) -> Flow:
    """`size` layers or directions from `begin` of a dimension."""
    axes = layer_axes(flow.dims)
    shape = [axis.size for axis in axes]
    if prod(shape) != len(flow.values):
        raise call.refuse(
            "takes a part of a state that is an input",
            "pass the state of each layer as an input of its own",
        )
    order = np.arange(len(flow.values)).reshape(shape)
    chosen = order.take(range(begin, begin + size), axis=axes.index(flow.dims[dim][0]))
    dims = [*flow.dims[:dim], (Axis(size, "layer"),), *flow.dims[dim + 1 :]]
    values = tuple(flow.values[i] for i in chosen.reshape(-1))
    return flow.view(dims, values=values, whole=False)


def divided(
    tracer: Tracer, call: Call, flow: Flow, axis: Axis, sizes: Sequence[int]
) -> tuple[Flow, list[Axis]] | None:
    """An axis of layers, or of features, as several of the leading sizes; None if it cannot be.

    Of features all but the last of the new axes are such of directions, as
    `y.view(N, T, 2, H)` has them.
    """
    count = next((n for n in range(2, len(sizes) + 1) if prod(sizes[:n]) == axis.size), 0)
    if not count or axis.role not in ("layer", "feature"):
        return None
    if axis.role == "layer":
        return flow, [Axis(size, "layer") for size in sizes[:count]]
    axes = [other for dim in flow.dims for other in dim]
    if any(other.role == "layer" for other in axes[axes.index(axis) :]):
        return None
    width = sizes[count - 1]
    values = tuple(
        tracer.emit_slice(value, call.node.name, begin, width)
        for value in flow.values
        for begin in range(0, axis.size, width)
    )
    parts = [*(Axis(size, "layer") for size in sizes[: count - 1]), Axis(width, "feature")]
    return flow.view(flow.dims, values=values, whole=False), parts


def side_by_side(tracer: Tracer, call: Call, flow: Flow) -> Flow:
    """Layers and features merged into one dimension, as by h_n.transpose(0, 1).reshape(N, -1), are
    a concatenation."""
    for i, dim in enumerate(flow.dims):
        inner = list(dim[:-1])
        if not inner or dim[-1].role != "feature" or layer_axes([dim]) != inner:
            continue
        groups = _groups(flow, inner)
        values = [tracer.emit("concat", group, call.node.name) for group in groups]
        dims = [*flow.dims[:i], (Axis(dim_size(dim), "feature"),), *flow.dims[i + 1 :]]
        return flow.computed(values, dims)
    return flow


def over_layers(flow: Flow, dims: Iterable[int]) -> bool:
    """Whether these dimensions are layers or directions, nothing else."""
    chosen = [flow.dims[d] for d in dims]
    return bool(chosen) and all(dim and layer_axes([dim]) == list(dim) for dim in chosen)


def added(tracer: Tracer, call: Call, flow: Flow, dims: Iterable[int], keepdim: bool) -> Flow:
    """The sum over dimensions that are layers or directions."""
    chosen = {d % len(flow.dims) for d in dims}
    values = []
    for total, *others in _groups(flow, [axis for d in chosen for axis in flow.dims[d]]):
        for other in others:
            total = tracer.emit("add", (total, other), call.node.name)
        values.append(total)
    kept = [
        () if d in chosen else dim
        for d, dim in enumerate(flow.dims)
        if keepdim or d not in chosen
    ]  # fmt: skip
    return flow.computed(values, kept)


def _groups(flow: Flow, inner: Sequence[Axis]) -> list[list[str]]:
    """The values along some of the layer axes, for each element of the others."""
    axes = layer_axes(flow.dims)
    order = np.arange(len(flow.values)).reshape([axis.size for axis in axes])
    outer = [i for i, axis in enumerate(axes) if axis not in inner]
    order = order.transpose([*outer, *(axes.index(axis) for axis in inner)])
    rows = order.reshape(-1, prod(axis.size for axis in inner))
    return [[flow.values[i] for i in row] for row in rows]
