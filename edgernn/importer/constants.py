"""What does not depend on the model's input is computed while the graph is read."""

from __future__ import annotations

from typing import Any, Final

from edgernn.importer.extras import require_torch
from edgernn.importer.registry import Call
from edgernn.importer.values import Const

MAX_ELEMENTS: Final = 1 << 27
_CREATED: Final = frozenset(["zeros", "ones", "full", "scalar_tensor"])
_COMPUTED: Final = frozenset(
    [
        "zeros_like",
        "ones_like",
        "full_like",
        "new_zeros",
        "new_ones",
        "new_full",
        "expand",
        "expand_as",
        "repeat",
        "tile",
        "broadcast_to",
        "unsqueeze",
        "squeeze",
        "view",
        "reshape",
        "view_as",
        "_unsafe_view",
        "flatten",
        "unflatten",
        "transpose",
        "permute",
        "movedim",
        "t",
        "numpy_T",
        "mT",
        "contiguous",
        "clone",
        "detach",
        "alias",
        "lift_fresh_copy",
        "to",
        "_to_copy",
        "type_as",
        "cat",
        "stack",
        "select",
        "slice",
        "narrow",
        "split",
        "split_with_sizes",
        "chunk",
        "unbind",
        "tanh",
        "sigmoid",
        "relu",
        "add",
        "sub",
        "mul",
        "div",
        "neg",
        "linear",
        "matmul",
        "mm",
        "addmm",
    ]
)

_GROWING: Final = _CREATED | frozenset(
    ["new_zeros", "new_ones", "new_full", "expand", "repeat", "tile", "broadcast_to"]
)


def is_foldable(operator: str) -> bool:
    """Whether `aten.name.overload` may be computed on constants."""
    return operator.split(".")[1] in _CREATED | _COMPUTED


def fold(call: Call) -> Any:
    """Compute an operator whose operands are constants: a Const, or a list of them."""
    torch = require_torch()
    elements = _elements(call)
    if elements > MAX_ELEMENTS:
        raise call.refuse(
            f"makes a constant of {elements} numbers", "use one initial state for every sequence"
        )
    arguments: dict[str, Any] = {}
    for name, value in call.args.items():
        arguments[name] = _plain(torch, name, value)
    schema: Any = call.node.target
    positional = [
        arguments.pop(a.name) for a in schema._schema.arguments
        if not a.kwarg_only and a.name in arguments
    ]  # fmt: skip
    try:
        with torch.no_grad():
            result = schema(*positional, **arguments)
    except (RuntimeError, TypeError, ValueError, IndexError):
        raise call.refuse(
            "cannot be computed from its constants", "compute it in __init__ and keep a buffer"
        ) from None
    # A parameter brought to the batch is still that parameter.
    path = next((v.path for v in call.args.values() if isinstance(v, Const)), "")
    if isinstance(result, (list, tuple)):
        return [Const(item, path) for item in result]
    return Const(result, path)


def _elements(call: Call) -> int:
    """How many numbers the result may have, where that is not bounded by the operands."""
    packet = call.operator.split(".")[1]
    elements = 1
    for value in call.args.values():
        if isinstance(value, list) and packet in _GROWING:
            for n in value:
                elements *= max(n, 1) if type(n) is int else 1
        elif isinstance(value, Const) and packet in ("repeat", "tile"):
            elements *= max(value.tensor.numel(), 1)
    return elements


def _plain(torch: Any, name: str, value: Any) -> Any:
    if isinstance(value, Const):
        return value.tensor
    if isinstance(value, list):
        return [_plain(torch, "", item) for item in value]
    if name == "device" and value is not None:
        return torch.device("cpu")
    if isinstance(value, torch.dtype) and value.is_floating_point:
        return torch.float32
    return value
