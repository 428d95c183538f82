"""The network of most recipes: something in front, recurrent layers, a pool, a linear head."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

import edgernn.nn as enn
from edgernn.runtime.errors import InputError
from edgernn.training.base import Layers
from edgernn.training.cells import MISSING, Cell, parse
from edgernn.training.dropout import VariationalDropout, run_with_recurrent_dropout

KERNEL = 3
State = list[Any]


class SequenceNetwork(nn.Module):
    """Features (N, T, F), or token ids (N, T), to an answer at every step or once.

    answers: "steps" gives (N, T, O), "once" (N, O). tokens: ids that there are; 0 for features.
    With `lengths` (N,) padded steps at the end change nothing. inputs: how many it reads, 3 of the
    cell gru_d. Called without lengths, it is what is exported: a network of one direction then
    becomes a program that streams.
    """

    def __init__(
        self,
        features: int,
        outputs: int,
        layers: Layers,
        answers: Literal["steps", "once"],
        tokens: int = 0,
        inputs: int = 1,
    ) -> None:
        super().__init__()
        self.cell: Cell = parse(layers.cell)
        if self.cell.kind == MISSING and (inputs == 1 or layers.layers > 1):
            raise InputError(
                f"{MISSING} is one layer that also reads which values are missing, and since when; "
                f"it is for `edgernn train classify --missing decay`"
            )
        if self.cell.twin and layers.recurrent_dropout:
            raise InputError("recurrent dropout is not for a twin; leave it at 0")
        self.answers, self.pool = answers, layers.pool
        self.recurrent_dropout = layers.recurrent_dropout
        if layers.hidden < 1 or layers.layers < 1:
            raise InputError("hidden and layers must be at least 1")
        self.embedding = nn.Embedding(tokens, layers.embedding) if tokens else None
        width = layers.embedding if tokens else features
        self.conv = None
        if self.cell.conv:
            self.conv = nn.Sequential(enn.CausalConv1d(width, layers.hidden, KERNEL), nn.ReLU())
            width = layers.hidden
        self.dropout = VariationalDropout(layers.dropout)
        self.layers = nn.ModuleList()
        self.fusions = nn.ModuleList()
        for _ in range(layers.layers):
            self.layers.append(self.cell.layer(width, layers.hidden))
            self.fusions.append(_fusion(self.cell, layers.hidden))
            joined = self.cell.both and self.cell.fusion == "concat"
            width = (1 + joined) * layers.hidden
        self.attention = None
        if answers == "once" and layers.pool == "attention":
            self.attention = enn.AttentionPooling(width, max(width // 2, 1))
        self.head = nn.Linear(width, outputs)
        self.side: list[Tensor] = []
        """While training, outputs of a twin, to which the same loss applies."""
        self.penalty: Tensor | None = None
        """While training, a loss of its own."""

    @property
    def streams(self) -> bool:
        """Whether it reads forwards only."""
        return not self.cell.both

    def forward(self, x: Tensor, *more: Tensor, lengths: Tensor | None = None) -> Tensor:
        """See the class; more: of a cell that reads several inputs."""
        return self.run(x, *more, lengths=lengths)[0]

    def run(
        self,
        x: Tensor,
        *more: Tensor,
        lengths: Tensor | None = None,
        state: State | None = None,
    ) -> tuple[Tensor, State]:
        """The answer, and the state of each layer after the last step, to go on from."""
        self.side, self.penalty = [], None
        y = x if self.embedding is None else self.embedding(x)
        states: State = []
        if self.conv is not None:
            y, tail = self._convolved(y, None if state is None else state[-1])
        raw = y
        for i, (layer, fusion) in enumerate(zip(self.layers, self.fusions, strict=True)):
            inputs = self.dropout(y)
            before = None if state is None else state[i]
            raw, after = self._layer(layer, [inputs, *more], lengths, before)
            if self.cell.twin and self.training:
                self._twin(layer, inputs, raw, lengths)
            y = raw
            if isinstance(fusion, enn.RecurrentFusion):
                fused = None if before is None else before[1]
                y, refined = fusion.gru(raw, fused)
                after = (after, refined)
            elif isinstance(fusion, enn.GatedFusion):
                y = fusion(raw)
            states.append(after)
        if self.conv is not None:
            states.append(tail)
        return self.head(self.dropout(self._pooled(y, raw, lengths))), states

    def _convolved(self, x: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor]:
        """Of x (N, T, F), and the last inputs, (KERNEL - 1, N, F), to go on from."""
        assert self.conv is not None
        full = x if before is None else torch.cat([before.transpose(0, 1), x], dim=1)
        y = self.conv[1](self.conv[0](full.transpose(1, 2))).transpose(1, 2)
        # What is exported streams by itself, and should not hold a slice that nothing reads.
        exporting = torch.compiler.is_exporting()
        tail = full if exporting else full[:, 1 - KERNEL :].transpose(0, 1)
        return (y if before is None else y[:, before.shape[0] :]), tail

    def _layer(
        self, layer: nn.Module, inputs: list[Tensor], lengths: Tensor | None, before: Any
    ) -> tuple[Tensor, Any]:
        if isinstance(self.fusions[0], enn.RecurrentFusion) and before is not None:
            before = before[0]
        if self.recurrent_dropout and self.training:
            if len(inputs) > 1 or self.cell.twin:
                raise InputError(
                    f"recurrent dropout is for cells of one input and no twin, not "
                    f"{MISSING if len(inputs) > 1 else 'twingru'}; leave it at 0"
                )
            found: tuple[Tensor, Any] = run_with_recurrent_dropout(
                layer, inputs[0], self.recurrent_dropout, lengths, before
            )
            return found
        if lengths is not None and self.cell.both:
            if isinstance(layer, (nn.GRU, nn.LSTM, nn.RNN)):
                y, after = enn.VariableLength(layer)(inputs[0], lengths, before)
                return y, after
            y, after = layer(*inputs, before, lengths=lengths)
            return y, after
        y, after = layer(*inputs, before)
        return y, after

    def _twin(self, layer: Any, x: Tensor, y: Tensor, lengths: Tensor | None) -> None:
        """The twin's loss, and its own answer."""
        penalty = layer.twin_loss(x, y, lengths)
        self.penalty = penalty if self.penalty is None else self.penalty + penalty
        last = layer is self.layers[-1]
        if last:
            # Having read backwards, it knows the whole at the first step.
            told = layer.backward(x, lengths)
            self.side = [self.head(told if self.answers == "steps" else told[:, 0])]

    def _pooled(self, y: Tensor, raw: Tensor, lengths: Tensor | None) -> Tensor:
        if self.answers == "steps":
            return y
        if self.attention is not None:
            pooled: Tensor = self.attention(y, lengths=lengths)
            return pooled
        if self.pool == "mean":
            if lengths is None:
                return y.mean(dim=1)
            return (y * _valid(y, lengths)).sum(1) / lengths.to(y)[:, None]
        if self.pool == "max":
            if lengths is not None:
                y = y.masked_fill(~_valid(y, lengths), float("-inf"))
            return y.amax(dim=1)
        if self.cell.both and self.cell.fusion != "fuser":
            # Each direction where it has read everything.
            size = raw.shape[2] // 2
            both = torch.cat([_last(raw, lengths)[:, :size], raw[:, 0, size:]], dim=-1)
            joined: Tensor = self.fusions[-1](both)
            return joined
        return _last(y, lengths)


def _fusion(cell: Cell, hidden: int) -> nn.Module:
    if cell.fusion == "gate":
        return enn.GatedFusion(hidden)
    if cell.fusion == "fuser":
        fuser = enn.RecurrentFusion(hidden, batch_first=True)
        if not cell.both:
            fuser.gru = nn.GRU(hidden, hidden, batch_first=True)
        return fuser
    return nn.Identity()


def _valid(y: Tensor, lengths: Tensor) -> Tensor:
    """(N, T, 1), true where a step is no padding."""
    return (torch.arange(y.shape[1], device=y.device) < lengths[:, None])[:, :, None]


def _last(y: Tensor, lengths: Tensor | None) -> Tensor:
    if lengths is None:
        return y[:, -1]
    return y[torch.arange(len(y), device=y.device), lengths - 1]
