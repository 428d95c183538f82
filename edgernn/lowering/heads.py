"""What classifiers end with, in integers: softmax and softplus; a sigmoid is an operator."""

from __future__ import annotations

from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn.graph import Graph, Node
from edgernn.lowering.builder import Builder, covering_scale
from edgernn.lowering.normalization import broadcast, equal_rows, even_above, summed
from edgernn.lowering.scales import free_scale
from edgernn.ranges import Ranges
from edgernn.runtime.errors import UnsupportedError
from edgernn.runtime.operators import MAX_COLUMNS
from edgernn.runtime.program import UNIT, Scale

MIDDLE: Final = 8.0
OF_EXPONENT: Final = Scale(1, -12)
"""Exponents 0 to -16, shifted by the middle; beyond, int16 saturates, e^-16 being no unit."""
OF_SOFTPLUS: Final = Scale(1, -11)
_FAR: Final = 10
"""Powers of two between the scales of operands, within what a sum takes."""


def softmax(b: Builder, graph: Graph, node: Node, inputs: list[str], ranges: Ranges) -> str:
    """softmax over the features: e = exp(x - max x);  e / sum(e) as two products with a root."""
    x, name = inputs[0], node.name
    size = b.size(x)
    if not 2 <= size <= MAX_COLUMNS:
        raise UnsupportedError(
            f"{name} is a softmax of {size} features, and 2 to {MAX_COLUMNS} are possible; return "
            "the logits"
        )
    x = _not_finer(b, f"{name}_near", x, OF_EXPONENT.exponent - _FAR)
    below = _below_largest(b, name, x, _largest(b, name, x))
    powers = b.lookup(f"{name}_exp", below, _shifted_exp, UNIT)
    total = equal_rows(b, f"{name}_sum", powers, Fraction(1), 0.0, 1, even_above(size / 32767))
    root = broadcast(b, f"{name}_roots", b.rsqrt(f"{name}_root", total, UNIT), size)
    return b.mul(name, b.mul(f"{name}_half", powers, root, UNIT), root, UNIT)


def softplus(b: Builder, graph: Graph, node: Node, inputs: list[str], ranges: Ranges) -> str:
    """log(1 + e^x) = max(x, 0) + log(1 + e^-|x|), the second by table."""
    x, name = inputs[0], node.name
    own = b.scale(x)
    near = _not_finer(b, f"{name}_near", x, OF_SOFTPLUS.exponent - _FAR)
    near = b.rescale(f"{name}_table", near, OF_SOFTPLUS)
    of_rest = Scale(1, max(UNIT.exponent, own.exponent - _FAR))
    rest = b.lookup(f"{name}_rest", near, _rest, of_rest)
    return summed(b, name, b.relu(f"{name}_relu", x), rest, free_scale(graph, name, ranges))


def log_softmax(b: Builder, graph: Graph, node: Node, inputs: list[str], ranges: Ranges) -> str:
    """Not in integers."""
    raise UnsupportedError(
        f"{node.name} is a log_softmax, which is not lowered to integers; return the logits, whose "
        "order is the same, or softmax"
    )


def _below_largest(b: Builder, name: str, x: str, largest: str) -> str:
    """MIDDLE + x - max x, 0 to MIDDLE and saturated below."""
    own, size = b.scale(x), b.size(x)
    if own.fraction >= OF_EXPONENT.fraction:
        # Exactly MIDDLE for the largest, however coarse the logits are.
        below = b.sub(f"{name}_below", x, broadcast(b, f"{name}_level", largest, size), own)
        held = max(Scale(1, OF_EXPONENT.exponent + 1), Scale(1, own.exponent - _FAR), key=float)
        middle = b.constant(f"{name}_middle", np.full(size, MIDDLE), held)
        exponent = summed(b, f"{name}_above", below, middle, OF_EXPONENT)
    else:
        # The rounding of what is subtracted is the same for all and leaves their ratios alone.
        scale = covering_scale(32768 * float(own) + MIDDLE, own.mantissa)
        level = equal_rows(b, f"{name}_level", largest, Fraction(1), -MIDDLE, size, scale)
        exponent = b.sub(f"{name}_above", x, level, OF_EXPONENT)
    return b.rescale(f"{name}_exponent", exponent, OF_EXPONENT)


def _not_finer(b: Builder, name: str, x: str, exponent: int) -> str:
    """x at a scale that is not finer; one step takes it no further than 2^15."""
    count = 0
    while b.scale(x).exponent < exponent:
        scale = Scale(b.scale(x).mantissa, min(b.scale(x).exponent + 15, exponent))
        x, count = b.rescale(f"{name}{count}", x, scale), count + 1
    return x


def _largest(b: Builder, name: str, x: str) -> str:
    """The largest element, by halves."""
    level = 0
    while (size := b.size(x)) > 1:
        half, odd = divmod(size, 2)
        names = {f"{name}_max{level}a": half, f"{name}_max{level}b": half}
        if odd:
            names[f"{name}_max{level}c"] = 1
        first, second, *rest = b.split(x, names)
        x = b.maximum(f"{name}_max{level}", first, second)
        if rest:
            x = b.concat(f"{name}_max{level}d", (x, *rest))
        level += 1
    return x


def _shifted_exp(x: NDArray[np.float64]) -> NDArray[np.float64]:
    # Exactly 1 at the largest input there is.
    result: NDArray[np.float64] = np.exp(x - 32767 * float(OF_EXPONENT))
    return result


def _rest(x: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = np.log1p(np.exp(-np.abs(x)))
    return result
