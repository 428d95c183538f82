"""Recurrent layers of torch.nn and `edgernn.nn` alike: their arrays, and their steps one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from edgernn.cells import CELLS
from edgernn.cells.base import Cell
from edgernn.nn.base import Recurrent
from edgernn.nn.operator import run_stack

RecurrentLayer = Recurrent | nn.RNNBase
"""nn.GRU, nn.LSTM and nn.RNN, and the layers of `edgernn.nn` but for Hopfield, which is stored,
not trained."""
Arrays = dict[str, Tensor]


def cell_of(layer: RecurrentLayer) -> Cell:
    """The cell that a layer is a stack of."""
    if isinstance(layer, Recurrent):
        return CELLS[layer.kind]
    return CELLS["lstm_projection" if layer.proj_size else layer.mode.lower()]


def suffixes(layer: RecurrentLayer) -> list[str]:
    """The end of the names of each layer's and direction's arrays, in the order of the states."""
    directions = ("", "_reverse")[: 1 + layer.bidirectional]
    return [f"_l{row}{end}" for row in range(layer.num_layers) for end in directions]


def arrays(layer: RecurrentLayer, suffix: str) -> Arrays:
    """Array name -> tensor of one layer and direction; without the biases it does not have."""
    names = cell_of(layer).arrays
    return {n: getattr(layer, n + suffix) for n in names if hasattr(layer, n + suffix)}


def run_steps(
    layer: RecurrentLayer,
    inputs: list[Tensor],
    hx: Any = None,
    lengths: Tensor | None = None,
    change: Callable[[Arrays], Arrays] = lambda found: found,
) -> tuple[Tensor, Any]:
    """What layer(*inputs, hx) returns, its steps in Python even if torch has a kernel for it.

    inputs: (N, T, F) each with batch_first. lengths: (N,), true lengths of padded sequences.
    change: called with the arrays of each layer and direction; returns what is used in their place.
    """
    cell, x = cell_of(layer), inputs[0]
    params: list[Tensor] = []
    for suffix in suffixes(layer):
        found = change(arrays(layer, suffix))
        params += [
            found[n] if n in found else x.new_zeros(_missing(layer, n, suffix)) for n in cell.arrays
        ]
    mask = None
    if lengths is not None:
        mask = torch.ops.edgernn.padding_mask(lengths, x, layer.batch_first)
    batch = x.shape[0 if layer.batch_first else 1]
    numbers = list(layer.numbers.values()) if isinstance(layer, Recurrent) else []
    y, *final = run_stack(
        cell.kind, inputs, _states(layer, x, batch, hx), params, numbers, mask,
        layer.num_layers, layer.bidirectional, layer.batch_first,
    )  # fmt: skip
    return y, final[0] if len(final) == 1 else tuple(final)


def _missing(layer: RecurrentLayer, name: str, suffix: str) -> tuple[int, ...]:
    """The shape of a bias that a layer was made without."""
    if isinstance(layer, Recurrent):
        return layer.shapes(dict(layer._rows())[suffix[1:]])[name]
    return (len(getattr(layer, f"weight_ih{suffix}")),)


def _states(layer: RecurrentLayer, x: Tensor, batch: int, hx: Any) -> list[Tensor]:
    """The initial states, (layers * directions, N, S) each."""
    if hx is not None:
        return list(hx) if isinstance(hx, (tuple, list)) else [hx]
    ends = suffixes(layer)
    sizes: Sequence[int] = (layer.hidden_size,)
    if isinstance(layer, Recurrent):
        sizes = layer.state_sizes
    elif isinstance(layer, nn.LSTM):
        sizes = (layer.proj_size or layer.hidden_size, layer.hidden_size)
    states = [x.new_zeros(len(ends), batch, size) for size in sizes]
    if hasattr(layer, "mean_l0"):
        # GRU-D remembers the last input, and starts at the mean.
        means = torch.stack([getattr(layer, f"mean{end}") for end in ends])
        states[1] = means.unsqueeze(1).expand(-1, batch, -1)
    return states
