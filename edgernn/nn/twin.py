"""Twin networks: a backward layer that teaches a forward one, and is then left behind."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TwinGRU(nn.Module):
    """A causal GRU trained to know what a GRU from the other side knows.

    y_t = GRU(x_t, y_t-1);  b_t = GRU'(x_t, b_t+1);  loss = mean_t |affine(y_t) - b_t|^2

    Called, it is the forward GRU alone: it streams, and only it is exported. While training, add
    `twin_loss(x, y)` to the loss of the task; no gradient of it reaches the backward layer, which
    is trained by its own `backward(x)` output on the same task, as the paper has it.
    Source: Serdyuk et al. 2018, Twin Networks, arXiv 1708.06742.
    x (N, T, input_size), or time first without batch_first; y and b (N, T, hidden_size).
    """

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, batch_first: bool = False
    ) -> None:
        super().__init__()
        self.time = 1 if batch_first else 0
        self.gru = nn.GRU(input_size, hidden_size, num_layers, batch_first=batch_first)
        self.twin = nn.GRU(input_size, hidden_size, num_layers, batch_first=batch_first)
        self.affine = nn.Linear(hidden_size, hidden_size)

    def forward(self, x: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """y and the state, as nn.GRU returns them."""
        y, h = self.gru(x, hx)
        return y, h

    def backward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """What the twin says at each step, having read the steps after it.

        lengths: (N,) integers, of sequences padded at their end; the twin starts at the true last
        step of each, and its output at padded steps means nothing.
        """
        if lengths is None:
            turned: Tensor = torch.flip(self.twin(torch.flip(x, (self.time,)))[0], (self.time,))
            return turned
        return self._turned(self.twin(self._turned(x, lengths))[0], lengths)

    def twin_loss(self, x: Tensor, y: Tensor, lengths: Tensor | None = None) -> Tensor:
        """The mean squared distance between the layer's y, mapped, and the twin's output, over the
        steps that are no padding."""
        with torch.no_grad():
            target = self.backward(x, lengths)
        distance: Tensor = (self.affine(y) - target) ** 2
        if lengths is None:
            return torch.mean(distance)
        mask = self._steps(x) < self._per_sequence(lengths)
        return (distance * mask[:, :, None]).sum() / (mask.sum() * distance.shape[2])

    def _steps(self, x: Tensor) -> Tensor:
        """The index of each step, (1, T), or (T, 1) without batch_first."""
        steps = torch.arange(x.shape[self.time], device=x.device)
        return steps[None] if self.time else steps[:, None]

    def _per_sequence(self, lengths: Tensor) -> Tensor:
        return lengths[:, None] if self.time else lengths[None]

    def _turned(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Each sequence from its last true step to its first; padding stays behind it."""
        steps, ends = self._steps(x), self._per_sequence(lengths)
        order = torch.where(steps < ends, ends - 1 - steps, steps)
        return x.gather(self.time, order[:, :, None].expand_as(x))
