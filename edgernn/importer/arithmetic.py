"""Element-wise arithmetic: products, differences, constant factors and offsets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgernn.graph import FloatArray
from edgernn.importer.activations import softsign
from edgernn.importer.registry import Call, rule
from edgernn.importer.shapes import join_dims
from edgernn.importer.values import Axis, Const, Dim, Flow, dim_size

if TYPE_CHECKING:
    from edgernn.importer.trace import Tracer


@rule("mul", "mul_")
def mul(tracer: Tracer, call: Call) -> Flow:
    """The product of two values, as of a gate, or with a constant factor per feature."""
    a, b = call["self"], call["other"]
    if isinstance(a, Flow) and isinstance(b, Flow):
        return _binary(tracer, call, "mul", a, b)
    x, factor = (a, b) if isinstance(a, Flow) else (b, a)
    return affine(tracer, call, x, factor, 0.0)


@rule("div", "div_")
def div(tracer: Tracer, call: Call) -> Flow:
    """A value divided by a constant."""
    x, divisor = call["self"], call["other"]
    if isinstance(x, Flow) and isinstance(divisor, Flow):
        quotient = softsign(tracer, call, x, divisor)
        if quotient is not None:
            return quotient
    if not isinstance(x, Flow) or isinstance(divisor, Flow) or call.args.get("rounding_mode"):
        raise call.refuse(
            "divides by a value that the model computes",
            "multiply by a gate instead, or divide outside the model",
        )
    numbers = _numbers(tracer, call, divisor)
    if not numbers.all():
        raise call.refuse("divides by zero", "check the constant")
    return affine(tracer, call, x, Const(_tensor(1.0 / numbers)), 0.0)


@rule("sub", "sub_")
def sub(tracer: Tracer, call: Call) -> Flow:
    """The difference of two values, or of a value and a constant, such as 1 - g."""
    a, b = call["self"], call["other"]
    if call["alpha"] != 1:
        raise call.refuse("scales an operand of the difference", "multiply it before")
    if isinstance(a, Flow) and isinstance(b, Flow):
        return _binary(tracer, call, "sub", a, b)
    if isinstance(a, Flow):
        return affine(tracer, call, a, 1.0, Const(_tensor(-_numbers(tracer, call, b))))
    return affine(tracer, call, b, -1.0, a)


@rule("rsub")
def rsub(tracer: Tracer, call: Call) -> Flow:
    """A constant minus a value, such as 1 - g."""
    if call["alpha"] != 1 or isinstance(call["other"], Flow):
        raise call.refuse("scales an operand of the difference", "multiply it before")
    return affine(tracer, call, call["self"], -1.0, call["other"])


@rule("maximum", "max.other")
def maximum(tracer: Tracer, call: Call) -> Flow:
    """torch.maximum of two values, such as the two directions of a layer."""
    a, b = call["self"], call["other"]
    if not isinstance(a, Flow) or not isinstance(b, Flow):
        raise call.refuse("compares with a constant", "use torch.clamp for a constant bound")
    return _binary(tracer, call, "maximum", a, b)


@rule("neg", "neg_")
def neg(tracer: Tracer, call: Call) -> Flow:
    """The negative of a value."""
    return affine(tracer, call, call["self"], -1.0, 0.0)


def affine(tracer: Tracer, call: Call, x: Flow, factor: Any, offset: Any) -> Flow:
    """Append factor * x + offset, constants of one number or one per feature."""
    position = _feature_position(tracer, call, x)
    size = dim_size(x.dims[position]) if position >= 0 else 1
    arrays = {
        name: _per_feature(tracer, call, value, size, len(x.dims) - 1 - position)
        for name, value in (("weight", factor), ("bias", offset))
    }
    values = [tracer.emit("affine", (value,), call.node.name, arrays) for value in x.values]
    return x.computed(values)


def _feature_position(tracer: Tracer, call: Call, x: Flow) -> int:
    """The axis of x that holds features: the one known to, else the last."""
    for i, dim in enumerate(x.dims):
        if any(axis.role == "feature" for axis in dim):
            return i
    if not x.dims:
        return -1
    if any(axis.role for axis in x.dims[-1]):
        raise call.refuse(
            "cannot tell its features apart", "keep (batch, time, features) apart before it"
        )
    tracer.features(call, x.dims[-1])
    return len(x.dims) - 1


def _numbers(tracer: Tracer, call: Call, value: Any) -> FloatArray:
    if isinstance(value, Const):
        return tracer.array(call, value, "constant")
    return np.asarray(value, np.float32)


def _tensor(array: Any) -> Any:
    from edgernn.importer.extras import require_torch

    return require_torch().from_numpy(np.asarray(array, np.float32))


def _per_feature(tracer: Tracer, call: Call, value: Any, size: int, behind: int) -> FloatArray:
    """A constant as (size,); it may vary along the features alone, `behind` axes from the end."""
    numbers = _numbers(tracer, call, value)
    if not np.isfinite(numbers).all():
        raise call.refuse("has NaN or infinity in a constant", "train the model again")
    wanted = (*((1,) * (numbers.ndim - 1 - behind)), size, *((1,) * behind))
    if numbers.size != 1 and numbers.shape != wanted:
        raise call.refuse(
            f"has a constant of shape {numbers.shape}, not one number per feature",
            "give one number, or one per feature",
        )
    return np.broadcast_to(numbers.reshape(-1), (size,)).astype(np.float32)


def _binary(tracer: Tracer, call: Call, kind: str, a: Flow, b: Flow) -> Flow:
    a, b = _spread(tracer, call, a, b), _spread(tracer, call, b, a)
    dims = join_dims(call, [a, b])
    if a.shape != b.shape or len(a.values) != len(b.values):
        raise call.refuse(
            "combines values of different shapes", "give both operands one shape, with nn.Linear"
        )
    pairs = zip(a.values, b.values, strict=True)
    return a.computed((tracer.emit(kind, pair, call.node.name) for pair in pairs), dims)


def _spread(tracer: Tracer, call: Call, x: Flow, like: Flow) -> Flow:
    """One number a step, such as an attention weight, brought to as many features as the other."""
    last: Dim = x.dims[-1] if x.dims else ()
    if not x.dims or len(x.dims) != len(like.dims) or dim_size(last) != 1:
        return x
    size = dim_size(like.dims[-1])
    if size == 1 or any(axis.role not in (None, "feature") for axis in last):
        return x
    arrays = {"weight": np.ones((size, 1), np.float32), "bias": np.zeros(size, np.float32)}
    values = [tracer.emit("linear", (v,), f"{call.node.name}_spread", arrays) for v in x.values]
    return x.computed(values, (*x.dims[:-1], (Axis(size, "feature"),)))
