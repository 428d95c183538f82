"""torch.nn.GRU, LSTM and RNN over padded sequences of different lengths."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from edgernn.cells import CELLS
from edgernn.nn.operator import STEPS


class VariableLength(nn.Module):
    """A GRU, LSTM or RNN of torch.nn that reads padded sequences, each to its own end.

    What pack_padded_sequence and pad_packed_sequence do around the layer, which torch.export
    cannot trace. y at a padded step is the state that the stream holds there: forwards that of
    the last true step, backwards the initial one. The state after the last step is that of the
    last true step, equal to what torch gives for a packed sequence.

    rnn: the layer, trained or not; its parameters stay where they are.
    """

    def __init__(self, rnn: nn.GRU | nn.LSTM | nn.RNN) -> None:
        super().__init__()
        if not isinstance(rnn, (nn.GRU, nn.LSTM, nn.RNN)):
            raise TypeError(
                f"VariableLength takes an nn.GRU, nn.LSTM or nn.RNN, not {type(rnn).__name__}; "
                "layers of edgernn.nn take lengths themselves"
            )
        self.rnn = rnn

    def forward(
        self, x: Tensor, lengths: Tensor, hx: Tensor | tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Any]:
        """y in the layout of x, and the state after the last true step, as the layer gives it.

        x: (N, T, F) with batch_first, else (T, N, F). lengths: (N,) integers, 1 .. T, in any
        order. hx: as of the layer; zeros by default.
        """
        if x.dim() != 3 or lengths.dim() != 1:
            raise ValueError(
                f"VariableLength reads x with three axes and lengths with one, not "
                f"{tuple(x.shape)} and {tuple(lengths.shape)}"
            )
        if torch.compiler.is_exporting():
            return self._exported(x, lengths, hx)
        time = 1 if self.rnn.batch_first else 0
        packed = pack_padded_sequence(
            x, lengths.cpu(), batch_first=self.rnn.batch_first, enforce_sorted=False
        )
        y_packed, final = self.rnn(packed, hx)
        y, _ = pad_packed_sequence(
            y_packed, batch_first=self.rnn.batch_first, total_length=x.shape[time]
        )
        return self._held(y, lengths.to(x.device), self._first(x, hx)[0]), final

    def _held(self, y: Tensor, lengths: Tensor, initial: Tensor) -> Tensor:
        """y with the state that is held at each padded step."""
        if not self.rnn.batch_first:
            return self._held_batch_first(y.transpose(0, 1), lengths, initial).transpose(0, 1)
        return self._held_batch_first(y, lengths, initial)

    def _held_batch_first(self, y: Tensor, lengths: Tensor, initial: Tensor) -> Tensor:
        rows = torch.arange(len(y), device=y.device)
        size = y.shape[2] // (1 + self.rnn.bidirectional)
        held = y[rows, lengths - 1]
        if self.rnn.bidirectional:
            held = torch.cat([held[:, :size], initial[-1]], dim=-1)
        steps = torch.arange(y.shape[1], device=y.device)
        return torch.where((steps < lengths[:, None])[:, :, None], y, held[:, None])

    def _first(self, x: Tensor, hx: Any) -> list[Tensor]:
        """The initial states, (layers * directions, N, S) each."""
        rnn = self.rnn
        if hx is not None:
            return list(hx) if isinstance(hx, (tuple, list)) else [hx]
        rows, batch = rnn.num_layers * (1 + rnn.bidirectional), x.shape[1 - rnn.batch_first]
        sizes = [rnn.proj_size or rnn.hidden_size, rnn.hidden_size]
        states = 2 if isinstance(rnn, nn.LSTM) else 1
        return [x.new_zeros(rows, batch, size) for size in sizes[:states]]

    def _exported(self, x: Tensor, lengths: Tensor, hx: Any) -> tuple[Tensor, Any]:
        rnn = self.rnn
        if rnn.training and rnn.dropout > 0:
            raise RuntimeError("its layers drop values in training; call model.eval() first")
        kind = "lstm_projection" if rnn.proj_size else rnn.mode.lower()
        mask = torch.ops.edgernn.padding_mask(lengths, x, rnn.batch_first)
        y, *final = torch.ops.edgernn.recurrent(
            kind,
            [x],
            self._first(x, hx),
            self._params(kind, x),
            [],
            mask,
            rnn.num_layers,
            rnn.bidirectional,
            rnn.batch_first,
        )
        return y, final[0] if len(final) == 1 else tuple(final)

    def _params(self, kind: str, x: Tensor) -> list[Tensor]:
        directions = ("", "_reverse")[: 1 + self.rnn.bidirectional]
        return [
            getattr(self.rnn, f"{name}_l{layer}{end}")
            if hasattr(self.rnn, f"{name}_l{layer}{end}")
            else x.new_zeros(len(getattr(self.rnn, f"weight_ih_l{layer}{end}")))
            for layer in range(self.rnn.num_layers)
            for end in directions
            for name in CELLS[kind].arrays
        ]


def _gru(
    w: dict[str, Tensor], x: list[Tensor], states: list[Tensor], numbers: dict[str, float]
) -> list[Tensor]:
    (h,) = states
    gx_r, gx_z, gx_n = (x[0] @ w["weight_ih"].t() + w["bias_ih"]).chunk(3, dim=-1)
    gh_r, gh_z, gh_n = (h @ w["weight_hh"].t() + w["bias_hh"]).chunk(3, dim=-1)
    z = torch.sigmoid(gx_z + gh_z)
    n = torch.tanh(gx_n + torch.sigmoid(gx_r + gh_r) * gh_n)
    return [n + z * (h - n)]


def _lstm(
    w: dict[str, Tensor], x: list[Tensor], states: list[Tensor], numbers: dict[str, float]
) -> list[Tensor]:
    h, c = states
    gates = x[0] @ w["weight_ih"].t() + w["bias_ih"] + h @ w["weight_hh"].t() + w["bias_hh"]
    i, f, g, o = gates.chunk(4, dim=-1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    h = torch.sigmoid(o) * torch.tanh(c)
    if "weight_hr" in w:
        h = h @ w["weight_hr"].t()
    return [h, c]


def _rnn(phi: Any) -> Any:
    def step(
        w: dict[str, Tensor], x: list[Tensor], states: list[Tensor], numbers: dict[str, float]
    ) -> list[Tensor]:
        (h,) = states
        a = x[0] @ w["weight_ih"].t() + w["bias_ih"] + h @ w["weight_hh"].t() + w["bias_hh"]
        return [phi(a)]

    return step


# For the exported program's own run; in training the layer's kernels do it.
STEPS.update(
    {
        "gru": _gru,
        "lstm": _lstm,
        "lstm_projection": _lstm,
        "rnn_tanh": _rnn(torch.tanh),
        "rnn_relu": _rnn(torch.relu),
    }
)
