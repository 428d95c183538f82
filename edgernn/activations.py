"""Activation functions that become a table: one function each, in NumPy, by the kind of its node.

Keyword arguments are the `numbers` of the node, by the names that PyTorch's operator has for them.
Each function works in float32, in float64 (to fill a table) and on what `edgernn.onnx_trace`
records.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgernn.cells.base import sigmoid

Array = NDArray[Any]

_ERF: Final = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)
_ERF_P: Final = 0.3275911
_SELU_ALPHA: Final = 1.6732632423543772
_SELU_SCALE: Final = 1.0507009873554805


def erf(x: Array) -> Array:
    """The error function to 1.5e-7 (Abramowitz and Stegun, 7.1.26)."""
    if not isinstance(x, np.ndarray):
        # Traced: ONNX has it.
        traced: Array = x.erf()
        return traced
    # 1 from here on; larger squares would overflow.
    size = np.minimum(np.abs(x.astype(np.float64)), 6.0)
    t = 1.0 / (1.0 + _ERF_P * size)
    series = np.zeros_like(t)
    for coefficient in reversed(_ERF):
        series = (series + coefficient) * t
    result: Array = np.copysign(1.0 - series * np.exp(-size * size), x).astype(x.dtype)
    return result


def softplus(x: Array) -> Array:
    """log(1 + exp(x)), without overflow."""
    result: Array = np.maximum(x, np.float32(0)) + np.log1p(np.exp(-np.abs(x)))
    return result


def gelu(x: Array) -> Array:
    """x Phi(x), Phi the normal distribution (Hendrycks and Gimpel, 2016)."""
    return 0.5 * x * (1.0 + erf(math.sqrt(0.5) * x))


def gelu_tanh(x: Array) -> Array:
    """The paper's approximation of gelu by tanh."""
    result: Array = 0.5 * x * (1.0 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))
    return result


def silu(x: Array) -> Array:
    """x sigmoid(x), also called swish."""
    return x * sigmoid(x)


def mish(x: Array) -> Array:
    """x tanh(softplus(x))."""
    result: Array = x * np.tanh(softplus(x))
    return result


def elu(x: Array, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Array:
    """scale * (x if x > 0 else alpha (exp(input_scale x) - 1))."""
    below = np.expm1(input_scale * np.minimum(x, np.float32(0)))
    result: Array = scale * (np.maximum(x, np.float32(0)) + alpha * below)
    return result


def selu(x: Array) -> Array:
    """elu with the constants that keep mean 0 and variance 1 (Klambauer et al., 2017)."""
    return elu(x, _SELU_ALPHA, _SELU_SCALE)


def celu(x: Array, alpha: float = 1.0) -> Array:
    """elu with the slope 1 at 0 for every alpha."""
    return elu(x, alpha, 1.0, 1.0 / alpha)


def leaky_relu(x: Array, negative_slope: float = 0.01) -> Array:
    """x, times the slope below 0."""
    result: Array = np.maximum(x, np.float32(0)) + negative_slope * np.minimum(x, np.float32(0))
    return result


def hardsigmoid(x: Array) -> Array:
    """x / 6 + 1 / 2 within 0 and 1."""
    result: Array = np.clip(x + 3.0, 0.0, 6.0) / 6.0
    return result


def hardswish(x: Array) -> Array:
    """x hardsigmoid(x)."""
    return x * hardsigmoid(x)


def softsign(x: Array) -> Array:
    """x / (1 + |x|)."""
    result: Array = x / (1.0 + np.abs(x))
    return result


def log_sigmoid(x: Array) -> Array:
    """log of sigmoid(x)."""
    return -softplus(-x)


def exp(x: Array) -> Array:
    """e to the power of x."""
    result: Array = np.exp(x)
    return result


def absolute(x: Array) -> Array:
    """|x|."""
    result: Array = np.abs(x)
    return result


def clamp(x: Array, min: float = -math.inf, max: float = math.inf) -> Array:
    """The nearest number within min and max; max where they cross."""
    result: Array = np.minimum(np.maximum(x, np.float32(min)), np.float32(max))
    return result


ACTIVATIONS: Final[dict[str, Callable[..., Array]]] = {
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "silu": silu,
    "mish": mish,
    "elu": elu,
    "selu": selu,
    "celu": celu,
    "leaky_relu": leaky_relu,
    "hardsigmoid": hardsigmoid,
    "hardswish": hardswish,
    "softsign": softsign,
    "log_sigmoid": log_sigmoid,
    "exp": exp,
    "abs": absolute,
    "clamp": clamp,
}
"""Kind of node -> its function of x (any shape) and of the node's numbers."""
