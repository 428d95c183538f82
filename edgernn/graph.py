"""The float network between the importer and the lowering: frozen, NumPy arrays, one vector a step.

Every value is a feature vector per time step, so batch and time have no place here. A recurrent
layer is one node, whatever its cell; what it carries from step to step is listed as its states.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

CELLS: Final = ("gru", "lstm", "rnn_tanh", "rnn_relu")
GATES: Final = {"gru": 3, "lstm": 4, "rnn_tanh": 1, "rnn_relu": 1}


@dataclass(frozen=True, eq=False)
class Carried:
    """A state of a recurrent node: its public name, the value that holds it, its first value."""

    name: str
    value: str
    initial: FloatArray


@dataclass(frozen=True, eq=False)
class Node:
    """One layer or function.

    kind: a cell of CELLS, or linear, relu, tanh, sigmoid, add, concat, slice.
    inputs, outputs: value names. A cell writes h, an LSTM h and c.
    arrays, float32, in PyTorch's gate order (GRU r z n, LSTM i f g o):
        cells   weight_ih (G*H, I), weight_hh (G*H, H), bias_ih (G*H,), bias_hh (G*H,)
        linear  weight (O, I), bias (O,)
    begin: first feature of a slice.
    """

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    arrays: Mapping[str, FloatArray] = field(default_factory=dict)
    carried: tuple[Carried, ...] = ()
    begin: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "arrays", MappingProxyType(dict(self.arrays)))

    @property
    def name(self) -> str:
        """The name of the first output, unique in a graph."""
        return self.outputs[0]


@dataclass(frozen=True, eq=False)
class Output:
    """What the model returns: a value, at every step or at the last one only."""

    name: str
    value: str
    last: bool


@dataclass(frozen=True, eq=False)
class Graph:
    """A float network.

    sizes: value name -> features. batch_first: layout of the model's tensors.
    """

    sizes: Mapping[str, int]
    inputs: tuple[str, ...]
    outputs: tuple[Output, ...]
    nodes: tuple[Node, ...]
    batch_first: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", MappingProxyType(dict(self.sizes)))

    @property
    def states(self) -> tuple[Carried, ...]:
        """The states of all nodes, in execution order."""
        return tuple(state for node in self.nodes for state in node.carried)

    def consumers(self, value: str) -> list[Node]:
        """The nodes that read a value."""
        return [node for node in self.nodes if value in node.inputs]
