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


class Ending(nn.Module):
    """A layer over padded sequences, and a Linear on its state after the true last step."""

    def __init__(self, layer: nn.Module, directions: int = 1) -> None:
        super().__init__()
        self.layer, self.directions = layer, directions
        self.head = nn.Linear(directions * HIDDEN, CLASSES)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        _, h = self.layer(x, lengths=lengths)
        h = h[0] if isinstance(h, tuple) else h
        both = h[-1] if self.directions == 1 else torch.cat([h[-2], h[-1]], dim=-1)
        logits: Tensor = self.head(both)
        return logits


class Pooled(nn.Module):
    """A layer, something after it, a way to pool the window, and a Linear."""

    def __init__(
        self,
        layer: nn.Module,
        pool: Callable[[Tensor], Tensor],
        after: nn.Module | None = None,
        width: int = HIDDEN,
    ) -> None:
        super().__init__()
        self.layer, self.pool = layer, pool
        self.after = nn.Identity() if after is None else after
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.pool(self.after(self.layer(x)[0])))
        return logits


class Sides(nn.Module):
    """The two directions' states at their own ends, [h_n forwards | h_n backwards]."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.head = nn.Linear(2 * HIDDEN, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        _, h = self.layer(x)
        h = h[0] if isinstance(h, tuple) else h
        logits: Tensor = self.head(torch.cat([h[-2], h[-1]], dim=-1))
        return logits


class Convolved(nn.Module):
    """Causal convolution, batch normalization, ReLU and pooling in front of a GRU."""

    def __init__(self) -> None:
        super().__init__()
        self.front = nn.Sequential(
            enn.CausalConv1d(FEATURES, 12, 3),
            nn.BatchNorm1d(12),
            nn.ReLU(),
            enn.CausalMaxPool1d(2),
        )
        self.gru = nn.GRU(12, HIDDEN, batch_first=True)
        self.head = nn.Linear(HIDDEN, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        y = self.gru(self.front(x.transpose(1, 2)).transpose(1, 2))[0]
        logits: Tensor = self.head(y[:, -1])
        return logits


class Normed(nn.Module):
    """nn.LayerNorm between two GRUs, and nn.BatchNorm1d on the input."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.BatchNorm1d(FEATURES)
        self.first = nn.GRU(FEATURES, HIDDEN, batch_first=True)
        self.norm = nn.LayerNorm(HIDDEN)
        self.second = nn.GRU(HIDDEN, HIDDEN, batch_first=True)
        self.head = nn.Linear(HIDDEN, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        y = self.scale(x.transpose(1, 2)).transpose(1, 2)
        logits: Tensor = self.head(self.second(self.norm(self.first(y)[0]))[0][:, -1])
        return logits


class Softmax(nn.Module):
    """A GRU whose output is a probability for each class."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Last(nn.GRU(FEATURES, HIDDEN, batch_first=True))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(x)
        # While training, the loss takes the logits.
        return logits if self.training else torch.softmax(logits, dim=-1)


def _last(y: Tensor) -> Tensor:
    return y[:, -1]


def _mean(y: Tensor) -> Tensor:
    return y.mean(dim=1)


def _max(y: Tensor) -> Tensor:
    return y.amax(dim=1)


def _made(layer: Callable[..., nn.Module], **options: Any) -> nn.Module:
    return layer(FEATURES, HIDDEN, batch_first=True, **options)


def _both(layer: Callable[..., nn.Module], **options: Any) -> nn.Module:
    return _made(layer, bidirectional=True, **options)


def _tokens() -> nn.Module:
    return Last(nn.LSTM(12, HIDDEN, batch_first=True), front=nn.Embedding(TOKENS, 12))


_LIST: Final = (
    Row("Elman, tanh", "nn.RNN", lambda: Last(_made(nn.RNN))),
    Row("Elman, ReLU", 'nn.RNN(nonlinearity="relu")', lambda: Last(
        _made(nn.RNN, nonlinearity="relu"))),
    Row("Jordan", "edgernn.nn.Jordan", lambda: Last(
        enn.Jordan(FEATURES, HIDDEN, 12, batch_first=True, output_nonlinearity="tanh"), 12)),
    Row("Jordan, linear output", "edgernn.nn.Jordan", lambda: Last(
        enn.Jordan(FEATURES, HIDDEN, 12, batch_first=True), 12)),
    Row("LSTM", "nn.LSTM", lambda: Last(_made(nn.LSTM))),
    Row("LSTM, peephole", "edgernn.nn.LSTMPeephole", lambda: Last(_made(enn.LSTMPeephole))),
    Row("LSTM, projection", "nn.LSTM(proj_size=8)", lambda: Last(_made(nn.LSTM, proj_size=8), 8)),
    Row("GRU, reset after", "nn.GRU", lambda: Last(_made(nn.GRU, num_layers=2))),
    Row("GRU, reset before", "edgernn.nn.GRUResetBefore", lambda: Last(_made(enn.GRUResetBefore))),
    Row("MGU", "edgernn.nn.MGU", lambda: Last(_made(enn.MGU))),
    Row("FastGRNN", "edgernn.nn.FastGRNN", lambda: Last(_made(enn.FastGRNN))),
    Row("FastGRNN, low rank", "edgernn.nn.FastGRNN(w_rank=6, u_rank=6)", lambda: Last(
        _made(enn.FastGRNN, w_rank=6, u_rank=6))),
    Row("LayerNorm LSTM", "edgernn.nn.LayerNormLSTM", lambda: Last(_made(enn.LayerNormLSTM))),
    Row("LayerNorm GRU", "edgernn.nn.LayerNormGRU", lambda: Last(_made(enn.LayerNormGRU))),
    Row("LayerNorm, BatchNorm", "nn.LayerNorm, nn.BatchNorm1d", Normed),
    Row("embedding", "nn.Embedding, nn.LSTM", _tokens, "tokens"),
    Row("convolution in front", "edgernn.nn.CausalConv1d, nn.GRU", Convolved),
    Row("bidirectional RNN", "nn.RNN(bidirectional=True)", lambda: Sides(_both(nn.RNN))),
    Row("bidirectional LSTM", "nn.LSTM(bidirectional=True)", lambda: Sides(_both(nn.LSTM))),
    Row("bidirectional GRU", "nn.GRU(bidirectional=True)", lambda: Sides(
        _both(nn.GRU, num_layers=2))),
    Row("fusion, concatenation", "torch.cat", lambda: Pooled(
        _both(nn.GRU), _last, width=2 * HIDDEN)),
    Row("fusion, gated", "edgernn.nn.GatedFusion", lambda: Pooled(
        _both(nn.GRU), _last, enn.GatedFusion(HIDDEN))),
    Row("fusion, recurrent", "edgernn.nn.RecurrentFusion", lambda: Pooled(
        _both(nn.GRU), _last, enn.RecurrentFusion(HIDDEN, batch_first=True))),
    Row("twin network", "edgernn.nn.TwinGRU", lambda: Last(_made(enn.TwinGRU))),
    Row("attention pooling", "edgernn.nn.AttentionPooling", lambda: Pooled(
        _made(nn.GRU), enn.AttentionPooling(HIDDEN, 8))),
    Row("attention over both directions", "edgernn.nn.AttentionPooling", lambda: Pooled(
        _both(nn.GRU), enn.AttentionPooling(2 * HIDDEN, 8), width=2 * HIDDEN)),
    Row("mean pooling", "y.mean(dim=1)", lambda: Pooled(_made(nn.GRU), _mean)),
    Row("max pooling", "y.amax(dim=1)", lambda: Pooled(_made(nn.GRU), _max)),
    Row("softmax head", "torch.softmax", Softmax),
    Row("variable length", "edgernn.nn.VariableLength(nn.GRU)", lambda: Ending(
        enn.VariableLength(nn.GRU(FEATURES, HIDDEN, batch_first=True))), "lengths"),
    Row("variable length, both directions", "edgernn.nn.VariableLength(nn.LSTM)", lambda: Ending(
        enn.VariableLength(nn.LSTM(FEATURES, HIDDEN, batch_first=True, bidirectional=True)), 2),
        "lengths"),
    Row("missing values, GRU-D", "edgernn.nn.GRUD", lambda: Last(_made(enn.GRUD)), "missing"),
)  # fmt: skip
ROWS: Final = {row.name: row for row in _LIST}
