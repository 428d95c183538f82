"""A recurrent network of text beside a sum of what each word says by itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgernn.training.base import Layers
from edgernn.training.network import SequenceNetwork

SPREAD = 0.1
"""Standard deviation of token vectors at the start: small, so that one scale of int8 suits what is
learnt, and rare words weigh little."""
WIDTH = 16
"""Numbers for each token in the wide part, at most; one less than classes do."""
DEVIATION = 1.0
"""Standard deviation of the wide part's logits over the training texts, at the start."""


class WideNetwork(nn.Module):
    """Token ids (N, T) to logits (N, C): a SequenceNetwork's, and those of a mean over the tokens.

    The second, "wide" part is naive Bayes to begin with: a table of a few numbers for each token,
    averaged so far, and a linear layer. It has what single words say, so that the recurrent part
    learns what their order adds. Both stream.
    """

    def __init__(self, classes: int, tokens: int, layers: Layers) -> None:
        super().__init__()
        self.recurrent = SequenceNetwork(0, classes, layers, "once", tokens)
        self.words = nn.Embedding(tokens, min(classes - 1, WIDTH))
        self.said = nn.Linear(self.words.embedding_dim, classes)
        with torch.no_grad():
            self.words.weight.zero_()
            for weight in (w for n, w in self.named_parameters() if n.endswith("embedding.weight")):
                weight.mul_(SPREAD)

    @property
    def side(self) -> list[Tensor]:
        """As of SequenceNetwork."""
        return self.recurrent.side

    @property
    def penalty(self) -> Tensor | None:
        """As of SequenceNetwork."""
        return self.recurrent.penalty

    @torch.no_grad()
    def begin(
        self, texts: Sequence[NDArray[np.int64]], labels: Sequence[NDArray[np.int64]]
    ) -> None:
        """Start as naive Bayes, of the training texts' ids (T_i,) and classes ().

        Its logits are a mean over tokens here, not a sum, of which each class's mean over the texts
        is taken; times what makes them DEVIATION wide.
        """
        ratios = log_ratios(texts, labels, self.words.num_embeddings)
        left, width, right = np.linalg.svd(ratios, full_matrices=False)
        size = self.words.embedding_dim
        table = left[:, :size] * width[:size]
        largest = np.abs(table).max()
        means = np.stack([table[ids].mean(axis=0) for ids in texts]) @ right[:size]
        center = means.mean(axis=0)
        gain = DEVIATION / (means - center).std()
        self.words.weight.copy_(torch.from_numpy(table / largest))
        self.said.weight.copy_(torch.from_numpy(right[:size].T * largest * gain))
        self.said.bias.copy_(torch.from_numpy(-gain * center))

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """See the class; lengths: (N,) of padded texts."""
        # First, because its layers tell the importer which axis is time.
        recurrent: Tensor = self.recurrent(x, lengths=lengths)
        # The mean of logits, not of a table's rows, whose scale is as coarse as int8.
        words = self.said(self.words(x))
        if lengths is None:
            mean = words.mean(dim=1)
        else:
            valid = torch.arange(x.shape[1], device=x.device) < lengths[:, None]
            mean = (words * valid[:, :, None]).sum(1) / lengths.to(words)[:, None]
        result: Tensor = recurrent + mean
        return result


def log_ratios(
    texts: Sequence[NDArray[np.int64]], labels: Sequence[NDArray[np.int64]], size: int
) -> NDArray[np.float64]:
    """What each token says of each class, (size, classes): naive Bayes' log-count ratios.

    The log of the share of the class among the texts that have the token, one text added to each,
    against the mean over classes (Wang and Manning 2012, Baselines and bigrams: simple, good
    sentiment and topic classification).
    """
    counts = np.ones((size, int(max(labels)) + 1))
    for ids, label in zip(texts, labels, strict=True):
        counts[np.unique(ids), label] += 1
    logs = np.log(counts / counts.sum(axis=0))
    ratios: NDArray[np.float64] = logs - logs.mean(axis=1, keepdims=True)
    return ratios
