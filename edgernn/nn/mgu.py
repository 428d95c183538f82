"""Minimal gated unit."""

from __future__ import annotations

import torch
from torch import Tensor

from edgernn.nn.base import Recurrent


class MGU(Recurrent):
    """Minimal gated unit: a GRU whose one gate both forgets and resets.

    f = sigmoid(W_f x + U_f h + b_f);  n = tanh(W_n x + U_n (f h) + b_n);  h' = h + f (n - h)

    Source: Zhou et al. 2016, Minimal Gated Unit for Recurrent Neural Networks, arXiv 1603.09420.
    weight_ih (2 * hidden_size, F) and bias_ih hold rows f n, weight_hh (2 * hidden_size, H) too.
    """

    kind = "mgu"

    @staticmethod
    def step(
        w: dict[str, Tensor], x: list[Tensor], states: list[Tensor], numbers: dict[str, float]
    ) -> list[Tensor]:
        (h,) = states
        gx_f, gx_n = (x[0] @ w["weight_ih"].t() + w["bias_ih"]).chunk(2, dim=-1)
        forget, new = w["weight_hh"].chunk(2)
        f = torch.sigmoid(gx_f + h @ forget.t())
        n = torch.tanh(gx_n + (f * h) @ new.t())
        return [h + f * (n - h)]
