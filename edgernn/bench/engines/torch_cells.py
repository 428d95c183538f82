"""The cells of a float network in PyTorch: torch.nn's own where it has them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

import edgernn.nn  # noqa: F401
from edgernn.graph import Node
from edgernn.nn.operator import STEPS

CELLS: Final[dict[str, tuple[Any, Any]]] = {
    "gru": (nn.GRUCell, nn.GRU),
    "lstm": (nn.LSTMCell, nn.LSTM),
    "rnn_tanh": (nn.RNNCell, nn.RNN),
    "rnn_relu": (nn.RNNCell, nn.RNN),
}
"""Kind -> the layer of one step, and that of a sequence."""


def _filled(layer: nn.Module, node: Node, suffix: str = "") -> nn.Module:
    with torch.no_grad():
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            getattr(layer, name + suffix).copy_(torch.from_numpy(node.arrays[name].copy()))
    return layer


class CellStep(nn.Module):
    """One step of torch.nn.GRUCell, LSTMCell or RNNCell: the shortest way to stream."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        hidden, features = node.arrays["weight_hh"].shape[1], node.arrays["weight_ih"].shape[1]
        relu = {"nonlinearity": "relu"} if node.kind == "rnn_relu" else {}
        self.cell = _filled(CELLS[node.kind][0](features, hidden, **relu), node)
        self.several = node.kind == "lstm"

    def forward(self, x: Sequence[Tensor], states: Sequence[Tensor]) -> Sequence[Tensor]:
        """Inputs [(N, F)], states [(N, S)] -> the cell's outputs [(N, S)]."""
        result = self.cell(x[0], (states[0], states[1]) if self.several else states[0])
        return result if self.several else (result,)


class Whole(nn.Module):
    """torch.nn.GRU, LSTM or RNN over a sequence (1, T, F), in one direction or both."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        super().__init__()
        node = nodes[0]
        hidden, features = node.arrays["weight_hh"].shape[1], node.arrays["weight_ih"].shape[1]
        relu = {"nonlinearity": "relu"} if node.kind == "rnn_relu" else {}
        self.layer = CELLS[node.kind][1](
            features, hidden, batch_first=True, bidirectional=len(nodes) > 1, **relu
        )
        for own, suffix in zip(nodes, ("_l0", "_l0_reverse"), strict=False):
            _filled(self.layer, own, suffix)
        self.flipped = node.reverse and len(nodes) == 1
        self.hidden = hidden
        starts = zip(*(n.carried for n in nodes), strict=True)
        for i, states in enumerate(starts):
            start = torch.stack([torch.from_numpy(s.initial.copy()) for s in states])
            self.register_buffer(f"start{i}", start[:, None])
        self.several = node.kind == "lstm"

    def forward(self, x: Tensor) -> list[Tensor]:
        """(1, T, F) -> (1, T, H) of each direction."""
        hx = (self.start0, self.start1) if self.several else self.start0
        y, _ = self.layer(x.flip(1) if self.flipped else x, hx)
        if self.flipped:
            return [y.flip(1)]
        return list(y.split(self.hidden, dim=-1))


class OwnStep(nn.Module):
    """One step of a cell that torch.nn does not have: that of its layer in edgernn.nn."""

    weight: Tensor
    bias: Tensor

    def __init__(self, node: Node) -> None:
        super().__init__()
        self.kind, self.numbers = node.kind, dict(node.numbers)
        for name, array in node.arrays.items():
            self.register_buffer(name, torch.from_numpy(array.copy()))
        own: dict[str, Callable[..., list[Tensor]]] = {
            "conv1d": self._convolution,
            "max_pool1d": self._window_maximum,
            "max_pooling": self._maximum,
            "mean_pooling": self._mean,
        }
        if node.kind not in own and node.kind not in STEPS:
            raise NotImplementedError(f"a {node.kind} has no step in PyTorch")
        self.step = own.get(node.kind) or self._ours

    def forward(self, x: Sequence[Tensor], states: Sequence[Tensor]) -> Sequence[Tensor]:
        """Inputs [(N, F)], states [(N, S)] -> the cell's outputs [(N, S)]."""
        return self.step(x, states)

    def _ours(self, x: Sequence[Tensor], states: Sequence[Tensor]) -> list[Tensor]:
        weights = dict(self.named_buffers())
        return STEPS[self.kind](weights, list(x), list(states), self.numbers)

    def _frames(self, x: Tensor, buffer: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, frames), oldest first, and the next buffer."""
        whole, size = torch.cat([buffer, x], dim=-1), x.shape[-1]
        return whole.reshape(len(x), -1, size).transpose(1, 2), whole[:, size:]

    def _convolution(self, x: Sequence[Tensor], states: Sequence[Tensor]) -> list[Tensor]:
        frames, buffer = self._frames(x[0], states[0])
        options = {name: int(value) for name, value in self.numbers.items()}
        return [functional.conv1d(frames, self.weight, self.bias, **options)[..., 0], buffer]

    def _window_maximum(self, x: Sequence[Tensor], states: Sequence[Tensor]) -> list[Tensor]:
        frames, buffer = self._frames(x[0], states[0])
        return [frames[..., :: int(self.numbers["dilation"])].amax(dim=-1), buffer]

    def _maximum(self, x: Sequence[Tensor], states: Sequence[Tensor]) -> list[Tensor]:
        return [torch.maximum(states[0], x[0])]

    def _mean(self, x: Sequence[Tensor], states: Sequence[Tensor]) -> list[Tensor]:
        count = states[1] + 1
        return [states[0] + (x[0] - states[0]) / count, count]
