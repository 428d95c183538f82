"""What may follow a bidirectional layer: ways to make one vector of the two directions."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class GatedFusion(nn.Module):
    """A learned gate between the directions of a bidirectional layer.

    g = sigmoid(W [hf; hb] + b);  z = g hf + (1 - g) hb, computed as hb + g (hf - hb)

    y: (..., 2 * hidden_size), as nn.GRU(bidirectional=True) returns it -> (..., hidden_size).
    Source: the gated unit of Arevalo et al. 2017, Gated Multimodal Units, arXiv 1702.01992.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.gate = nn.Linear(2 * hidden_size, hidden_size)

    def forward(self, y: Tensor) -> Tensor:
        forward, backward = y.chunk(2, dim=-1)
        fused: Tensor = backward + torch.sigmoid(self.gate(y)) * (forward - backward)
        return fused


class RecurrentFusion(nn.Module):
    """A GRU over both directions of a bidirectional layer.

    z_t = GRU([hf_t; hb_t], z_t-1); y (N, T, 2 * hidden_size) -> (N, T, fused_size), or time first
    without batch_first. The GRU is nn.GRU, its equations are those of PyTorch.
    """

    def __init__(
        self, hidden_size: int, fused_size: int | None = None, batch_first: bool = False
    ) -> None:
        super().__init__()
        self.gru = nn.GRU(2 * hidden_size, fused_size or hidden_size, batch_first=batch_first)

    def forward(self, y: Tensor) -> Tensor:
        fused: Tensor = self.gru(y)[0]
        return fused
