"""The PyTorch operator behind the layers of `edgernn.nn`: one call is a whole stack of cells.

In training a layer runs its steps in Python, where autograd follows them. Under torch.export the
stack is one call of `edgernn::recurrent`, which the importer reads as the layers that it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import torch
from torch import Tensor

from edgernn.cells import CELLS

Step = Callable[[dict[str, Tensor], list[Tensor], list[Tensor], dict[str, float]], list[Tensor]]
"""(weights, inputs [(N, F)], states [(N, S)], numbers) -> outputs [(N, S)], as the cell says."""
STEPS: Final[dict[str, Step]] = {}


def run_stack(
    kind: str,
    inputs: list[Tensor],
    hx: list[Tensor],
    params: list[Tensor],
    numbers: list[float],
    mask: Tensor | None,
    num_layers: int,
    bidirectional: bool,
    batch_first: bool,
    reverse: bool = False,
) -> list[Tensor]:
    """The output sequence, and each state after the last step (num_layers * directions, N, S).

    inputs: (T, N, F), or (N, T, F) if batch_first; hx: (num_layers * directions, N, S) each;
    params: the cell's arrays, for each layer and direction; mask: (T, N) or (N, T), 0 where a
    step is padding, which leaves the states as they are. reverse: of one direction, the one from
    the last step to the first.
    """
    cell, directions = CELLS[kind], 1 + bidirectional
    count = len(cell.arrays)
    values = [x.transpose(0, 1) if batch_first else x for x in inputs]
    if mask is not None:
        mask = (mask.transpose(0, 1) if batch_first else mask).unsqueeze(-1) != 0
    finals: list[list[Tensor]] = []
    for layer in range(num_layers):
        parts = []
        for direction in range(directions):
            row = layer * directions + direction
            weights = dict(zip(cell.arrays, params[row * count : (row + 1) * count], strict=True))
            y, states = _run(
                kind, values, [h[row] for h in hx], weights,
                dict(zip(cell.numbers, numbers, strict=True)), mask,
                reverse=reverse or direction == 1,
            )  # fmt: skip
            parts.append(y)
            finals.append(states)
        values = [torch.cat(parts, dim=-1) if bidirectional else parts[0]]
    y = values[0].transpose(0, 1) if batch_first else values[0]
    return [y.contiguous(), *(torch.stack(states) for states in zip(*finals, strict=True))]


def _run(
    kind: str,
    inputs: Sequence[Tensor],
    states: list[Tensor],
    weights: dict[str, Tensor],
    numbers: dict[str, float],
    mask: Tensor | None,
    *,
    reverse: bool,
) -> tuple[Tensor, list[Tensor]]:
    """One layer in one direction over (T, N, F)."""
    cell, step = CELLS[kind], STEPS[kind]
    carried = [cell.outputs.index(name) for name in cell.states]
    length = len(inputs[0])
    ys: list[Tensor] = []
    for t in reversed(range(length)) if reverse else range(length):
        results = step(weights, [x[t] for x in inputs], states, numbers)
        if mask is not None:
            for i, old in zip(carried, states, strict=True):
                results[i] = torch.where(mask[t], results[i], old)
        states = [results[i] for i in carried]
        ys.append(results[0])
    return torch.stack(ys[::-1] if reverse else ys), states


recurrent = torch.library.custom_op("edgernn::recurrent", run_stack, mutates_args=())
"""`run_stack` without gradients, for exported programs."""


@recurrent.register_fake
def _(
    kind: str,
    inputs: list[Tensor],
    hx: list[Tensor],
    params: list[Tensor],
    numbers: list[float],
    mask: Tensor | None,
    num_layers: int,
    bidirectional: bool,
    batch_first: bool,
    reverse: bool = False,
) -> list[Tensor]:
    time = 1 if batch_first else 0
    one = [x.narrow(time, 0, 1) for x in inputs]
    y, *finals = run_stack(
        kind, one, hx, params, numbers, None, num_layers, bidirectional, batch_first
    )
    shape = list(y.shape)
    shape[time] = inputs[0].shape[time]
    return [y.new_empty(shape), *finals]


@torch.library.custom_op("edgernn::padding_mask", mutates_args=())
def padding_mask(lengths: Tensor, x: Tensor, batch_first: bool) -> Tensor:
    """1.0 at the first lengths[n] steps of sequence n, 0.0 after: (N, T) or (T, N) float32."""
    steps = torch.arange(x.shape[1 if batch_first else 0], device=x.device)
    mask = (steps[None, :] < lengths.to(x.device)[:, None]).to(torch.float32)
    return mask if batch_first else mask.t().contiguous()


@padding_mask.register_fake
def _(lengths: Tensor, x: Tensor, batch_first: bool) -> Tensor:
    return x.new_empty(x.shape[:2], dtype=torch.float32)
