"""GRU-D, for missing values and irregular time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from edgernn.nn.base import Recurrent


class GRUD(Recurrent):
    """GRU-D: missing values fade from the last one seen to the mean, and so does the memory.

    g_x = exp(-max(0, w_x d + b_x));  g_h = exp(-max(0, W_h d + b_h))
    x^ = m x + (1 - m) (g_x x_last + (1 - g_x) mean);  h^ = g_h h
    r, z = sigmoid(W x^ + U h^ + V m + b);  n = tanh(W_n x^ + U_n (r h^) + V_n m + b_n)
    h' = (1 - z) h^ + z n;  x_last' = m x + (1 - m) x_last

    Called as layer(x, observed, gap): x (T, N, F), or (N, T, F) with batch_first; observed (m), of
    the same shape, 1.0 where an element of x was measured, 0.0 where it is missing; gap (d), of
    the same shape, the time since that feature was last measured. What x holds where it is
    missing never matters, so fill it with any finite number. Returns y and the states after the
    last step, (h, x_last). x_last starts at the mean.
    mean: (F,), of each feature over the training data; zeros unless it is given. One layer; stack
    nn.GRU on it. Source: Che et al. 2018, Recurrent Neural Networks for Multivariate Time Series
    with Missing Values, arXiv 1606.01865, equations 4 to 9; w_x is diagonal, as there.
    weight_ih (3 * hidden_size, F), weight_hh, weight_mh (V) and bias_ih hold rows r z n;
    decay_x (F,), bias_decay_x, decay_h (H, F), bias_decay_h.
    """

    kind = "gru_d"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        batch_first: bool = False,
        bidirectional: bool = False,
        mean: Tensor | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size, 1, bias, batch_first, bidirectional)
        start = torch.zeros(input_size) if mean is None else torch.as_tensor(mean).detach().float()
        if start.shape != (input_size,):
            raise ValueError(f"mean is one number per feature, ({input_size},)")
        for suffix, _ in self._rows():
            # Measured, not trained.
            del self._parameters[f"mean_{suffix}"]
            self.register_buffer(f"mean_{suffix}", start.clone())

    def forward(  # type: ignore[override]
        self,
        x: Tensor,
        observed: Tensor,
        gap: Tensor,
        hx: tuple[Tensor, ...] | None = None,
        *,
        mask: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> tuple[Tensor, Any]:
        """y (T, N, H * directions) in the layout of x, and (h, x_last) after the last step.

        mask and lengths say which steps are padding, as in every layer of edgernn.nn.
        """
        for name, other in (("observed", observed), ("gap", gap)):
            if other.shape != x.shape or not other.is_floating_point():
                raise ValueError(
                    f"{name} must be floating point and of the shape of x, {tuple(x.shape)}, not "
                    f"{other.dtype} {tuple(other.shape)}"
                )
        if hx is None and x.dim() == 3:
            batch = x.shape[0 if self.batch_first else 1]
            means = torch.stack([getattr(self, f"mean_{suffix}") for suffix, _ in self._rows()])
            h = x.new_zeros(len(means), batch, self.hidden_size)
            hx = (h, means.unsqueeze(1).expand(-1, batch, -1))
        return self._forward([x, observed, gap], hx, mask, lengths)

    @staticmethod
    def step(
        w: dict[str, Tensor], x: list[Tensor], states: list[Tensor], numbers: dict[str, float]
    ) -> list[Tensor]:
        (now, observed, gap), (h, last) = x, states
        rate_x = torch.exp(-torch.relu(gap * w["decay_x"] + w["bias_decay_x"]))
        rate_h = torch.exp(-torch.relu(gap @ w["decay_h"].t() + w["bias_decay_h"]))
        filled = torch.where(observed != 0, now, w["mean"] + rate_x * (last - w["mean"]))
        h = rate_h * h
        gx = filled @ w["weight_ih"].t() + observed @ w["weight_mh"].t() + w["bias_ih"]
        both = 2 * h.shape[1]
        gates, new = w["weight_hh"][:both], w["weight_hh"][both:]
        r, z = torch.sigmoid(gx[:, :both] + h @ gates.t()).chunk(2, dim=-1)
        n = torch.tanh(gx[:, both:] + (r * h) @ new.t())
        return [h + z * (n - h), torch.where(observed != 0, now, last)]
