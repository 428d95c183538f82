"""One small network for each member of the family: 8 features, 10 classes, 16 hidden units.

Each is what a user would write, with layers of torch.nn and edgernn.nn; SUPPORTED.md has a row of
its table for every entry.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

import edgernn.nn as enn

FEATURES, HIDDEN, CLASSES, TOKENS = 8, 16, 10, 17


@dataclass(frozen=True)
class Row:
    """One network. layer: how the user writes it; build: the model, to be trained.

    reads: "features" (x), "lengths" (x and the true lengths), "tokens" (ids), or "missing" (x, a
    mask of what was observed and the time since).
    """

    name: str
    layer: str
    build: Callable[[], nn.Module]
    reads: str = "features"


class Last(nn.Module):
    """A recurrent layer, and a Linear on its output at the last step."""

    def __init__(self, layer: nn.Module, width: int = HIDDEN, front: nn.Module | None = None):
        super().__init__()
        self.layer, self.front = layer, front
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor, *more: Tensor) -> Tensor:
        x = x if self.front is None else self.front(x)
        y = self.layer(x, *more)[0]
        logits: Tensor = self.head(y[:, -1])
        return logits


class Final(nn.Module):  # noqa: F811
    """A layer over padded sequences, and a Linear on its state after the true last step."""

    def __init__(self, layer: nn.Module, width: int = HIDDEN):
        super().__init__()
        self.layer = layer
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        _, h = self.layer(x, lengths=lengths)
        h = h[0] if isinstance(h, tuple) else h
        both = h[-1] if self.head.in_features == h.shape[-1] else torch.cat([h[-2], h[-1]], -1)
        logits: Tensor = self.head(both)
        return logits


class Pooled(nn.Module):
    """A layer, something after it, a way to pool the window, and a Linear."""

    def __init__(
        self, layer: nn.Module, pool: Callable[[Tensor], Tensor], after: nn.Module | None = None,
        width: int = HIDDEN,
    ):  # fmt: skip
        super().__init__()
        self.layer, self.pool = layer, pool
        self.after = nn.Identity() if after is None else after
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)[0]
        logits: Tensor = self.head(self.pool(self.after(y)))
        return logits


def _last(y: Tensor) -> Tensor:
    return y[:, -1]


def _mean(y: Tensor) -> Tensor:
    return y.mean(dim=1)


def _max(y: Tensor) -> Tensor:
    return y.amax(dim=1)


def _torch(layer: Callable[..., nn.Module], **options: Any) -> nn.Module:
    return layer(FEATURES, HIDDEN, batch_first=True, **options)
