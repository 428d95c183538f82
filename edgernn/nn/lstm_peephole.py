"""LSTM with peephole connections."""

from __future__ import annotations

import torch
from torch import Tensor

from edgernn.nn.base import Recurrent


class LSTMPeephole(Recurrent):
    """LSTM whose gates see the cell state: i and f the old one, o the new one.

    i, f = sigmoid(W_if x + U_if h + p_if c + b_if);  g = tanh(W_g x + U_g h + b_g)
    c' = f c + i g;  o = sigmoid(W_o x + U_o h + p_o c' + b_o);  h' = o tanh(c')

    p are vectors, one weight for each unit. Source: Gers and Schmidhuber 2000, Recurrent Nets that
    Time and Count; the equations of Graves 2013, arXiv 1308.0850. The state is (h, c), as that of
    torch.nn.LSTM. weight_ih (4 * hidden_size, F), weight_hh (4 * hidden_size, H) and bias_ih hold
    rows i f g o, as torch.nn.LSTM's; weight_peephole (3 * hidden_size,) holds p of i f o.
    """

    kind = "lstm_peephole"

    @staticmethod
    def step(
        w: dict[str, Tensor], x: list[Tensor], states: list[Tensor], numbers: dict[str, float]
    ) -> list[Tensor]:
        h, c = states
        gates = x[0] @ w["weight_ih"].t() + h @ w["weight_hh"].t() + w["bias_ih"]
        a_i, a_f, a_g, a_o = gates.chunk(4, dim=-1)
        p_i, p_f, p_o = w["weight_peephole"].chunk(3)
        i, f = torch.sigmoid(a_i + p_i * c), torch.sigmoid(a_f + p_f * c)
        c = f * c + i * torch.tanh(a_g)
        o = torch.sigmoid(a_o + p_o * c)
        return [o * torch.tanh(c), c]
