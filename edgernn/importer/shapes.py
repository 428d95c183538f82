"""Reshapes, selections and transpositions, by the meaning of the axes they touch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from edgernn.importer.layer_axes import divided, layer_axes, rearranged, side_by_side, taken
from edgernn.importer.registry import Call, rule
from edgernn.importer.values import Axis, Const, Dim, Flow, dim_size

if TYPE_CHECKING:
    from edgernn.importer.trace import Tracer

SIZE_OPERATORS: Final = frozenset({"sym_size", "sym_numel", "zeros_like", "new_zeros"})
_STREAM: Final = (
    "take the last step, y[:, -1], or return every step and choose outside the model; a model that "
    "reads what a layer with bidirectional=True has run backwards can take the first, y[:, 0], too"
)
CAUSAL: Final = "use edgernn.nn.CausalConv1d, which pads (kernel_size - 1) * dilation in front"
_LAYERS: Final = (
    "put the states of layers side by side with torch.cat([h[-2], h[-1]], dim=1), or with "
    "h.transpose(0, 1).reshape(N, -1)"
)
_LAYOUT: Final = "keep (batch, time, features) apart; only merge or split batch and time"


def join_dims(call: Call, flows: Sequence[Flow], skip: int | None = None) -> tuple[Dim, ...]:
    """Make the axes of several operands the same, but for one; their common dimensions."""
    first = flows[0]
    for flow in flows[1:]:
        if flow.moment != first.moment:
            raise call.refuse(
                "joins the last step of a sequence with values of every step",
                "take the last step of both, or of neither",
            )
        same = len(flow.dims) == len(first.dims)
        for i, (a, b) in enumerate(zip(first.dims, flow.dims, strict=False)):
            if i != skip:
                same &= len(a) == len(b)
                same &= all(p.join(q) for p, q in zip(a, b, strict=False))
        if not same:
            raise call.refuse(
                "joins values whose axes mean different things",
                "bring both operands to (batch, time, features) first",
            )
    return first.dims


def _drop(tracer: Tracer, call: Call, flow: Flow, axes: Sequence[Axis]) -> dict[str, Any]:
    """What changes in a flow when axes of size one vanish."""
    changes: dict[str, Any] = {}
    for axis in axes:
        if axis.role == "time":
            changes |= _picked(tracer, call, flow)
        if axis.role == "layer":
            changes["whole"] = False
    return changes


def _picked(tracer: Tracer, call: Call, flow: Flow, place: str = "last") -> dict[str, Any]:
    """What changes in a flow of which only the last, or the first, step is kept."""
    if flow.moment == "last":
        return {}
    values = tuple(tracer.emit(place, (v,), f"{call.node.name}_{place}") for v in flow.values)
    if place == "first":
        tracer.first_steps.update(dict.fromkeys(values, call))
    return {"moment": "last", "values": values}


def refuse_first_step(call: Call) -> Exception:
    """Of a model that streams."""
    return call.refuse(
        "takes the first step, and a stream has no numbered steps",
        f"{_STREAM}; with an example of one step, use squeeze",
    )


def pick_last(tracer: Tracer, call: Call, flow: Flow) -> Flow:
    """A flow whose axis of time is gone, at its last step."""
    return flow.view(flow.dims, **_picked(tracer, call, flow))


def reshape_to(tracer: Tracer, call: Call, flow: Flow, target: Sequence[int]) -> Flow:
    """The flow in another shape; refused unless it merges, splits or adds whole axes."""
    total = 1
    for size in flow.shape:
        total *= size
    known = 1
    for size in target:
        known *= 1 if size == -1 else size
    sizes = [total // max(known, 1) if size == -1 else size for size in target]
    if tuple(sizes) == flow.shape:
        return flow
    queue = [axis for dim in flow.dims for axis in dim]
    dims: list[Dim] = []
    dropped: list[Axis] = []
    for i, size in enumerate(sizes):
        group: list[Axis] = []
        product = 1
        # An axis of size one stays where the new shape still has room for it.
        if size == 1 and queue and queue[0].size == 1 and len(queue) >= len(sizes) - i:
            group.append(queue.pop(0))
        if not group and queue and 1 < size < queue[0].size:
            division = divided(tracer, call, flow, queue[0], sizes[i:])
            if division is not None:
                flow, queue[:1] = division
        while product < size and queue:
            axis = queue.pop(0)
            product *= axis.size
            group.append(axis)
        if product != size:
            raise call.refuse(
                f"reshapes {flow.shape} to {tuple(sizes)}, which mixes the numbers of different "
                "axes",
                _LAYERS if layer_axes(flow.dims) else _LAYOUT,
            )
        if len(group) > 1:
            dropped += [axis for axis in group if axis.size == 1]
            group = [axis for axis in group if axis.size != 1]
        dims.append(tuple(group))
    dropped += queue
    result = flow.view(dims, **_drop(tracer, call, flow, dropped))
    return side_by_side(tracer, call, result)


@rule("view", "reshape", "_unsafe_view", "view_as", "reshape_as")
def reshape(tracer: Tracer, call: Call) -> Flow:
    """Reshapes that merge, split or add whole axes, such as y.reshape(N * T, H)."""
    target = call.args.get("size", call.args.get("shape"))
    if target is None:
        target = call["other"].shape
    return reshape_to(tracer, call, call["self"], target)


@rule("flatten")
def flatten(tracer: Tracer, call: Call) -> Flow:
    """flatten of batch and time."""
    x: Flow = call["self"]
    start, end = call["start_dim"] % len(x.dims), call["end_dim"] % len(x.dims)
    return reshape_to(tracer, call, x, [*x.shape[:start], -1, *x.shape[end + 1 :]])


@rule("unflatten")
def unflatten(tracer: Tracer, call: Call) -> Flow:
    """unflatten of merged batch and time."""
    x: Flow = call["self"]
    dim = call["dim"] % len(x.dims)
    sizes, known = list(call["sizes"]), 1
    for size in sizes:
        known *= 1 if size == -1 else size
    sizes = [x.shape[dim] // max(known, 1) if size == -1 else size for size in sizes]
    return reshape_to(tracer, call, x, [*x.shape[:dim], *sizes, *x.shape[dim + 1 :]])


@rule("unsqueeze")
def unsqueeze(tracer: Tracer, call: Call) -> Flow:
    """A new axis of size one."""
    x: Flow = call["self"]
    dim = call["dim"] % (len(x.dims) + 1)
    return x.view([*x.dims[:dim], (), *x.dims[dim:]])


@rule("squeeze")
def squeeze(tracer: Tracer, call: Call) -> Flow:
    """Axes of size one taken away."""
    x: Flow = call["self"]
    wanted = call.args.get("dim", range(len(x.dims)))
    chosen = [wanted] if isinstance(wanted, int) else list(wanted)
    gone = [d % len(x.dims) for d in chosen if dim_size(x.dims[d]) == 1]
    dropped = [axis for d in gone for axis in x.dims[d]]
    dims = [dim for d, dim in enumerate(x.dims) if d not in gone]
    return x.view(dims, **_drop(tracer, call, x, dropped))


@rule("expand", "broadcast_to", "expand_as")
def expand(tracer: Tracer, call: Call) -> Flow:
    """expand to the shape a value already has."""
    x: Flow = call["self"]
    target = list(call["size"]) if "size" in call.args else list(call["other"].shape)
    new = len(target) - len(x.dims)
    sizes = [x.shape[i - new] if n == -1 and i >= new else n for i, n in enumerate(target)]
    if any(n != 1 for n in sizes[:new]) or tuple(sizes[new:]) != x.shape:
        raise call.refuse(
            "repeats a value along a new axis, such as one step for all steps",
            "feed the repeated features with every step",
        )
    return x.view([*([()] * new), *x.dims])


@rule("transpose", "transpose_", "swapaxes", "swapdims")
def transpose(tracer: Tracer, call: Call) -> Flow:
    """transpose of two axes, such as batch and time."""
    x: Flow = call["self"]
    a, b = (value for name, value in call.args.items() if name != "self")
    dims = list(x.dims)
    dims[a], dims[b] = dims[b], dims[a]
    return rearranged(x, dims)


@rule("permute", "movedim", "t", "numpy_T", "mT")
def permute(tracer: Tracer, call: Call) -> Flow:
    """permute of the axes."""
    x: Flow = call["self"]
    rank = len(x.dims)
    if ".permute." in call.operator:
        order = [d % rank for d in call["dims"]]
    elif ".movedim." in call.operator:
        sources, targets = ([v] if isinstance(v, int) else v
                            for v in (call["source"], call["destination"]))  # fmt: skip
        order = [d for d in range(rank) if d not in [s % rank for s in sources]]
        for target, source in sorted(
            (t % rank, s % rank) for s, t in zip(sources, targets, strict=True)
        ):
            order.insert(target, source)
    else:
        order = list(reversed(range(rank)))
        if ".mT." in call.operator:
            order = [*range(rank - 2), rank - 1, rank - 2]
    return rearranged(x, [x.dims[d] for d in order])


def _run(tracer: Tracer, call: Call, x: Flow, dim: int, begin: int, size: int) -> Flow:
    """`size` elements from `begin` of one dimension, kept as a dimension."""
    axes, total = x.dims[dim], x.shape[dim]
    if (begin, size) == (0, total):
        return x
    if x.padding is not None and [axis.role for axis in axes] == ["time"]:
        return without_overhang(call, x, dim, begin, size)
    if not 0 <= begin <= begin + size <= total or size < 1:
        raise call.refuse("takes an empty or impossible part", "check its bounds")
    role = axes[0].role if len(axes) == 1 else "merged"
    if role is None:
        role = "feature" if dim == len(x.dims) - 1 else "unknown"
    dims = list(x.dims)
    if role == "feature":
        tracer.features(call, axes)
        dims[dim] = (Axis(size, "feature"),)
        values = [tracer.emit_slice(v, call.node.name, begin, size) for v in x.values]
        # A slice is a view of its operand, so in-place operators see both.
        return x.view(dims, values=tuple(values), whole=False)
    if role == "layer":
        return taken(call, x, dim, begin, size)
    last = role in ("time", "unknown") and begin == total - 1
    if size == 1 and (last or (role == "time" and begin == 0)):
        axes[0].bind("time")
        dims[dim] = ()
        return x.view(dims, **_picked(tracer, call, x, "last" if last else "first"))
    if role in ("time", "unknown"):
        raise call.refuse(
            f"takes steps {begin} to {begin + size - 1} of {total}, and a stream has no numbered "
            "steps",
            _STREAM,
        )
    raise call.refuse(
        "takes a part of the batch", "keep the whole batch; every sequence is computed alike"
    )


def without_overhang(call: Call, x: Flow, dim: int, begin: int, size: int) -> Flow:
    """What padding has put behind the last true step is cut off."""
    padding = x.padding
    if padding is None or padding.before or (begin, size) != (0, padding.time.size):
        raise call.refuse(
            "cuts other steps off than those that the padding of a convolution added at the end",
            f"cut exactly these, y[..., :-P], or {CAUSAL}",
        )
    return x.view((*x.dims[:dim], (padding.time,), *x.dims[dim + 1 :]), padding=None)


@rule("select")
def select(tracer: Tracer, call: Call) -> Flow:
    """y[:, -1] (the last step), h_n[-1] (a layer), y[..., 0] (a feature); y[:, 0] (the first step)
    of a model with bidirectional layers."""
    x: Flow = call["self"]
    dim, index = call["dim"] % len(x.dims), call["index"]
    total = x.shape[dim]
    axes = x.dims[dim]
    role = axes[0].role if len(axes) == 1 else None
    if role == "time" and total == 1 and index == 0:
        return x.view([*x.dims[:dim], *x.dims[dim + 1 :]], **_picked(tracer, call, x, "first"))
    begin = index % total if -total <= index < total else -1
    part = _run(tracer, call, x, dim, begin, 1)
    dropped = part.dims[dim]
    dims = [d for i, d in enumerate(part.dims) if i != dim]
    return part.view(dims, **_drop(tracer, call, part, dropped))


@rule("slice")
def slice_(tracer: Tracer, call: Call) -> Flow:
    """y[:, -1:] (the last step), y[..., a:b] (features)."""
    x: Flow = call["self"]
    dim = call["dim"] % len(x.dims)
    if x.shape[dim] == 1 and call["start"] == -1 and [a.role for a in x.dims[dim]] == ["time"]:
        # With an example of one step, [:, -1:] changes nothing and still means the last.
        return x.view([*x.dims[:dim], (), *x.dims[dim + 1 :]], **_picked(tracer, call, x))
    begin, end, _ = slice(call["start"], call["end"]).indices(x.shape[dim])
    if call["step"] != 1:
        raise call.refuse("skips elements", "take a contiguous run of features, or every step")
    return _run(tracer, call, x, dim, begin, end - begin)


@rule("narrow")
def narrow(tracer: Tracer, call: Call) -> Flow:
    """narrow on features."""
    x: Flow = call["self"]
    dim = call["dim"] % len(x.dims)
    begin = call["start"]
    if isinstance(begin, (Const, Flow)):
        raise call.refuse("takes a part whose place is computed", "use constant bounds")
    return _run(tracer, call, x, dim, begin % x.shape[dim], call["length"])


@rule("split", "split_with_sizes", "chunk", "unbind")
def split(tracer: Tracer, call: Call) -> list[Flow]:
    """split, chunk and unbind on features or layers."""
    x: Flow = call["self"]
    dim = call["dim"] % len(x.dims)
    total = x.shape[dim]
    if ".chunk." in call.operator:
        each: Any = -(-total // call["chunks"])
    elif ".unbind." in call.operator:
        each = 1
    else:
        each = call.args.get("split_size", call.args.get("split_sizes"))
    if isinstance(each, int):
        each = [min(each, total - begin) for begin in range(0, total, max(each, 1))]
    parts, begin = [], 0
    for size in each:
        part = _run(tracer, call, x, dim, begin, size)
        begin += size
        if ".unbind." in call.operator:
            dims = [d for i, d in enumerate(part.dims) if i != dim]
            part = part.view(dims, **_drop(tracer, call, part, part.dims[dim]))
        parts.append(part)
    return parts


@rule("sym_size")
def size_of(tracer: Tracer, call: Call) -> int:
    """x.shape[i]: a number while the graph is read."""
    x: Flow = call["self"]
    dim: int = call["dim"]
    return x.shape[dim]


@rule("zeros_like", "new_zeros")
def zeros(tracer: Tracer, call: Call) -> Const:
    """Zeros shaped after a value, such as an initial state."""
    from edgernn.importer.extras import require_torch

    x: Flow = call["self"]
    return Const(require_torch().zeros(list(call.args.get("size", x.shape))))
