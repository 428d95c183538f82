"""The float network between the importer and the lowering: frozen, NumPy arrays, one vector a step.

Every value is a feature vector per time step, so batch and time have no place here. A recurrent
layer is one node, whatever its cell; what it carries from step to step is listed as its states.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Carried:
    """A state of a recurrent node: its public name, the value that holds it, its first value."""

    name: str
    value: str
    initial: FloatArray


@dataclass(frozen=True, eq=False)
class Node:
    """One layer or function.

    kind: a cell of `edgernn.cells.CELLS`, a layer of `edgernn.lowering.feedforward.LAYERS`, or
    `last` or `first`: the value at the last or the first step of a window, once per window.
    inputs, outputs: value names. The values of a cell's states are among its outputs.
    arrays, float32, in PyTorch's layout; a cell says which it has, a linear has weight (O, I) and
    bias (O,). numbers: what else the kind needs, such as eps.
    begin: first feature of a slice. reverse: a cell that runs from the last step to the first.
    mask: the value (one feature) that freezes the states of a cell where it is 0; "" for none.
    """

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    arrays: Mapping[str, FloatArray] = field(default_factory=dict)
    carried: tuple[Carried, ...] = ()
    begin: int = 0
    reverse: bool = False
    mask: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for part in ("arrays", "numbers"):
            object.__setattr__(self, part, MappingProxyType(dict(getattr(self, part))))

    @property
    def reads(self) -> tuple[str, ...]:
        """Every value it reads: its inputs, and its mask."""
        return (*self.inputs, self.mask) if self.mask else self.inputs

    @property
    def name(self) -> str:
        """The name of the first output, unique in a graph."""
        return self.outputs[0]


@dataclass(frozen=True, eq=False)
class Output:
    """What the model returns: a value, at every step or at the last one only.

    head: the function after it that was left to the application, such as softmax; "" for none.
    """

    name: str
    value: str
    last: bool
    head: str = ""


@dataclass(frozen=True, eq=False)
class Feedback:
    """A value that the next step reads in place of an input, wherever that is not given.

    output: the value. input, given: inputs; where `given`, one feature, is 0, the step reads the
    value of the step before, which the state of that name holds, zeros at first.
    """

    output: str
    input: str
    given: str
    state: str


@dataclass(frozen=True, eq=False)
class Graph:
    """A float network.

    sizes: value name -> features. batch_first: layout of the model's tensors. feedback: see
    `edgernn.feedback`. unreturned: h_n and c_n that the model returns beside its outputs, and a
    window program does not.
    """

    sizes: Mapping[str, int]
    inputs: tuple[str, ...]
    outputs: tuple[Output, ...]
    nodes: tuple[Node, ...]
    batch_first: bool = True
    feedback: tuple[Feedback, ...] = ()
    unreturned: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", MappingProxyType(dict(self.sizes)))

    @property
    def states(self) -> tuple[Carried, ...]:
        """The states of all nodes, in execution order, then those that are fed back."""
        own = tuple(state for node in self.nodes for state in node.carried)
        return own + tuple(
            Carried(f.state, f.output, np.zeros(self.sizes[f.output], np.float32))
            for f in self.feedback
        )

    @property
    def masks(self) -> tuple[str, ...]:
        """The inputs that are masks, or say what is given, and nothing else."""
        read = {name for node in self.nodes for name in node.inputs}
        read |= {output.value for output in self.outputs}
        used = {node.mask for node in self.nodes} | {f.given for f in self.feedback}
        return tuple(name for name in self.inputs if name in used and name not in read)

    @property
    def tokens(self) -> dict[str, NDArray[np.int64]]:
        """Inputs of token ids -> (size,), the rows of the table that each element is an id of.

        0 for an element that no embedding reads.
        """
        places = {name: (name, 0) for name in self.inputs}
        found: dict[str, NDArray[np.int64]] = {}
        for node in self.nodes:
            if not node.inputs or node.inputs[0] not in places:
                continue
            name, begin = places[node.inputs[0]]
            if node.kind == "slice":
                places[node.name] = (name, begin + node.begin)
            elif node.kind == "embedding":
                limits = found.setdefault(name, np.zeros(self.sizes[name], np.int64))
                rows = len(node.arrays["table"])
                limits[begin] = min(rows, limits[begin]) if limits[begin] else rows
        return found

    def consumers(self, value: str) -> list[Node]:
        """The nodes that read a value."""
        return [node for node in self.nodes if value in node.reads]

    @property
    def is_window(self) -> bool:
        """Does it need a whole window, because a layer runs backwards?"""
        return any(node.reverse for node in self.nodes)
