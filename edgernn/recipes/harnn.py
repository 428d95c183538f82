"""The network of `edgernn train hierarchy`: HARNN.

Source: Huang et al. 2019, Hierarchical Multi-label Text Classification: An Attention-based
Recurrent Network Approach, CIKM 2019, doi 10.1145/3357384.3357885. With V the words as a
bidirectional LSTM has read them, mean(V) their mean over time, for each level h = 1 .. H:

text-category attention  V~ = omega^(h-1) V;  a_c = softmax over t of S_c . tanh(W_s V~_t);
                         r = mean over c of sum over t of a_ct V~_t
category prediction      A^h = relu(W_T [mean(V); r] + b_T);  P_L^h = softmax(W_L A^h + b_L)
category dependency      omega^h_t = gain sum over c of P_L^h_c a_ct
all levels together      A_G = relu(W_G [A^1; ..; A^H] + b_G);  P_G = softmax(W_M A_G + b_M)
the answer               P = (1 - alpha) P_L + alpha P_G

Where the paper has a sigmoid for each category, because there a text has several, here is a softmax
over each level; and where it has the mean over the categories for omega, the gain here is the mean
length of a text, so that a word has the weight 1 on average, as on the first level. The wide part,
which may be left out, is not the paper's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import edgernn.nn as enn
from edgernn.recipes.text.wide import DEVIATION, log_ratios
from edgernn.training.base import Layers
from edgernn.training.cells import parse
from edgernn.training.dropout import VariationalDropout, run_with_recurrent_dropout

SPREAD = 0.3
"""Standard deviation of word vectors at the start."""


class Harnn(nn.Module):
    """Token ids (N, T) to logits: those of each level (N, C_h), then those of all levels together,
    one after the other, (N, C_1 + .. + C_H).

    categories: C_h of each level. layers: of the words; dropout is of word vectors, of what the
    recurrent layers give, and in front of the last linear layers. attention: rows of W_s. dense:
    rows of W_T and W_G. wide: numbers for each token of a part that is not the paper's: what single
    words say, averaged, is added to the logits; 0 for none. With `lengths` (N,) padded steps at the
    end change nothing; called without, it is what is exported.
    """

    def __init__(
        self,
        tokens: int,
        categories: Sequence[int],
        layers: Layers,
        attention: int,
        dense: int,
        gain: float = 1.0,
        wide: int = 0,
    ) -> None:
        super().__init__()
        cell, width = parse(layers.cell), 2 * layers.hidden
        self.categories = tuple(categories)
        self.embedding = nn.Embedding(tokens, layers.embedding)
        nn.init.normal_(self.embedding.weight, std=SPREAD)
        self.features = VariationalDropout(layers.dropout)
        self.dropout = nn.Dropout(layers.dropout)
        self.recurrent_dropout = layers.recurrent_dropout
        widths = [layers.embedding] + [width] * (layers.layers - 1)
        self.layers = nn.ModuleList(cell.layer(size, layers.hidden) for size in widths)
        self.mean = enn.MeanOverTime()
        self.attention = nn.ModuleList(
            enn.CategoryAttention(width, attention, count, gain) for count in categories
        )
        self.dense = nn.ModuleList(nn.Linear(2 * width, dense) for _ in categories)
        self.local = nn.ModuleList(nn.Linear(dense, count) for count in categories)
        self.joined = nn.Linear(len(self.categories) * dense, dense)
        self.overall = nn.Linear(dense, sum(self.categories))
        wide = min(wide, tokens, sum(self.categories))
        self.said = nn.Embedding(tokens, wide) if wide else None
        self.says = nn.Linear(wide, sum(self.categories)) if wide else None

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, ...]:
        """See the class."""
        v = self.features(self.embedding(x))
        for layer in self.layers:
            v = run_with_recurrent_dropout(layer, v, self.recurrent_dropout, lengths)[0]
            v = self.features(v)
        mean = self.mean(v, lengths=lengths)
        omega: Tensor | None = None
        seen, answers = [], []
        levels = list(zip(self.attention, self.dense, self.local, strict=True))
        for level, (attention, dense, local) in enumerate(levels, 1):
            r, a = attention(v, omega, lengths=lengths)
            both = torch.cat([mean, r], dim=-1)
            if level < len(levels):
                assert isinstance(attention, enn.CategoryAttention)
                made = torch.relu(dense(both))
                logits = local(self.dropout(made))
                omega = attention.passed_on(torch.softmax(logits, dim=-1), a)
                seen.append(made[:, -1])
                answers.append(logits[:, -1])
            else:
                # Nothing follows that reads it at every step.
                seen.append(torch.relu(dense(both[:, -1])))
                answers.append(local(self.dropout(seen[-1])))
        total = torch.relu(self.joined(torch.cat(seen, dim=-1)))
        answers.append(self.overall(self.dropout(total)))
        if self.said is not None and self.says is not None:
            # The mean of logits, not of a table's rows, whose scale is as coarse as int8.
            said = self.mean(self.says(self.said(x)), lengths=lengths)[:, -1]
            parts = torch.split(said, list(self.categories), dim=-1)
            answers = [a + b for a, b in zip(answers, (*parts, said), strict=True)]
        return tuple(answers)

    @torch.no_grad()
    def begin(
        self,
        texts: Sequence[NDArray[np.int64]],
        labels: Sequence[Sequence[NDArray[np.int64]]],
    ) -> None:
        """Start the wide part as naive Bayes: training texts' ids (T_i,), classes of each level.

        Its logits are a mean over the tokens, times what makes them DEVIATION wide.
        """
        if self.said is None or self.says is None:
            return
        size, width = self.said.weight.shape
        ratios = np.hstack([log_ratios(texts, own, size) for own in labels])
        left, values, right = np.linalg.svd(ratios, full_matrices=False)
        table, right = left[:, :width] * values[:width], right[:width]
        means = np.stack([table[ids].mean(axis=0) for ids in texts]) @ right
        center, largest = means.mean(axis=0), np.abs(table).max()
        gain = DEVIATION / (means - center).std()
        self.said.weight.copy_(torch.from_numpy(table / largest))
        self.says.weight.copy_(torch.from_numpy(right.T * largest * gain))
        self.says.bias.copy_(torch.from_numpy(-gain * center))
