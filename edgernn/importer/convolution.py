"""Convolution and pooling over time, (N, C, T): causal ones, which a stream can follow.

A stream has not seen what comes, so all padding must lie in front. It may be asked for in three
ways: by a pad before the layer, by a padding on both sides of which the end is cut off, or by
edgernn.nn.CausalConv1d.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from edgernn.cells.taps import LOWEST
from edgernn.graph import Carried, FloatArray, Node
from edgernn.importer.activations import OPERATORS as ACTIVATIONS
from edgernn.importer.registry import Call, rule
from edgernn.importer.shapes import CAUSAL
from edgernn.importer.values import Axis, Flow, Padding, dim_size, sanitize
from edgernn.runtime.operators import MAX_COLUMNS

if TYPE_CHECKING:
    from edgernn.importer.trace import Tracer

TAKE_PADDED: Final = frozenset(
    [
        "pad",
        "constant_pad_nd",
        "conv1d",
        "convolution",
        "max_pool1d",
        "avg_pool1d",
        "transpose",
        "permute",
        "contiguous",
        "clone",
        "detach",
        "alias",
        "dropout",
        "feature_dropout",
        "alpha_dropout",
        "sym_size",
    ]
)
"""Operators that a value with padding in front may meet."""
_EACH_STEP: Final = [
    "relu",
    "tanh",
    "sigmoid",
    "batch_norm",
    "_native_batch_norm_legit_no_training",
]
TAKE_OVERHANG: Final = TAKE_PADDED.union(
    _EACH_STEP, ["relu_", "tanh_", "sigmoid_"], ACTIVATIONS, ["slice", "narrow"]
)
"""Operators that a value with steps behind the last true one may meet."""
_POOLS: Final = {"max_pool1d": "CausalMaxPool1d", "avg_pool1d": "CausalAvgPool1d"}


@rule("pad", "constant_pad_nd")
def pad(tracer: Tracer, call: Call) -> Flow:
    """F.pad in front of the time axis, before a convolution or a pooling over time."""
    x: Flow = call["self"]
    if call.args.get("mode", "constant") != "constant":
        raise call.refuse("repeats or mirrors what it pads with", "pad with a constant")
    amounts = [int(n) for n in call["pad"]]
    pairs = {len(x.dims) - 1 - i // 2: amounts[i : i + 2] for i in range(0, len(amounts), 2)}
    pairs = {dim: pair for dim, pair in pairs.items() if any(pair)}
    if not pairs:
        return x
    (dim, (before, after)), *others = pairs.items()
    if others or x.moment == "last" or len(x.dims[dim]) != 1 or not x.dims[dim][0].bind("time"):
        raise call.refuse(
            "pads other axes than time", "pad the time axis, in front of a convolution over time"
        )
    fill = float(call.args.get("value") or 0.0)
    if before == 0 and after < 0 and x.padding is not None:
        from edgernn.importer.shapes import without_overhang

        return without_overhang(call, x, dim, 0, dim_size(x.dims[dim]) + after)
    return _padded(call, x, dim, before, after, fill)


@rule("conv1d", "convolution")
def conv1d(tracer: Tracer, call: Call) -> Flow:
    """nn.Conv1d over time, causal, of stride 1, with any dilation and groups."""
    x, weight = call["input"], tracer.array(call, call["weight"], "weight")
    if not isinstance(x, Flow) or weight.ndim != 3 or call.args.get("transposed"):
        raise call.refuse("is no convolution over time", f"{CAUSAL}, on (batch, channels, time)")
    rows, columns, taps = weight.shape
    groups, dilation = int(call["groups"]), _one(call["dilation"])
    bias = np.zeros(rows, np.float32)
    if call["bias"] is not None:
        bias = tracer.array(call, call["bias"], "bias")
    padding = call["padding"]
    if isinstance(padding, str):
        # Every second (kernel_size - 1) * dilation is split evenly, the rest goes behind.
        reach = (taps - 1) * dilation if padding == "same" else 0
        before, after = reach // 2, reach - reach // 2
    else:
        before = after = _one(padding)
    size = _channels(tracer, call, x)
    stacked = taps * columns * max(1, groups // 8)
    if columns * groups != size or stacked > MAX_COLUMNS:
        raise call.refuse(
            f"reads {taps * columns} numbers for each output", f"read at most {MAX_COLUMNS}"
        )
    pool = Span("conv1d", taps, dilation, _one(call["stride"]), before, after, 0.0)
    path = call["weight"].path.rpartition(".")[0]
    arrays = {"weight": weight, "bias": bias}
    return _causal(tracer, call, x, pool, rows, arrays, {"groups": float(groups)}, path)


@rule("max_pool1d")
def max_pool1d(tracer: Tracer, call: Call) -> Flow:
    """nn.MaxPool1d over the last steps, of stride 1."""
    x: Flow = call["self"]
    return _causal(tracer, call, x, _pool(call, float("-inf")), _channels(tracer, call, x), {}, {})


@rule("avg_pool1d")
def avg_pool1d(tracer: Tracer, call: Call) -> Flow:
    """nn.AvgPool1d over the last steps, of stride 1: a filter of equal weights."""
    x: Flow = call["self"]
    size, span = _channels(tracer, call, x), _pool(call, 0.0)
    if span.before and not call["count_include_pad"]:
        raise call.refuse(
            "divides by fewer steps at the start", "leave count_include_pad as it is, True"
        )
    weight = np.full((size, 1, span.taps), 1.0 / span.taps, np.float32)
    arrays = {"weight": weight, "bias": np.zeros(size, np.float32)}
    return _causal(tracer, call, x, span, size, arrays, {"groups": float(size)})


@dataclass(frozen=True)
class Span:
    """What a layer reads of time: `before` and `after` are its own padding, of value `fill`."""

    kind: str
    taps: int
    dilation: int
    stride: int
    before: int
    after: int
    fill: float


def _pool(call: Call, fill: float) -> Span:
    taps = _one(call["kernel_size"])
    stride = _one(call["stride"] or [taps])
    own = _one(call["padding"])
    if call["ceil_mode"] and stride > 1:
        raise call.refuse("rounds its length up", "leave ceil_mode as it is, False")
    kind = call.operator.split(".")[1]
    return Span(kind, taps, _one(call.args.get("dilation", 1)), stride, own, own, fill)


def _causal(
    tracer: Tracer,
    call: Call,
    x: Flow,
    span: Span,
    rows: int,
    arrays: dict[str, FloatArray],
    numbers: dict[str, float],
    path: str = "",
) -> Flow:
    """Append the layer, if every step depends on it and on earlier ones alone."""
    module = f"edgernn.nn.{_POOLS.get(span.kind, 'CausalConv1d')}"
    if span.stride > 1:
        raise call.refuse(
            f"has stride {span.stride}, so not every step of the stream has a result",
            f"stack {span.stride} steps into the features of one outside the model, "
            f"x.reshape(N, T // {span.stride}, {span.stride} * F), and use {module} on them",
        )
    if span.before or span.after:
        x = _padded(call, x, 2, span.before, span.after, span.fill)
    reach = (span.taps - 1) * span.dilation
    before = x.padding.before if x.padding else 0
    if before < reach:
        ahead = min(reach - before, x.padding.after) if x.padding else 0
        what = f"looks {ahead} steps ahead" if ahead else f"shortens the sequence by {reach}"
        raise call.refuse(
            f"{what}, which a stream cannot", f"use {module}, which pads {reach} in front"
        )
    if before > reach:
        raise call.refuse(
            f"has {before} steps of padding in front and reads {reach} of them",
            f"use {module}, which pads {reach} in front",
        )
    time, dims, rest = x.dims[2], list(x.dims), None
    fill = LOWEST if span.kind == "max_pool1d" else 0.0
    if x.padding is not None:
        time, fill = (x.padding.time,), x.padding.fill
        if x.padding.after:
            time = (Axis(x.padding.time.size + x.padding.after, "time"),)
            rest = Padding(x.padding.time, 0, x.padding.after)
    dims[1], dims[2] = (Axis(rows, "feature"),), time
    value = _append(tracer, call, x, span, arrays, numbers, fill, path or call.node.name)
    return x.view(dims, values=(value,), padding=rest, storage=object())


def _append(
    tracer: Tracer,
    call: Call,
    x: Flow,
    span: Span,
    arrays: dict[str, FloatArray],
    numbers: dict[str, float],
    fill: float,
    wanted: str,
) -> str:
    """The node; one tap needs no buffer, so it is a layer without state."""
    (read,), size = x.values, dim_size(x.dims[1])
    numbers = {"dilation": float(span.dilation), **numbers}
    if span.taps == 1:
        return read if not arrays else tracer.emit("linear", x.values, wanted, _dense(arrays, size))
    if not np.isfinite(fill):
        if span.kind != "max_pool1d" or fill > 0:
            raise call.refuse("pads with infinity", "pad with zeros")
        fill = float(LOWEST)
    (state,) = tracer.names.state(sanitize(wanted), "buffer", 1)
    value = tracer.names.value(sanitize(wanted))
    buffer = tracer.names.value(f"{sanitize(wanted)[:10]}_past")
    initial = np.full((span.taps - 1) * span.dilation * size, fill, np.float32)
    kind = "max_pool1d" if span.kind == "max_pool1d" else "conv1d"
    carried = (Carried(state, buffer, initial),)
    node = Node(kind, (read,), (value, buffer), arrays, carried, numbers=numbers)
    tracer.nodes.append(node)
    return value


def _dense(arrays: dict[str, FloatArray], size: int) -> dict[str, FloatArray]:
    """A filter of one tap as the weight and bias of a Linear."""
    weight, columns = arrays["weight"][:, :, 0], arrays["weight"].shape[1]
    rows, groups = len(weight), size // columns
    dense = np.zeros((rows, size), np.float32)
    for group in range(groups):
        own = slice(group * rows // groups, (group + 1) * rows // groups)
        dense[own, group * columns : (group + 1) * columns] = weight[own]
    return {"weight": dense, "bias": arrays["bias"]}


def _channels(tracer: Tracer, call: Call, x: Flow) -> int:
    """Bind the axes of (N, C, T); the number of channels."""
    if not isinstance(x, Flow) or len(x.dims) != 3 or len(x.values) != 1 or x.moment == "last":
        raise call.refuse("does not read a sequence", "feed it (batch, channels, time)")
    for position, role in ((0, "batch"), (2, "time")):
        dim = x.dims[position]
        if len(dim) > 1 or (role == "time" and not dim) or not all(a.bind(role) for a in dim):
            found = dim[0].role if len(dim) == 1 else "merged or missing"
            raise call.refuse(
                f"reads axis {position} as {role}, and that axis is {found}",
                "transpose (batch, time, features) to (batch, channels, time) before it",
            )
    return tracer.features(call, x.dims[1])


def _padded(call: Call, x: Flow, dim: int, before: int, after: int, fill: float) -> Flow:
    """The flow with more padding; that of earlier layers counts in."""
    held = x.padding or Padding(x.dims[dim][0], 0, 0, fill)
    if before and held.before and held.fill != fill:
        raise call.refuse("pads with two different values", "pad once, with zeros")
    total = Padding(
        held.time,
        held.before + before,
        held.after + after,
        fill if before else held.fill,
    )
    if min(total.before, total.after) < 0:
        raise call.refuse(
            "shifts the steps of the sequence", f"cut off what padding added at the end; {CAUSAL}"
        )
    size = held.time.size + total.before + total.after
    dims = (*x.dims[:dim], (Axis(size, "time"),), *x.dims[dim + 1 :])
    return x.view(dims, padding=total, storage=object())


def _one(value: Any) -> int:
    """A number given as such or as a list of one."""
    (number,) = value if isinstance(value, (list, tuple)) else (value,)
    return int(number)
