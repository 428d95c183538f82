"""Layers without state: each rule appends nodes to the graph, one per layer of its operand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgernn.importer.arithmetic import affine
from edgernn.importer.layer_axes import added, over_layers
from edgernn.importer.refusals import POOLED, TOKENS
from edgernn.importer.registry import Call, rule
from edgernn.importer.shapes import join_dims
from edgernn.importer.values import Axis, Const, Flow

if TYPE_CHECKING:
    from edgernn.importer.trace import Tracer


def _unary(tracer: Tracer, call: Call, kind: str) -> Flow:
    x: Flow = call["self"]
    return x.computed(tracer.emit(kind, (value,), call.node.name) for value in x.values)


@rule("relu", "relu_")
def relu(tracer: Tracer, call: Call) -> Flow:
    """nn.ReLU, torch.relu."""
    return _unary(tracer, call, "relu")


@rule("tanh", "tanh_")
def tanh(tracer: Tracer, call: Call) -> Flow:
    """nn.Tanh, torch.tanh."""
    return _unary(tracer, call, "tanh")


@rule("sigmoid", "sigmoid_")
def sigmoid(tracer: Tracer, call: Call) -> Flow:
    """nn.Sigmoid, torch.sigmoid."""
    return _unary(tracer, call, "sigmoid")


@rule("linear")
def linear(tracer: Tracer, call: Call) -> Flow:
    """nn.Linear, with or without bias."""
    return _linear(tracer, call, call["input"], call["weight"], call["bias"], transposed=False)


@rule("matmul", "mm")
def matmul(tracer: Tracer, call: Call) -> Flow:
    """x @ W with a constant W, as a Linear without bias."""
    right = call.args.get("other", call.args.get("mat2"))
    return _linear(tracer, call, call["self"], right, None, transposed=True)


@rule("addmm")
def addmm(tracer: Tracer, call: Call) -> Flow:
    """b + x @ W with constant b and W, as a Linear."""
    if call["beta"] != 1 or call["alpha"] != 1:
        raise call.refuse("scales its operands", "use nn.Linear")
    return _linear(tracer, call, call["mat1"], call["mat2"], call["self"], transposed=True)


def _linear(
    tracer: Tracer, call: Call, x: Any, weight: Any, bias: Any, *, transposed: bool
) -> Flow:
    if not isinstance(x, Flow) or not isinstance(weight, Const) or weight.tensor.dim() != 2:
        raise call.refuse(
            "multiplies activations with each other, as attention does",
            "use recurrent layers in place of attention, and nn.Linear for products with weights",
        )
    matrix = tracer.array(call, weight, "weight")
    matrix = np.ascontiguousarray(matrix.T) if transposed else matrix
    rows, columns = matrix.shape
    if tracer.features(call, x.dims[-1]) != columns:
        raise call.refuse("does not fit the features it reads", "export the model again")
    offset = np.zeros(rows, np.float32)
    if bias is not None:
        offset = tracer.array(call, bias, "bias")
        if offset.shape != (rows,):
            raise call.refuse("has a bias that is not one number per output", "use nn.Linear")
    wanted = weight.path.rpartition(".")[0] or call.node.name
    arrays = {"weight": matrix, "bias": offset}
    values = [tracer.emit("linear", (value,), wanted, arrays) for value in x.values]
    return x.computed(values, (*x.dims[:-1], (Axis(rows, "feature"),)))


@rule("dropout", "dropout_", "feature_dropout", "alpha_dropout", "native_dropout")
def dropout(tracer: Tracer, call: Call) -> Any:
    """nn.Dropout in a model in eval mode, where it does nothing."""
    if call["train"] and call["p"] > 0:
        raise call.refuse(
            "drops values at random, because the model was exported in training mode",
            "call model.eval() first, then export it again",
            layer="nn.Dropout",
        )
    x = call["input"]
    return [x, None] if ".native_dropout." in call.operator else x


@rule("contiguous", "detach", "detach_", "alias", "lift_fresh_copy", "clone")
def same(tracer: Tracer, call: Call) -> Flow:
    """contiguous, detach, clone: the same numbers."""
    x: Flow = call["self"]
    if ".clone." in call.operator:
        return x.view(x.dims, storage=object())
    return x


@rule("to", "_to_copy", "type_as")
def cast(tracer: Tracer, call: Call) -> Flow:
    """Casts between floating point types: the same numbers, computed in float32."""
    x: Flow = call["self"]
    value: Any = call.node.meta.get("val")
    if x.integer and hasattr(value, "dtype"):
        if value.dtype.is_floating_point or value.dtype.is_complex:
            raise call.refuse(TOKENS.reason, TOKENS.way_out)
        return x
    if hasattr(value, "dtype") and not value.dtype.is_floating_point:
        raise call.refuse(
            "casts to integers", "keep the model in floating point; edgernn quantizes"
        )
    return x


@rule("add", "add_")
def add(tracer: Tracer, call: Call) -> Flow:
    """The sum of two values of the same shape, as in a residual connection, or with a constant."""
    a, b = call["self"], call["other"]
    if call["alpha"] != 1:
        raise call.refuse("scales an operand of the sum", "use nn.Linear for the factor")
    if not isinstance(a, Flow) or not isinstance(b, Flow):
        x, offset = (a, b) if isinstance(a, Flow) else (b, a)
        return affine(tracer, call, x, 1.0, offset)
    dims = join_dims(call, [a, b])
    if a.shape != b.shape or len(a.values) != len(b.values):
        raise call.refuse(
            "adds values of different shapes", "give both operands one shape, with nn.Linear"
        )
    pairs = zip(a.values, b.values, strict=True)
    return a.computed((tracer.emit("add", pair, call.node.name) for pair in pairs), dims)


@rule("cat", "concat", "concatenate")
def cat(tracer: Tracer, call: Call) -> Flow:
    """torch.cat on the feature axis."""
    parts = list(call["tensors"])
    if not all(isinstance(part, Flow) for part in parts):
        raise call.refuse("joins a constant to a value", "feed the constant as an input feature")
    flows: list[Flow] = parts
    rank = len(flows[0].dims)
    dim = call["dim"] % rank
    dims = list(join_dims(call, flows, skip=dim))
    roles = {axis.role for flow in flows for axis in flow.dims[dim]}
    if "layer" in roles:
        values = [value for flow in flows for value in flow.values]
        dims[dim] = (Axis(len(values), "layer"),)
        whole = all(flow.whole for flow in flows)
        return flows[0].view(dims, values=tuple(values), whole=whole)
    if roles & {"time", "batch"}:
        raise call.refuse(
            "joins values along batch or time", "join features, with torch.cat(..., dim=-1)"
        )
    size = sum(tracer.features(call, flow.dims[dim]) for flow in flows)
    dims[dim] = (Axis(size, "feature"),)
    if len(flows) == 1:
        return flows[0]
    layers = zip(*(flow.values for flow in flows), strict=True)
    return flows[0].computed((tracer.emit("concat", v, call.node.name) for v in layers), dims)


@rule("stack")
def stack(tracer: Tracer, call: Call) -> Flow:
    """torch.stack of layers or directions, to be added, averaged or flattened then."""
    flows: list[Flow] = list(call["tensors"])
    if not all(isinstance(flow, Flow) and len(flow.values) == 1 for flow in flows):
        raise call.refuse(
            "stacks other things than vectors of features", "join them with torch.cat(..., dim=-1)"
        )
    dims = list(join_dims(call, flows))
    dims.insert(call["dim"] % (len(dims) + 1), (Axis(len(flows), "layer"),))
    return flows[0].computed([value for flow in flows for value in flow.values], dims)


@rule("sum.dim_IntList")
def total(tracer: Tracer, call: Call) -> Flow:
    """h_n.sum(0): the sum over layers or directions."""
    x: Flow = call["self"]
    if not over_layers(x, call["dim"] or ()):
        raise call.refuse(POOLED.reason, POOLED.way_out)
    return added(tracer, call, x, call["dim"], call["keepdim"])
