"""How the weights of recurrent layers start.

Each gate's recurrent matrix is orthogonal, so that a step neither stretches nor shrinks the state
(Saxe et al. 2013, arXiv 1312.6120); each gate's input matrix is Glorot uniform (Glorot and Bengio
2010, Understanding the difficulty of training deep feedforward neural networks); the forget gate
of an LSTM starts open, with a bias of 1 (Jozefowicz et al. 2015, An Empirical Exploration of
Recurrent Network Architectures); other biases are 0.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor, nn

from edgernn.cells.sizes import names_of
from edgernn.nn.base import Recurrent
from edgernn.training.layer_arrays import RecurrentLayer, arrays, cell_of, suffixes

FORGET: Final = 1
"""The forget gate's place among the gates of every LSTM: rows i f g o."""
CONSTANTS: Final = {"zeta": 1.0, "nu": -4.0, "bias_z": 1.0, "bias_n": 1.0}
"""Where FastGRNN starts: the values of its authors (arXiv 1901.02358)."""


@torch.no_grad()
def initialize(module: nn.Module, generator: torch.Generator | int | None = None) -> None:
    """Give every recurrent layer in a module, itself included, its starting weights, in place.

    generator: source of the random numbers, or a seed for one; None: torch's own. Layers that are
    not recurrent (Linear, Embedding, Conv1d, norms) stay as they are. A factor of low rank starts
    so that the product is as large as the whole matrix would be. GRU-D's inputs all start to fade,
    and its measured means stay; gains of normalised cells are 1, peepholes 0.
    """
    if isinstance(generator, int):
        generator = torch.Generator().manual_seed(generator)
    for layer in module.modules():
        if isinstance(layer, (Recurrent, nn.RNNBase)):
            for suffix in suffixes(layer):
                _initialize(layer, suffix, generator)


def _initialize(layer: RecurrentLayer, suffix: str, generator: torch.Generator | None) -> None:
    cell, found = cell_of(layer), arrays(layer, suffix)
    for name, value in found.items():
        if not isinstance(value, nn.Parameter):
            continue
        shape = cell.shapes[name]
        if name in CONSTANTS:
            value.fill_(CONSTANTS[name])
        elif name.startswith("gain"):
            value.fill_(1.0)
        elif name == "decay_x":
            # exp(-max(0, w d)): a feature whose w starts below 0 would never learn to fade.
            value.uniform_(0, 1 / math.sqrt(layer.hidden_size), generator=generator)
        elif len(shape) == 1:
            value.zero_()
        else:
            for gate in value.chunk(names_of(shape[0])[0]):
                if name.startswith("weight_ih_"):
                    _factor(gate, found, generator)
                elif shape[1] == "input":
                    nn.init.xavier_uniform_(gate, generator=generator)
                else:
                    nn.init.orthogonal_(gate, generator=generator)
    if "lstm" in cell.kind and "bias_ih" in found:
        found["bias_ih"].chunk(4)[FORGET].fill_(1.0)


def _factor(factor: Tensor, found: dict[str, Tensor], generator: torch.Generator | None) -> None:
    """One of the two factors of an input matrix: their product has Glorot's variance."""
    up, down = found["weight_ih_up"], found["weight_ih_down"]
    variance = 2 / (up.shape[0] + down.shape[1])
    bound = math.sqrt(3 * math.sqrt(variance / up.shape[1]))
    factor.uniform_(-bound, bound, generator=generator)
