"""Attention pooling over time."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor, nn

from edgernn.nn.operator import STEPS

KIND: Final = "attention_pooling"
LOWEST: Final = -1e4


class AttentionPooling(nn.Module):
    """The mean of all steps, each weighted by how much the layer attends to it.

    s_t = v . tanh(W h_t + b);  a = softmax over t of s;  pooled = sum over t of a_t h_t

    Called as pool(y), pool(y, lengths=lengths) or pool(y, mask=mask) on y (N, T, H), (T, N, H)
    without batch_first; returns (N, H), which goes into a Linear. lengths: (N,) integers; mask:
    (N, T), or (T, N), 0 where a step is padding and does not count; a sequence of padding alone
    gives zeros.
    In a stream the pooled vector is there at every step, over the steps so far: with p and L, the
    pooled vector and the log of the sum of exponentials until now,
    p' = p + sigmoid(s - L) (h - p);  L' = max(L, s) + log(1 + exp(-|s - L|)).
    The integer program resolves weights to 2^-15: up to about 1000 steps a window.

    Parameters: weight (attention_size, input_size), bias (attention_size,), vector
    (attention_size,). Source: the additive score of Bahdanau et al. 2014, arXiv 1409.0473, with a
    learned vector in place of a query (Yang et al. 2016, Hierarchical Attention Networks).
    """

    def __init__(self, input_size: int, attention_size: int, batch_first: bool = True) -> None:
        super().__init__()
        if min(input_size, attention_size) < 1:
            raise ValueError("input_size and attention_size must be at least 1")
        self.input_size, self.attention_size = input_size, attention_size
        self.batch_first = batch_first
        self.weight = nn.Parameter(torch.empty(attention_size, input_size))
        self.bias = nn.Parameter(torch.empty(attention_size))
        self.vector = nn.Parameter(torch.empty(attention_size))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform in +-1 / sqrt of the inputs of each product, as nn.Linear."""
        for parameter, width in (
            (self.weight, self.input_size),
            (self.bias, self.input_size),
            (self.vector, self.attention_size),
        ):
            nn.init.uniform_(parameter, -1 / math.sqrt(width), 1 / math.sqrt(width))

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.attention_size}, batch_first={self.batch_first}"

    def forward(
        self, y: Tensor, *, mask: Tensor | None = None, lengths: Tensor | None = None
    ) -> Tensor:
        """(N, H) of y (N, T, H)."""
        if y.dim() != 3 or y.shape[2] != self.input_size:
            layout = "(N, T, H)" if self.batch_first else "(T, N, H)"
            raise ValueError(
                f"AttentionPooling reads {layout} with H = {self.input_size}, not {tuple(y.shape)}"
            )
        if lengths is not None:
            if mask is not None:
                raise ValueError("give lengths or mask, not both")
            mask = torch.ops.edgernn.padding_mask(lengths, y, self.batch_first)
        time = 1 if self.batch_first else 0
        if torch.compiler.is_exporting():
            batch = y.shape[1 - time]
            lowest = torch.full((1, batch, 1), LOWEST, dtype=y.dtype, device=y.device)
            start = [y.new_zeros(1, batch, self.input_size), lowest]
            params = [self.weight, self.bias, self.vector]
            pooled: Tensor = torch.ops.edgernn.recurrent(
                KIND, [y], start, params, [], mask, 1, False, self.batch_first
            )[0]
            return pooled.select(time, -1)
        scores = torch.tanh(y @ self.weight.t() + self.bias) @ self.vector
        if mask is None:
            weights = torch.softmax(scores, dim=time)
        else:
            counts = mask != 0
            scores = scores.masked_fill(~counts, torch.finfo(scores.dtype).min)
            # Of a sequence of padding alone no weight is left.
            weights = torch.softmax(scores, dim=time) * counts
        return (weights.unsqueeze(-1) * y).sum(dim=time)


def _step(
    w: dict[str, Tensor], x: list[Tensor], states: list[Tensor], numbers: dict[str, float]
) -> list[Tensor]:
    (h,), (p, total) = x, states
    score = (torch.tanh(h @ w["weight"].t() + w["bias"]) @ w["vector"]).unsqueeze(-1)
    pooled = p + torch.sigmoid(score - total) * (h - p)
    return [pooled, torch.logaddexp(total, score)]


STEPS[KIND] = _step
