"""Activation functions: each rule appends one node, or an equal one of other nodes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from edgernn.importer.registry import Call, rule
from edgernn.importer.values import Const, Flow

if TYPE_CHECKING:
    from edgernn.importer.trace import Tracer

_NAMED: Final = (
    *("gelu", "silu", "mish", "elu", "selu", "celu", "leaky_relu"),
    *("hardsigmoid", "hardswish", "log_sigmoid", "exp", "abs"),
)
_CLAMPS: Final = ("clamp", "clip", "clamp_min", "clamp_max", "hardtanh", "relu6")
_BOUNDS: Final = {"min": "min", "min_val": "min", "max": "max", "max_val": "max"}


def _with_in_place(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name + end for name in names for end in ("", "_"))


OPERATORS: Final = _with_in_place(
    (*_NAMED, *_CLAMPS, "prelu", "rrelu", "square", "pow", "softplus")
)
"""Operators that work element by element, at each step alone."""


@rule(*_with_in_place(_NAMED))
def activation(tracer: Tracer, call: Call) -> Flow:
    """nn.GELU (both forms), SiLU, Mish, ELU, SELU, CELU, LeakyReLU, Hardsigmoid, Hardswish,
    Softsign, LogSigmoid, torch.exp and torch.abs."""
    kind = _packet(call).removesuffix("_")
    if call.args.get("approximate") == "tanh":
        kind = "gelu_tanh"
    numbers = {n: float(v) for n, v in call.args.items() if isinstance(v, (int, float))}
    return _each(tracer, call, kind, numbers)


@rule(*_with_in_place(_CLAMPS))
def clamp(tracer: Tracer, call: Call) -> Flow:
    """torch.clamp, nn.Hardtanh and nn.ReLU6, with bounds that are numbers."""
    given = {_BOUNDS[n]: v for n, v in call.args.items() if n in _BOUNDS and v is not None}
    if "relu6" in call.operator:
        given = {"min": 0.0, "max": 6.0}
    if not all(isinstance(v, (int, float)) and not math.isnan(v) for v in given.values()):
        raise call.refuse("has bounds that are no numbers", "clamp with one number for each bound")
    return _each(tracer, call, "clamp", {n: float(v) for n, v in given.items()})


@rule("prelu")
def prelu(tracer: Tracer, call: Call) -> Flow:
    """nn.PReLU, with one weight or one per feature."""
    x: Flow = call["self"]
    weight = tracer.array(call, call["weight"], "weight").reshape(-1)
    if weight.size == 1:
        return _each(tracer, call, "leaky_relu", {"negative_slope": float(weight[0])})
    if len(x.dims) < 2 or any(a.role not in ("feature", None) for a in x.dims[1]):
        raise call.refuse(
            "has a weight per step, since PyTorch takes axis 1 for the features",
            "use nn.PReLU() with one weight, or transpose to (batch, features, time) around it",
        )
    tracer.features(call, x.dims[1])
    name, zeros = call.node.name, np.zeros_like(weight)
    values = []
    for value in x.values:
        parts = [
            tracer.emit("affine", (part,), name, {"weight": factor, "bias": zeros})
            for part, factor in (
                (value, weight),
                (tracer.emit("relu", (value,), name), 1 - weight),
            )
        ]
        values.append(tracer.emit("add", parts, name))
    return x.computed(values)


@rule("rrelu", "rrelu_")
def rrelu(tracer: Tracer, call: Call) -> Flow:
    """nn.RReLU in a model in eval mode, where its slope is a constant."""
    if call["training"]:
        raise call.refuse(
            "draws its slope at random, because the model was exported in training mode",
            "call model.eval() first, then export it again",
        )
    slope = (call["lower"] + call["upper"]) / 2
    return _each(tracer, call, "leaky_relu", {"negative_slope": float(slope)})


@rule("square", "square_", "pow", "pow_")
def power(tracer: Tracer, call: Call) -> Flow:
    """torch.square, x ** 2 and x ** 3, as products."""
    x, exponent = call["self"], call.args.get("exponent", 2)
    if not isinstance(x, Flow) or isinstance(exponent, (Flow, Const)) or exponent not in (2, 3):
        raise call.refuse(
            "raises to a power other than 2 and 3", "use a product of values, or torch.exp"
        )
    values = x.values
    for _ in range(int(exponent) - 1):
        pairs = zip(values, x.values, strict=True)
        values = tuple(tracer.emit("mul", pair, call.node.name) for pair in pairs)
    return x.computed(values)


def softsign(tracer: Tracer, call: Call, x: Flow, divisor: Flow) -> Flow | None:
    """x / (1 + |x|), which is what an export makes of nn.Softsign; None for another quotient."""
    made = {node.name: node for node in tracer.nodes}
    for value, below in zip(x.values, divisor.values, strict=False):
        offset = made.get(below)
        if offset is None or offset.kind != "affine":
            return None
        size = made.get(offset.inputs[0])
        if size is None or size.kind != "abs" or size.inputs != (value,):
            return None
        if not all((array == 1).all() for array in offset.arrays.values()):
            return None
    return _each(tracer, call, "softsign", {}) if len(x.values) == len(divisor.values) else None


def _packet(call: Call) -> str:
    return call.operator.split(".")[1]


def _each(tracer: Tracer, call: Call, kind: str, numbers: dict[str, float]) -> Flow:
    x: Flow = call["self"]
    name = call.node.name
    return x.computed(tracer.emit(kind, (v,), name, numbers=numbers) for v in x.values)
