"""Text-category attention: every category of a level of a hierarchy weighs the words of a text."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgernn.nn.over_time import Hold, SoftmaxOverTime, SumOverTime


class CategoryAttention(nn.Module):
    """How much each of C categories looks at each step, and the text as they see it on average.

    V~_t = omega_t V_t;  O_t = tanh(W V~_t);  a_c = softmax over t of S_c . O_t
    r = 1/C sum over c, t of a_ct V~_t

    Called as layer(v), layer(v, omega), with lengths=lengths or mask=mask; v: (N, T, H); omega:
    (N, T, 1), the weight of each step as the level above gives it, by default 1. Returns r
    (N, 1, H) and a (N, T, C). The mean over the categories is taken of their weights, before the
    steps are summed up, so that nothing of C x H numbers is there.
    passed_on(p, a) is the omega of the level below, gain sum over c of p_c a_ct; with the usual
    number of steps as the gain a step has the weight 1 on average.

    In an exported program r is (N, T, H), the sums so far, and r[:, -1] is the one over all; what
    is made of r and read by `passed_on` is to be made of every step. Such a program reads its
    window once backwards and once forwards for each layer.

    Parameters: weight (attention_size, input_size), vectors (categories, attention_size), S in the
    paper, an embedding of each category. Source: Huang et al. 2019, Hierarchical Multi-label Text
    Classification: An Attention-based Recurrent Network Approach, CIKM 2019,
    doi 10.1145/3357384.3357885, text-category attention and class dependency. There the gain is
    1 / C, which leaves little of the steps and W of the level below to make up for it.
    """

    def __init__(
        self, input_size: int, attention_size: int, categories: int, gain: float = 1.0
    ) -> None:
        super().__init__()
        if min(input_size, attention_size, categories) < 1:
            raise ValueError("input_size, attention_size and categories must be at least 1")
        self.input_size, self.attention_size = input_size, attention_size
        self.categories, self.gain = categories, gain
        self.weight = nn.Parameter(torch.empty(attention_size, input_size))
        self.vectors = nn.Parameter(torch.empty(categories, attention_size))
        self.softmax, self.total = SoftmaxOverTime(reverse=True), SumOverTime()
        self.hold = Hold(reverse=True)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform in +-1 / sqrt of the inputs of each product, as nn.Linear."""
        for parameter in (self.weight, self.vectors):
            bound = 1 / math.sqrt(parameter.shape[1])
            nn.init.uniform_(parameter, -bound, bound)

    def extra_repr(self) -> str:
        sizes = f"{self.input_size}, {self.attention_size}, {self.categories}"
        return f"{sizes}, gain={self.gain}"

    def forward(
        self,
        v: Tensor,
        omega: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """r (N, 1, H) and a (N, T, C)."""
        if v.dim() != 3 or v.shape[2] != self.input_size:
            raise ValueError(
                f"CategoryAttention reads (N, T, H) with H = {self.input_size}, not "
                f"{tuple(v.shape)}"
            )
        if omega is not None:
            v = v * omega
        scores = functional.linear(torch.tanh(functional.linear(v, self.weight)), self.vectors)
        a = self.softmax(scores, mask=mask, lengths=lengths)
        share = functional.linear(a, torch.full((1, self.categories), 1.0 / self.categories))
        return self.total(v * share, mask=mask, lengths=lengths), a

    def passed_on(self, p: Tensor, a: Tensor) -> Tensor:
        """omega (N, T, 1), of probabilities p (N, 1, C), made of r."""
        weighed = self.hold(p) * a
        return functional.linear(weighed, torch.full((1, self.categories), self.gain))
