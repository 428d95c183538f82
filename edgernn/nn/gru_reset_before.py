"""GRU as published."""

from __future__ import annotations

import torch
from torch import Tensor

from edgernn.nn.base import Recurrent


class GRUResetBefore(Recurrent):
    """GRU as published: the reset gate acts on the state, before the recurrent product.

    r = sigmoid(W_r x + U_r h + b_r);  z = sigmoid(W_z x + U_z h + b_z)
    n = tanh(W_n x + U_n (r h) + b_n);  h' = (1 - z) h + z n

    Source: Cho et al. 2014, Learning Phrase Representations using RNN Encoder-Decoder, arXiv
    1406.1078; z as in Chung et al. 2014, arXiv 1412.3555, where z = 1 writes. With z = 1 keeping,
    as Cho and torch.nn.GRU have it, it is the same network with W_z, U_z and b_z negated.

    Not torch.nn.GRU, which resets after the product, r (U_n h + c_n): their weights do not fit
    each other, so the parameters differ as well. weight_ih (3 * hidden_size, F) and bias_ih hold
    rows r z n; weight_hh (2 * hidden_size, H) rows r z, which read h; weight_rh (H, H) reads r h.
    In Keras: GRU(reset_after=False); in ONNX: linear_before_reset = 0, both with z negated.
    """

    kind = "gru_reset_before"

    @staticmethod
    def step(
        w: dict[str, Tensor], x: list[Tensor], states: list[Tensor], numbers: dict[str, float]
    ) -> list[Tensor]:
        (h,) = states
        gx_r, gx_z, gx_n = (x[0] @ w["weight_ih"].t() + w["bias_ih"]).chunk(3, dim=-1)
        gh_r, gh_z = (h @ w["weight_hh"].t()).chunk(2, dim=-1)
        r, z = torch.sigmoid(gx_r + gh_r), torch.sigmoid(gx_z + gh_z)
        n = torch.tanh(gx_n + (r * h) @ w["weight_rh"].t())
        return [(1 - z) * h + z * n]
