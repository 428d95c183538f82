"""Dropout for recurrent networks: what is dropped stays dropped for the whole sequence.

Source: Gal and Ghahramani 2016, A Theoretically Grounded Application of Dropout in Recurrent
Neural Networks, arXiv 1512.05287. What is kept is scaled by 1 / (1 - p), so that evaluation needs
no scaling; in evaluation nothing is dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast

from torch import Tensor, nn

from edgernn.nn.base import Recurrent
from edgernn.nn.variable_length import VariableLength
from edgernn.training.layer_arrays import Arrays, RecurrentLayer, run_steps

READ_STATE: Final = ("weight_hh", "weight_hh_down", "weight_rh", "weight_yh")
"""Matrices that read the state of the step before, or a part of it that a gate lets through."""


def keep_mask(x: Tensor, shape: Sequence[int], p: float) -> Tensor:
    """0 with probability p, else 1 / (1 - p); of the dtype and on the device of x."""
    return x.new_empty(tuple(shape)).bernoulli_(1 - p) / (1 - p)


class _Dropout(nn.Module):
    def __init__(self, p: float) -> None:
        super().__init__()
        _check(p)
        self.p = p

    def extra_repr(self) -> str:
        return f"p={self.p}"


class VariationalDropout(_Dropout):
    """Drops the same features at all steps of a sequence, others in each sequence.

    x: (N, T, F), returned in that shape. Put it in front of a recurrent layer, or of the head
    behind one.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        return x * keep_mask(x, (x.shape[0], 1, *x.shape[2:]), self.p)


def run_with_recurrent_dropout(
    layer: nn.Module,
    x: Tensor | Sequence[Tensor],
    p: float,
    lengths: Tensor | None = None,
    hx: Any = None,
) -> tuple[Tensor, Any]:
    """What layer(x, hx) returns, with units of the state dropped on their way into the products.

    The mask is one for all steps, gates and recurrent matrices of a layer and direction, and each
    sequence has its own; what the cell carries element by element, as z h in a GRU or f c in an
    LSTM, is not masked. In evaluation, or with p == 0, it is the layer itself. x: as the layer
    reads it, (N, T, F) with batch_first; a sequence of tensors for GRU-D. lengths: (N,) integers,
    true lengths of padded sequences; a padded step leaves the state as it was, and y repeats it.
    """
    _check(p)
    layer = layer.rnn if isinstance(layer, VariableLength) else layer
    if not isinstance(layer, (Recurrent, nn.RNNBase)):
        raise TypeError(
            f"recurrent dropout needs a recurrent layer of torch.nn or edgernn.nn, not "
            f"{type(layer).__name__}"
        )
    inputs = [x] if isinstance(x, Tensor) else list(x)
    if p == 0 or not layer.training:
        if isinstance(layer, Recurrent):
            return cast(tuple[Tensor, Any], layer(*inputs, hx, lengths=lengths))
        if lengths is None:
            return cast(tuple[Tensor, Any], layer(inputs[0], hx))
        return cast(tuple[Tensor, Any], VariableLength(cast(Any, layer))(inputs[0], lengths, hx))
    if isinstance(layer, nn.RNNBase) and layer.dropout > 0:
        raise ValueError(
            f"this {type(layer).__name__} drops other values at every step, dropout="
            f"{layer.dropout}; build it without, and put VariationalDropout between layers"
        )
    return _run(layer, inputs, p, lengths, hx)


def _run(
    layer: RecurrentLayer, inputs: list[Tensor], p: float, lengths: Tensor | None, hx: Any
) -> tuple[Tensor, Any]:
    x = inputs[0]
    batch = x.shape[0 if layer.batch_first else 1]

    def masked(found: Arrays) -> Arrays:
        read = [name for name in READ_STATE if name in found]
        if not read:
            raise TypeError(
                f"a {type(layer).__name__} has no recurrent matrix whose inputs could be dropped"
            )
        mask = keep_mask(x, (batch, found[read[0]].shape[1]), p)
        # Not tensors, but all of one that a step uses.
        return found | {name: cast(Tensor, _Dropped(found[name], mask)) for name in read}

    return run_steps(layer, inputs, hx, lengths, masked)


class _Dropped:
    """A matrix whose left operand is masked, with what the cells' steps do with a matrix."""

    def __init__(self, weight: Tensor, mask: Tensor) -> None:
        self.weight, self.mask = weight, mask

    def t(self) -> _Dropped:
        return _Dropped(self.weight.t(), self.mask)

    def chunk(self, count: int) -> list[_Dropped]:
        return [_Dropped(part, self.mask) for part in self.weight.chunk(count)]

    def __getitem__(self, rows: slice) -> _Dropped:
        return _Dropped(self.weight[rows], self.mask)

    def __rmatmul__(self, left: Tensor) -> Tensor:
        return (left * self.mask) @ self.weight


def _check(p: float) -> None:
    if not 0 <= p < 1:
        raise ValueError(f"a share to drop is at least 0 and below 1, not {p}")
