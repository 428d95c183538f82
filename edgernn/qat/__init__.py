"""Quantization-aware fine-tuning: the integer program itself becomes a layer that learns.

`IntegerNetwork` is a torch.nn.Module made from a quantized program. Its forward pass is that
program: exact integer arithmetic in the recurrent loop, so that the loss sees the very bits that
every engine will compute. Its parameters are the real numbers that the int8 weights, biases and
embedding tables are rounded from; scales, multipliers and function tables stay as calibrated.

    program = edgernn.quantize(model, (x[:2],), calibration=x)
    network = IntegerNetwork(program)
    ...train network as any module, with a tenth of the learning rate...
    edgernn.export(network.program(), "build/")

Rounding has no useful derivative. The backward pass takes the operators' real meaning instead, at
the integers that were computed: a product's other factor, sigmoid', tanh', the slope of a table,
and 1 for every rounding, which is the straight-through estimator of Bengio et al. 2013
(arXiv 1308.3432), as Jacob et al. 2018 (arXiv 1712.05877) train with simulated quantization.
Nothing passes through an int16 that saturated, and a weight at the end of int8 is not pushed
further. The gradient runs back through all steps (BPTT), or as far as the caller detaches states.

Training begins with the bits of the program that it is given: each real weight where it is, if
that rounds to the program's int8, else at the int8. Weights that the lowering put there, such as
those of a mean over features, do not learn; nor do vectors of int16, which are precise enough.
Where int8 is already next to float there is little to gain: take a small rate and look at both.

How it is fast: `order` finds the operators in a feedback loop; all others are computed for every
step at once, forwards and backwards, and so are the products that sum up a weight's gradient.
"""

from __future__ import annotations

from edgernn.qat.network import IntegerNetwork

__all__ = ["IntegerNetwork"]
