"""The layers without state of a float network in PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgernn.graph import Node

Function = Callable[..., Tensor]

SIMPLE: Final[dict[str, Function]] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "maximum": torch.maximum,
    "softplus": functional.softplus,
    "exp": torch.exp,
    "abs": torch.abs,
    "gelu": functional.gelu,
    "silu": functional.silu,
    "mish": functional.mish,
    "selu": functional.selu,
    "celu": functional.celu,
    "leaky_relu": functional.leaky_relu,
    "hardsigmoid": functional.hardsigmoid,
    "hardswish": functional.hardswish,
    "softsign": functional.softsign,
    "log_sigmoid": functional.logsigmoid,
    "clamp": torch.clamp,
    "elu": torch.ops.aten.elu,
    "gelu_tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "softmax": lambda x: torch.softmax(x, dim=-1),
    "log_softmax": lambda x: torch.log_softmax(x, dim=-1),
}
"""Kinds that are one function of their inputs and their numbers."""


class Simple(nn.Module):
    """A function of SIMPLE."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self.function, self.numbers = SIMPLE[node.kind], dict(node.numbers)

    def forward(self, *x: Tensor) -> Tensor:
        """(..., I) -> (..., O)."""
        return self.function(*x, **self.numbers)


class Constant(nn.Module):
    """What reads the arrays of its node."""

    weight: Tensor
    bias: Tensor
    table: Tensor

    def __init__(self, node: Node, size: int) -> None:
        super().__init__()
        self.kind, self.begin, self.end = node.kind, node.begin, node.begin + size
        self.eps = float(node.numbers.get("eps", 0.0))
        for name, array in node.arrays.items():
            self.register_buffer(name, torch.from_numpy(array.copy()))

    def forward(self, *x: Tensor) -> Tensor:
        """(..., I) -> (..., O)."""
        if self.kind == "affine":
            return x[0] * self.weight + self.bias
        if self.kind == "layer_norm":
            return functional.layer_norm(
                x[0], list(self.weight.shape), self.weight, self.bias, self.eps
            )
        if self.kind == "embedding":
            ids = x[0][..., 0].long().clamp(0, len(self.table) - 1)
            return functional.embedding(ids, self.table)
        if self.kind == "concat":
            return torch.cat(x, dim=-1)
        return x[0][..., self.begin : self.end]


def layer(node: Node, sizes: Mapping[str, int]) -> nn.Module:
    """A module (..., I) -> (..., O); NotImplementedError for a kind that has none."""
    if node.kind == "linear":
        weight = torch.from_numpy(node.arrays["weight"].copy())
        made = nn.Linear(weight.shape[1], weight.shape[0])
        state: dict[str, Any] = {
            "weight": weight,
            "bias": torch.from_numpy(node.arrays["bias"].copy()),
        }
        made.load_state_dict(state)
        return made
    if node.kind in SIMPLE:
        return Simple(node)
    if node.kind in ("affine", "layer_norm", "embedding", "concat", "slice"):
        return Constant(node, sizes[node.name])
    raise NotImplementedError(f"a {node.kind} has no form in PyTorch")
