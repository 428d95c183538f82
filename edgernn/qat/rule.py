"""What a rule of an operator is, and the weights that it is given.

Values are float64 that hold integers, (..., size), in units of their tensor; gradients are float32,
the derivative of the loss by one unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from edgernn.runtime.operators import KINDS
from edgernn.runtime.program import Operator, Tensor

Array = NDArray[np.float64]
Float32 = NDArray[np.float32]
Gradients = Sequence[Float32 | None]


@dataclass(frozen=True, eq=False)
class Weights:
    """The integers of a product, or of an embedding, as its kind needs them.

    forward: (K, rows) float64, or the table (V, D). backward: (rows, K) float32. bias: (rows,).
    Products are torch's, for it keeps to the threads that it is given.
    """

    forward: torch.Tensor
    backward: torch.Tensor
    bias: Array

    @classmethod
    def of_product(cls, weight: Array, bias: Array) -> Weights:
        """From weight (rows, K) and bias (rows,)."""
        turned = torch.from_numpy(np.ascontiguousarray(weight.T))
        return cls(turned, torch.from_numpy(weight.astype(np.float32)), bias)

    @classmethod
    def of_table(cls, table: Array) -> Weights:
        """From the table of an embedding."""
        return cls(torch.from_numpy(table), torch.empty(0), np.empty(0))


class Rule:
    """One operator of one output: forwards in exact integers, backwards by the slopes of what it
    stands for.

    differentiable: which of its inputs get a gradient. reads: does `backward` look at the inputs?
    """

    reads = False

    def __init__(self, op: Operator, ins: Sequence[Tensor], outs: Sequence[Tensor]) -> None:
        self.op, self.ins, self.outs = op, tuple(ins), tuple(outs)
        self.differentiable = range(len(ins))

    def forward(self, x: Sequence[Array], y: Array, w: Weights | None) -> None:
        """y from x, bit for bit as `edgernn.runtime.operators` has it."""
        exact = [v.astype(np.int64) for v in x]
        (y[...],) = KINDS[self.op.kind].compute(self.op, self.ins, self.outs, exact)

    def slopes(self, x: Sequence[Array], y: Array) -> Float32 | None:
        """What `backward` multiplies with, computed over all steps at once; None if it is the same
        everywhere."""
        return None

    def backward(
        self, g: Float32, gx: Gradients, x: Sequence[Float32], s: Float32 | None, w: Weights | None
    ) -> None:
        """Add to gx, the gradients of the inputs, None where nobody asks.

        g: the gradient of the output, which may be overwritten. x: the inputs, if `reads`. s: from
        `slopes`.
        """
