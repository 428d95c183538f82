"""One small network for each member of the family, of any sizes.

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


@dataclass(frozen=True)
class Sizes:
    """What a network is built for. tokens: ids that there are, read through `embedding` numbers
    each."""

    features: int
    classes: int
    hidden: int = 16
    tokens: int = 0
    embedding: int = 12


@dataclass(frozen=True)
class Row:
    """One network. layer: how the user writes it; build: sizes -> the model, to be trained.

    reads: "features" (x), "lengths" (x and the true lengths), "tokens" (ids), or "missing" (x, a
    mask of what was observed and the time since).
    """

    name: str
    layer: str
    build: Callable[[Sizes], nn.Module]
    reads: str = "features"


class Last(nn.Module):
    """A recurrent layer, and a Linear on its output at the last step."""

    def __init__(
        self, layer: nn.Module, width: int, classes: int, front: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.layer, self.front = layer, front
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor, *more: Tensor) -> Tensor:
        x = x if self.front is None else self.front(x)
        y = self.layer(x, *more)[0]
        logits: Tensor = self.head(y[:, -1])
        return logits


class Ending(nn.Module):
    """A layer over padded sequences, and a Linear on its state after the true last step."""

    def __init__(self, layer: nn.Module, sizes: Sizes, directions: int = 1) -> None:
        super().__init__()
        self.layer, self.directions = layer, directions
        self.head = nn.Linear(directions * sizes.hidden, sizes.classes)

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
        width: int,
        classes: int,
        after: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.layer, self.pool = layer, pool
        self.after = nn.Identity() if after is None else after
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.pool(self.after(self.layer(x)[0])))
        return logits


class Sides(nn.Module):
    """The two directions' states at their own ends, [h_n forwards | h_n backwards]."""

    def __init__(self, layer: nn.Module, sizes: Sizes) -> None:
        super().__init__()
        self.layer = layer
        self.head = nn.Linear(2 * sizes.hidden, sizes.classes)

    def forward(self, x: Tensor) -> Tensor:
        _, h = self.layer(x)
        h = h[0] if isinstance(h, tuple) else h
        logits: Tensor = self.head(torch.cat([h[-2], h[-1]], dim=-1))
        return logits


class Convolved(nn.Module):
    """Causal convolution, batch normalization, ReLU and pooling in front of a GRU."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        channels = 3 * sizes.hidden // 4
        self.front = nn.Sequential(
            enn.CausalConv1d(sizes.features, channels, 3),
            nn.BatchNorm1d(channels),
            nn.ReLU(),
            enn.CausalMaxPool1d(2),
        )
        self.gru = nn.GRU(channels, sizes.hidden, batch_first=True)
        self.head = nn.Linear(sizes.hidden, sizes.classes)

    def forward(self, x: Tensor) -> Tensor:
        y = self.gru(self.front(x.transpose(1, 2)).transpose(1, 2))[0]
        logits: Tensor = self.head(y[:, -1])
        return logits


class Normed(nn.Module):
    """nn.LayerNorm between two GRUs, and nn.BatchNorm1d on the input."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.scale = nn.BatchNorm1d(sizes.features)
        self.first = nn.GRU(sizes.features, sizes.hidden, batch_first=True)
        self.norm = nn.LayerNorm(sizes.hidden)
        self.second = nn.GRU(sizes.hidden, sizes.hidden, batch_first=True)
        self.head = nn.Linear(sizes.hidden, sizes.classes)

    def forward(self, x: Tensor) -> Tensor:
        y = self.scale(x.transpose(1, 2)).transpose(1, 2)
        logits: Tensor = self.head(self.second(self.norm(self.first(y)[0]))[0][:, -1])
        return logits


class Levels(nn.Module):
    """Two levels of categories, the words of the lower one weighed by what the upper one says."""

    def __init__(self, sizes: Sizes, upper: int = 3) -> None:
        super().__init__()
        width = 2 * sizes.hidden
        self.layer = nn.LSTM(sizes.features, sizes.hidden, batch_first=True, bidirectional=True)
        self.upper = enn.CategoryAttention(width, sizes.hidden, upper, gain=8.0)
        self.lower = enn.CategoryAttention(width, sizes.hidden, sizes.classes)
        self.mean = enn.MeanOverTime()
        self.choice = nn.Linear(width, upper)
        self.head = nn.Linear(2 * width, sizes.classes)

    def forward(self, x: Tensor) -> Tensor:
        v = self.layer(x)[0]
        r, a = self.upper(v)
        omega = self.upper.passed_on(torch.softmax(self.choice(r), dim=-1), a)
        r, _ = self.lower(v, omega)
        logits: Tensor = self.head(torch.cat([self.mean(v)[:, -1], r[:, -1]], dim=-1))
        return logits


