"""Graphs of one cell with random weights, for every cell there is."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgernn import nn as edge
from edgernn.cells import CELLS
from edgernn.cells.jordan import HIDDEN, OUTPUT
from edgernn.graph import Carried, FloatArray, Graph, Node, Output
from edgernn.nn.base import Recurrent
from tests.edgernn.cells import LAYERS

F, H = 5, 6
Shapes = Mapping[str, tuple[int, ...]]


def torch_shapes(gates: int, **more: tuple[int, ...]) -> Shapes:
    width = more["weight_hr"][0] if more else H
    shapes = {"weight_ih": (gates * H, F), "weight_hh": (gates * H, width)}
    return shapes | {"bias_ih": (gates * H,), "bias_hh": (gates * H,)} | more


SHAPES: dict[str, tuple[Shapes, tuple[int, ...], dict[str, float]]] = {
    "gru": (torch_shapes(3), (H,), {}),
    "lstm": (torch_shapes(4), (H, H), {}),
    "rnn_tanh": (torch_shapes(1), (H,), {}),
    "rnn_relu": (torch_shapes(1), (H,), {}),
    "lstm_projection": (torch_shapes(4, weight_hr=(2, H)), (2, H), {}),
    "hopfield": ({"weight": (F, F)}, (F,), {}),
    "conv1d": ({"weight": (H, F, 3), "bias": (H,)}, (H, 4 * F), {"dilation": 2, "groups": 1}),
    "attention_pooling": ({"weight": (3, F), "bias": (3,), "vector": (3,)}, (F, 1), {}),
    "mean_pooling": ({}, (F, 1), {}),
    "max_pooling": ({}, (F,), {}),
    "sum_over_time": ({}, (F,), {}),
    "log_sum_exp": ({}, (F,), {}),
    "hold": ({}, (F, 1), {}),
    "max_pool1d": ({}, (F, 2 * F), {"dilation": 1}),
}
# What has a PyTorch layer of ours is asked there.
MODULES = [
    *(c(F, H) for c in vars(edge).values() if isinstance(c, type) and "kind" in vars(c)),
    *(make(F, H) for make in LAYERS.values()),
    *(edge.FastGRNN(F, H, w_rank=w, u_rank=u) for w in (None, 2) for u in (None, 3)),
    *(
        edge.Jordan(F, H, 4, nonlinearity=phi, output_nonlinearity=psi)
        for phi in HIDDEN
        for psi in OUTPUT
    ),
]
SHAPES |= {
    m.kind: (m.shapes(F), m.state_sizes, m.numbers) for m in MODULES if isinstance(m, Recurrent)
}
"""Kind -> shapes of its arrays, sizes of its outputs, numbers."""
INPUTS = {"gru_d": ("value", "observed", "gap")}
"""Inputs of a kind that reads several, each of size F."""


def random(rng: np.random.Generator, *shape: int, gain: float = 0.5) -> FloatArray:
    return (gain * rng.standard_normal(shape)).astype(np.float32)


def start(rng: np.random.Generator, state: str, *shape: int) -> FloatArray:
    """A random state; a count of steps is no negative number."""
    values = random(rng, *shape)
    return np.abs(values) if state == "n" else values


def one_cell(kind: str, mask: bool, reverse: bool, batch_first: bool) -> Graph:
    """One node; every output at every step, at the last and, picked, at the first and the last."""
    assert kind in SHAPES, f"say in SHAPES or MODULES what arrays a {kind} has"
    shapes, sizes, numbers = SHAPES[kind]
    rng = np.random.default_rng(len(kind))
    cell = CELLS[kind]
    carried = tuple(
        Carried(f"s{name}", name, start(rng, name, sizes[cell.outputs.index(name)]))
        for name in cell.states
    )
    arrays = {name: random(rng, *shape) for name, shape in shapes.items()}
    node = Node(
        kind, INPUTS.get(kind, ("x",)), cell.outputs, arrays, carried,
        reverse=reverse, mask="mask" if mask else "", numbers=numbers,
    )  # fmt: skip
    picks = [
        Node(at, (name,), (f"{name}_{at}",)) for name in cell.outputs for at in ("last", "first")
    ]
    values = dict(zip(cell.outputs, sizes, strict=True))
    picked = {f"{name}_{at}": n for name, n in values.items() for at in ("last", "first")}
    outputs = [Output(f"every_{name}", name, last=False) for name in values]
    outputs += [Output(f"end_{name}", name, last=True) for name in values]
    outputs += [Output(f"picked_{name}", name, last=True) for name in picked]
    inputs = (*node.inputs, "mask") if mask else node.inputs
    widths = dict.fromkeys(node.inputs, F) | ({"mask": 1} if mask else {}) | values | picked
    return Graph(widths, inputs, tuple(outputs), (node, *picks), batch_first)
