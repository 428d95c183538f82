"""FastGRNN."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from edgernn.cells.fastgrnn import KINDS
from edgernn.nn.base import Recurrent
from edgernn.nn.operator import STEPS


class FastGRNN(Recurrent):
    """FastGRNN: gate and candidate share W and U, which may be of low rank; for tiny models.

    a = W x + U h;  z = sigmoid(a + b_z);  n = tanh(a + b_n)
    h' = (sigmoid(zeta) (1 - z) + sigmoid(nu)) n + z h

    zeta and nu are trained numbers, one of each per layer. Source: Kusupati et al. 2018, FastGRNN:
    A Fast, Accurate, Stable and Tiny Kilobyte Sized Gated Recurrent Neural Network, arXiv
    1901.02358.

    w_rank, u_rank: W = weight_ih_up (hidden_size, w_rank) times weight_ih_down (w_rank, F) and U =
    weight_hh_up times weight_hh_down, executed as two products each; None: weight_ih
    (hidden_size, F), weight_hh (hidden_size, hidden_size) whole.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        bidirectional: bool = False,
        *,
        w_rank: int | None = None,
        u_rank: int | None = None,
    ) -> None:
        for name, rank in (("w_rank", w_rank), ("u_rank", u_rank)):
            if rank is not None and rank < 1:
                raise ValueError(f"{name} must be at least 1, or None for a matrix of full rank")
        self.w_rank, self.u_rank = w_rank, u_rank
        self.kind = KINDS[(w_rank is not None) + 2 * (u_rank is not None)]
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, bidirectional)

    @property
    def sizes(self) -> Mapping[str, int]:
        ranks = {"w_rank": self.w_rank, "u_rank": self.u_rank}
        return {**super().sizes, **{name: rank for name, rank in ranks.items() if rank}}

    def reset_parameters(self) -> None:
        """Uniform in +-1 / sqrt(hidden_size); zeta 1, nu -4, biases 1, as the authors start."""
        super().reset_parameters()
        first = {"zeta": 1.0, "nu": -4.0, "bias": 1.0}
        for name, parameter in self.named_parameters():
            value = first.get(name.partition("_")[0])
            if value is not None:
                nn.init.constant_(parameter, value)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, w_rank={self.w_rank}, u_rank={self.u_rank}"

    @staticmethod
    def step(
        w: dict[str, Tensor], x: list[Tensor], states: list[Tensor], numbers: dict[str, float]
    ) -> list[Tensor]:
        (h,) = states
        a = _product(w, "weight_ih", x[0]) + _product(w, "weight_hh", h)
        z, n = torch.sigmoid(a + w["bias_z"]), torch.tanh(a + w["bias_n"])
        zeta, nu = torch.sigmoid(w["zeta"]), torch.sigmoid(w["nu"])
        return [(zeta * (1 - z) + nu) * n + z * h]


STEPS.update(dict.fromkeys(KINDS, FastGRNN.step))


def _product(w: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    if name in w:
        return x @ w[name].t()
    return x @ w[f"{name}_down"].t() @ w[f"{name}_up"].t()
