"""Layers without state in float: what each computes at one step, in NumPy.

`edgernn.float_engine` runs these functions, `edgernn.float_onnx` traces them into ONNX, so they are
written with what `edgernn.onnx_trace` knows. Their integer form is in
`edgernn.lowering.feedforward`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np

from edgernn import activations
from edgernn.activations import ACTIVATIONS
from edgernn.cells.base import product, rows
from edgernn.cells.base import sigmoid as logistic
from edgernn.graph import FloatArray, Node
from edgernn.normalization import Note, centered, scaled

Layer = Callable[[Mapping[str, int], Node, Sequence[FloatArray]], FloatArray]
"""(size of each value, node, inputs (..., I)) -> (..., O) float32, row by row in the last axis."""


def linear(sizes: Mapping[str, int], node: Node, x: Sequence[FloatArray]) -> FloatArray:
    """nn.Linear."""
    return product(x[0], node.arrays["weight"], node.arrays["bias"])


def relu(sizes: Mapping[str, int], node: Node, x: Sequence[FloatArray]) -> FloatArray:
    """max(x, 0)."""
    result: FloatArray = np.maximum(x[0], np.float32(0))
    return result


def tanh(sizes: Mapping[str, int], node: Node, x: Sequence[FloatArray]) -> FloatArray:
    """tanh(x)."""
    result: FloatArray = np.tanh(x[0])
    return result


def sigmoid(sizes: Mapping[str, int], node: Node, x: Sequence[FloatArray]) -> FloatArray:
    """1 / (1 + exp(-x))."""
    return logistic(x[0])


def add(sizes: Mapping[str, int], node: Node, x: Sequence[FloatArray]) -> FloatArray:
    """A residual sum."""
    return x[0] + x[1]


def sub(sizes: Mapping[str, int], node: Node, x: Sequence[FloatArray]) -> FloatArray:
    """A difference."""
    return x[0] - x[1]


def mul(sizes: Mapping[str, int], node: Node, x: Sequence[FloatArray]) -> FloatArray:
    """A product, as of a gate."""
    return x[0] * x[1]


def maximum(sizes: Mapping[str, int], node: Node, x: Sequence[FloatArray]) -> FloatArray:
    """The larger one of two values, element by element."""
    result: FloatArray = np.maximum(x[0], x[1])
    return result


def affine(sizes: Mapping[str, int], node: Node, x: Sequence[FloatArray]) -> FloatArray:
    """A factor and an offset per feature."""
    return x[0] * node.arrays["weight"] + node.arrays["bias"]


def concat(sizes: Mapping[str, int], node: Node, x: Sequence[FloatArray]) -> FloatArray:
    """Features side by side."""
    return np.concatenate(x, axis=-1)


def slice_(sizes: Mapping[str, int], node: Node, x: Sequence[FloatArray]) -> FloatArray:
    """A run of features, from node.begin."""
    return x[0][..., node.begin : node.begin + sizes[node.name]]


def embedding(sizes: Mapping[str, int], node: Node, x: Sequence[FloatArray]) -> FloatArray:
    """nn.Embedding; an id beyond the table counts as the nearest one, as in the integer program."""
    return rows(node.arrays["table"], x[0])


def layer_norm(sizes: Mapping[str, int], node: Node, x: Sequence[FloatArray]) -> FloatArray:
    """nn.LayerNorm over the features of a step."""
    y = scaled(centered(x[0]), node.arrays["weight"], node.numbers["eps"])
    return y + node.arrays["bias"]


def softmax(sizes: Mapping[str, int], node: Node, x: Sequence[FloatArray]) -> FloatArray:
    """softmax over the features."""
    powers = np.exp(x[0] - x[0].max(axis=-1, keepdims=True))
    result: FloatArray = powers / powers.sum(axis=-1, keepdims=True)
    return result


def log_softmax(sizes: Mapping[str, int], node: Node, x: Sequence[FloatArray]) -> FloatArray:
    """log of softmax over the features."""
    below = x[0] - x[0].max(axis=-1, keepdims=True)
    result: FloatArray = below - np.log(np.exp(below).sum(axis=-1, keepdims=True))
    return result


def softplus(sizes: Mapping[str, int], node: Node, x: Sequence[FloatArray]) -> FloatArray:
    """log(1 + exp(x))."""
    return activations.softplus(x[0])


def _activation(sizes: Mapping[str, int], node: Node, x: Sequence[FloatArray]) -> FloatArray:
    return ACTIVATIONS[node.kind](x[0], **node.numbers)


LAYERS_FLOAT: Final[dict[str, Layer]] = {
    "linear": linear,
    "relu": relu,
    "tanh": tanh,
    "sigmoid": sigmoid,
    "add": add,
    "sub": sub,
    "mul": mul,
    "maximum": maximum,
    "affine": affine,
    "concat": concat,
    "slice": slice_,
    "embedding": embedding,
    "layer_norm": layer_norm,
    "softmax": softmax,
    "log_softmax": log_softmax,
    "softplus": softplus,
    **dict.fromkeys(ACTIVATIONS, _activation),
}


def _note_layer_norm(node: Node, x: Sequence[FloatArray], note: Note) -> None:
    note("mean", x[0].mean(axis=-1, keepdims=True))
    scaled(centered(x[0]), node.arrays["weight"], node.numbers["eps"], note)


NOTES: Final[dict[str, Callable[[Node, Sequence[FloatArray], Note], None]]] = {
    "layer_norm": _note_layer_norm,
}
"""What the lowering asks the range of beyond inputs and outputs: note(name, value) for each."""
