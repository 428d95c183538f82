"""What the layers of `edgernn.nn` share: parameters named and called as torch.nn.GRU has them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from edgernn.cells import CELLS
from edgernn.cells.sizes import evaluate
from edgernn.nn.operator import STEPS, run_stack

Shapes = Mapping[str, tuple[int, ...]]


class Recurrent(nn.Module):
    """A stack of one cell. Subclasses give `kind`, `step`, perhaps `sizes`: see CONTRIBUTING.

    Arguments as of torch.nn.GRU: x is (T, N, F), or (N, T, F) with batch_first; parameters are
    called weight_ih_l0, weight_ih_l0_reverse, and so on. Called as layer(x), layer(x, hx),
    layer(x, lengths=lengths) or layer(x, mask=mask); returns y and the state after the last step,
    (num_layers * directions, N, hidden_size), a tuple of them for cells with several states.
    lengths: (N,) integers, true lengths of padded sequences; mask: (N, T), or (T, N) without
    batch_first, 0 where a step is padding. A padded step leaves the state as it was, so y there
    repeats the last true step.
    """

    kind: str

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        bidirectional: bool = False,
        numbers: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        if min(input_size, hidden_size, num_layers) < 1:
            raise ValueError("input_size, hidden_size and num_layers must be at least 1")
        self.input_size, self.hidden_size = input_size, hidden_size
        self.num_layers, self.bias = num_layers, bias
        self.batch_first, self.bidirectional = batch_first, bidirectional
        self.numbers = dict(numbers or {})
        for suffix, width in self._rows():
            for name, shape in self.shapes(width).items():
                if bias or not name.startswith("bias"):
                    self.register_parameter(f"{name}_{suffix}", nn.Parameter(torch.empty(shape)))
        self.reset_parameters()

    @property
    def sizes(self) -> Mapping[str, int]:
        """What the shapes of the cell's arrays are made of, but for the input's size."""
        return {"hidden": self.hidden_size}

    def shapes(self, input_size: int) -> Shapes:
        """Array name -> shape, for every array of the cell; a name that begins with `bias` is
        left at zero without bias."""
        return CELLS[self.kind].shapes_at({**self.sizes, "input": input_size})

    @staticmethod
    def step(
        w: dict[str, Tensor], x: list[Tensor], states: list[Tensor], numbers: dict[str, float]
    ) -> list[Tensor]:
        """One step, of (N, F) and (N, S): the outputs of the cell, in its order."""
        raise NotImplementedError

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """Size of each state, in the order of the cell."""
        cell, values = CELLS[self.kind], {**self.sizes, "input": self.input_size}
        sizes = dict(zip(cell.outputs, cell.sizes, strict=True))
        return tuple(evaluate(sizes[name], values) for name in cell.states)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "kind" in vars(cls):
            STEPS[cls.kind] = cls.step

    def reset_parameters(self) -> None:
        """As torch.nn.GRU: uniform in +-1 / sqrt(hidden_size)."""
        bound = 1.0 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}, num_layers={self.num_layers}"

    def forward(
        self,
        x: Tensor,
        hx: Tensor | tuple[Tensor, ...] | None = None,
        *,
        mask: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> tuple[Tensor, Any]:
        """y (T, N, H * directions) in the layout of x, and the state after the last step."""
        return self._forward([x], hx, mask, lengths)

    def _forward(
        self,
        inputs: list[Tensor],
        hx: Tensor | tuple[Tensor, ...] | None,
        mask: Tensor | None,
        lengths: Tensor | None,
    ) -> tuple[Tensor, Any]:
        x = inputs[0]
        if x.dim() != 3 or x.shape[2] != self.input_size:
            layout = "(N, T, F)" if self.batch_first else "(T, N, F)"
            raise ValueError(
                f"{type(self).__name__} reads {layout} with F = {self.input_size}, "
                f"not {tuple(x.shape)}"
            )
        if lengths is not None:
            if mask is not None:
                raise ValueError("give lengths or mask, not both")
            mask = torch.ops.edgernn.padding_mask(lengths, x, self.batch_first)
        batch = x.shape[0 if self.batch_first else 1]
        rows = self.num_layers * (1 + self.bidirectional)
        if hx is None:
            states = [x.new_zeros(rows, batch, size) for size in self.state_sizes]
        else:
            states = list(hx) if isinstance(hx, (tuple, list)) else [hx]
        arguments = (
            self.kind,
            inputs,
            states,
            self._params(x),
            list(self.numbers.values()),
            mask,
            self.num_layers,
            self.bidirectional,
            self.batch_first,
        )
        if torch.compiler.is_exporting():
            y, *final = torch.ops.edgernn.recurrent(*arguments)
        else:
            y, *final = run_stack(*arguments)
        return y, final[0] if len(final) == 1 else tuple(final)

    def _rows(self) -> list[tuple[str, int]]:
        """Suffix and input width of each layer and direction."""
        directions = 1 + self.bidirectional
        widths = [self.input_size] + [self.state_sizes[0] * directions] * (self.num_layers - 1)
        return [
            (f"l{layer}{end}", width)
            for layer, width in enumerate(widths)
            for end in ("", "_reverse")[:directions]
        ]

    def _params(self, x: Tensor) -> list[Tensor]:
        return [
            getattr(self, f"{name}_{suffix}")
            if hasattr(self, f"{name}_{suffix}")
            else x.new_zeros(shape)
            for suffix, width in self._rows()
            for name, shape in self.shapes(width).items()
        ]
