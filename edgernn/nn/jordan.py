"""Jordan network."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from edgernn.cells.jordan import HIDDEN, OUTPUT, VARIANTS, kind_of
from edgernn.nn.base import Recurrent
from edgernn.nn.operator import STEPS


class Jordan(Recurrent):
    """Jordan network: a hidden layer, and an output that is fed back; its memory is the output.

    h = phi(W x + C y + b);  y' = psi(V h + c)

    Source: Jordan 1986, Serial Order: A Parallel Distributed Processing Approach (ICS Report 8604),
    without the decay of its state units. Returns the outputs, and as state the last one,
    (num_layers * directions, N, output_size); the layer above reads y.
    nonlinearity: phi, "tanh" or "relu". output_nonlinearity: psi, "identity", "sigmoid" or "tanh";
    with identity nothing keeps y within bounds but the weights.
    weight_ih (hidden_size, F), weight_yh (hidden_size, output_size), bias_ih; weight_hy
    (output_size, hidden_size), bias_hy.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        bidirectional: bool = False,
        *,
        nonlinearity: str = "tanh",
        output_nonlinearity: str = "identity",
    ) -> None:
        if nonlinearity not in HIDDEN or output_nonlinearity not in OUTPUT:
            raise ValueError(
                f"nonlinearity is one of {', '.join(HIDDEN)}, output_nonlinearity one of "
                f"{', '.join(OUTPUT)}; not {nonlinearity!r} and {output_nonlinearity!r}"
            )
        if output_size < 1:
            raise ValueError("output_size must be at least 1")
        self.output_size = output_size
        self.kind = kind_of(nonlinearity, output_nonlinearity)
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, bidirectional)

    @property
    def sizes(self) -> Mapping[str, int]:
        return {**super().sizes, "output": self.output_size}

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, output_size={self.output_size}, {self.kind}"


def _step(
    kind: str,
    w: dict[str, Tensor],
    x: list[Tensor],
    states: list[Tensor],
    numbers: dict[str, float],
) -> list[Tensor]:
    (y,), (_, hidden, output) = states, kind.split("_")
    total = x[0] @ w["weight_ih"].t() + w["bias_ih"] + y @ w["weight_yh"].t()
    h = torch.relu(total) if hidden == "relu" else torch.tanh(total)
    result = h @ w["weight_hy"].t() + w["bias_hy"]
    if output == "identity":
        return [result]
    return [torch.sigmoid(result) if output == "sigmoid" else torch.tanh(result)]


STEPS.update((cell.kind, partial(_step, cell.kind)) for cell in VARIANTS)