class Softmax(nn.Module):
    """A GRU whose output is a probability for each class."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.net = _end(sizes, _made(sizes, nn.GRU))

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


def _made(sizes: Sizes, layer: Callable[..., nn.Module], **options: Any) -> nn.Module:
    return layer(sizes.features, sizes.hidden, batch_first=True, **options)


def _both(sizes: Sizes, layer: Callable[..., nn.Module], **options: Any) -> nn.Module:
    return _made(sizes, layer, bidirectional=True, **options)


def _end(sizes: Sizes, layer: nn.Module, width: int = 0) -> nn.Module:
    return Last(layer, width or sizes.hidden, sizes.classes)


def _ends(layer: Callable[..., nn.Module], **options: Any) -> Callable[[Sizes], nn.Module]:
    return lambda s: _end(s, _made(s, layer, **options))


def _sides(layer: Callable[..., nn.Module], **options: Any) -> Callable[[Sizes], nn.Module]:
    return lambda s: Sides(_both(s, layer, **options), s)


def _jordan(**options: Any) -> Callable[[Sizes], nn.Module]:
    def build(s: Sizes) -> nn.Module:
        size = 3 * s.hidden // 4
        return _end(s, enn.Jordan(s.features, s.hidden, size, batch_first=True, **options), size)

    return build


def _pooled(
    pool: Callable[[Sizes], Callable[[Tensor], Tensor]], both: bool = False
) -> Callable[[Sizes], nn.Module]:
    return lambda s: Pooled(
        _made(s, nn.GRU, bidirectional=both), pool(s), (1 + both) * s.hidden, s.classes
    )


def _fused(fusion: Callable[[int], nn.Module]) -> Callable[[Sizes], nn.Module]:
    return lambda s: Pooled(_both(s, nn.GRU), _last, s.hidden, s.classes, fusion(s.hidden))


def _tokens(s: Sizes) -> nn.Module:
    front = nn.Embedding(s.tokens, s.embedding)
    return Last(nn.LSTM(s.embedding, s.hidden, batch_first=True), s.hidden, s.classes, front)


_LIST: Final = (
    Row("Elman, tanh", "nn.RNN", _ends(nn.RNN)),
    Row("Elman, ReLU", 'nn.RNN(nonlinearity="relu")', _ends(nn.RNN, nonlinearity="relu")),
    Row("Jordan", "edgernn.nn.Jordan", _jordan(output_nonlinearity="tanh")),
    Row("Jordan, linear output", "edgernn.nn.Jordan", _jordan()),
    Row("LSTM", "nn.LSTM", _ends(nn.LSTM)),
    Row("LSTM, peephole", "edgernn.nn.LSTMPeephole", _ends(enn.LSTMPeephole)),
    Row("LSTM, projection", "nn.LSTM(proj_size=8)", lambda s: _end(
        s, _made(s, nn.LSTM, proj_size=s.hidden // 2), s.hidden // 2)),
    Row("GRU, reset after", "nn.GRU", _ends(nn.GRU, num_layers=2)),
    Row("GRU, reset before", "edgernn.nn.GRUResetBefore", _ends(enn.GRUResetBefore)),
    Row("MGU", "edgernn.nn.MGU", _ends(enn.MGU)),
    Row("FastGRNN", "edgernn.nn.FastGRNN", _ends(enn.FastGRNN)),
    Row("FastGRNN, low rank", "edgernn.nn.FastGRNN(w_rank=6, u_rank=6)", lambda s: _end(
        s, _made(s, enn.FastGRNN, w_rank=3 * s.hidden // 8, u_rank=3 * s.hidden // 8))),
    Row("LayerNorm LSTM", "edgernn.nn.LayerNormLSTM", _ends(enn.LayerNormLSTM)),
    Row("LayerNorm GRU", "edgernn.nn.LayerNormGRU", _ends(enn.LayerNormGRU)),
    Row("LayerNorm, BatchNorm", "nn.LayerNorm, nn.BatchNorm1d", Normed),
    Row("embedding", "nn.Embedding, nn.LSTM", _tokens, "tokens"),
    Row("convolution in front", "edgernn.nn.CausalConv1d, nn.GRU", Convolved),
    Row("bidirectional RNN", "nn.RNN(bidirectional=True)", _sides(nn.RNN)),
    Row("bidirectional LSTM", "nn.LSTM(bidirectional=True)", _sides(nn.LSTM)),
    Row("bidirectional GRU", "nn.GRU(bidirectional=True)", _sides(nn.GRU, num_layers=2)),
    Row("fusion, concatenation", "torch.cat", _pooled(lambda _: _last, both=True)),
    Row("fusion, gated", "edgernn.nn.GatedFusion", _fused(enn.GatedFusion)),
    Row("fusion, recurrent", "edgernn.nn.RecurrentFusion", _fused(
        lambda hidden: enn.RecurrentFusion(hidden, batch_first=True))),
    Row("twin network", "edgernn.nn.TwinGRU", _ends(enn.TwinGRU)),
    Row("attention pooling", "edgernn.nn.AttentionPooling", _pooled(
        lambda s: enn.AttentionPooling(s.hidden, s.hidden // 2))),
    Row("attention over both directions", "edgernn.nn.AttentionPooling", _pooled(
        lambda s: enn.AttentionPooling(2 * s.hidden, s.hidden // 2), both=True)),
    Row("attention of categories, two levels", "edgernn.nn.CategoryAttention", Levels),
    Row("mean pooling", "y.mean(dim=1)", _pooled(lambda _: _mean)),
    Row("max pooling", "y.amax(dim=1)", _pooled(lambda _: _max)),
    Row("softmax head", "torch.softmax", Softmax),
    Row("variable length", "edgernn.nn.VariableLength(nn.GRU)", lambda s: Ending(
        enn.VariableLength(nn.GRU(s.features, s.hidden, batch_first=True)), s), "lengths"),
    Row("variable length, both directions", "edgernn.nn.VariableLength(nn.LSTM)", lambda s: Ending(
        enn.VariableLength(nn.LSTM(s.features, s.hidden, batch_first=True, bidirectional=True)),
        s, 2), "lengths"),
    Row("missing values, GRU-D", "edgernn.nn.GRUD", _ends(enn.GRUD), "missing"),
)  # fmt: skip
ROWS: Final = {row.name: row for row in _LIST}
