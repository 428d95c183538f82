"""LSTM and GRU with layer normalisation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgernn.nn.base import Recurrent


def _scaled(x: Tensor, gain: Tensor, eps: float) -> Tensor:
    return nn.functional.layer_norm(x, x.shape[-1:], gain, None, eps)


class _LayerNormalized(Recurrent):
    """A cell with gains, which start at 1, and biases, which start at 0."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        bidirectional: bool = False,
        eps: float = 1e-5,
    ) -> None:
        if not eps > 0:
            raise ValueError("eps must be greater than 0")
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, bidirectional, {"eps": eps}
        )

    def reset_parameters(self) -> None:
        """Weights as torch.nn.GRU, gains 1, biases 0."""
        super().reset_parameters()
        for name, parameter in self.named_parameters():
            if name.startswith(("gain", "bias")):
                nn.init.constant_(parameter, float(name.startswith("gain")))


class LayerNormLSTM(_LayerNormalized):
    """LSTM with layer normalisation of both products and of the cell state.

    i, f, g, o = LN(W x; a_ih) + LN(U h; a_hh) + b
    c' = sigmoid(f) c + sigmoid(i) tanh(g);  h' = sigmoid(o) tanh(LN(c'; a_c) + b_c)
    with LN(z; a) = a (z - mean(z)) / sqrt(var(z) + eps)

    Mean and variance are those of all 4 * hidden_size rows of a product together, as the paper
    and its code have it. The two shifts of the paper's LN and its b are one bias here.
    Source: Ba, Kiros, Hinton 2016, Layer Normalization, arXiv 1607.06450, equations 20 to 22;
    eps as torch.nn.LayerNorm.
    weight_ih (4 * hidden_size, F), weight_hh, bias_ih, gain_ih (a_ih) and gain_hh hold rows
    i f g o; gain_c and bias_c (hidden_size,).
    """

    kind = "layer_norm_lstm"

    @staticmethod
    def step(
        w: dict[str, Tensor], x: list[Tensor], states: list[Tensor], numbers: dict[str, float]
    ) -> list[Tensor]:
        (h, c), eps = states, numbers["eps"]
        gates = _scaled(x[0] @ w["weight_ih"].t(), w["gain_ih"], eps) + w["bias_ih"]
        gates = gates + _scaled(h @ w["weight_hh"].t(), w["gain_hh"], eps)
        i, f, g, o = gates.chunk(4, dim=-1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return [torch.sigmoid(o) * torch.tanh(_scaled(c, w["gain_c"], eps) + w["bias_c"]), c]


class LayerNormGRU(_LayerNormalized):
    """GRU with layer normalisation of every product.

    r, z = sigmoid(LN(W_g x; a_g) + LN(U_g h; c_g) + b_g)
    n = tanh(LN(W_n x; a_n) + b_n + r (LN(U_n h; c_n) + d_n));  h' = (1 - z) h + z n
    with LN(y; a) = a (y - mean(y)) / sqrt(var(y) + eps)

    Mean and variance are those of the 2 * hidden_size rows of both gates together, and of the
    hidden_size rows of the candidate, as the paper has it. Unlike in torch.nn.GRU, z is the share
    of the new. Source: Ba, Kiros, Hinton 2016, Layer Normalization, arXiv 1607.06450,
    supplementary material (the GRU of the skip-thoughts experiments); eps as torch.nn.LayerNorm.
    weight_ih (3 * hidden_size, F), weight_hh, bias_ih, bias_hh, gain_ih and gain_hh hold rows
    r z n; b_g is the sum of both biases.
    """

    kind = "layer_norm_gru"

    @staticmethod
    def step(
        w: dict[str, Tensor], x: list[Tensor], states: list[Tensor], numbers: dict[str, float]
    ) -> list[Tensor]:
        (h,), eps = states, numbers["eps"]
        size = 2 * h.shape[1]

        def parts(y: Tensor, side: str) -> tuple[Tensor, Tensor]:
            gain, bias = w[f"gain_{side}"], w[f"bias_{side}"]
            return (
                _scaled(y[:, :size], gain[:size], eps) + bias[:size],
                _scaled(y[:, size:], gain[size:], eps) + bias[size:],
            )

        gates_x, new_x = parts(x[0] @ w["weight_ih"].t(), "ih")
        gates_h, new_h = parts(h @ w["weight_hh"].t(), "hh")
        r, z = torch.sigmoid(gates_x + gates_h).chunk(2, dim=-1)
        n = torch.tanh(new_x + r * new_h)
        return [h + z * (n - h)]
