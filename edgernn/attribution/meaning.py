"""The numbers that a program's integers stand for: its float network, lowered once more.

The builder of this lowering writes down every number before it is rounded, under the name of the
tensor that the program has too. Scales and integers are taken from the program itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgernn.float_file import FloatModel
from edgernn.graph import Graph
from edgernn.lowering.builder import Builder
from edgernn.lowering.program import lower
from edgernn.lowering.window import lower_window
from edgernn.ranges import Ranges
from edgernn.rounding import Moments, Nearest, Rounding
from edgernn.runtime.errors import FileFormatError
from edgernn.runtime.program import Program, Scale
from edgernn.runtime.window import Window

Float64Array = NDArray[np.float64]
Function = Callable[[Float64Array], Float64Array]


@dataclass(frozen=True, eq=False)
class Meaning:
    """What the integers of a program, or of one stage of a window program, stand for.

    products: linear -> weight (rows, K) and bias (rows,). embeddings: its table (V, D). constants:
    tensor -> (size,). functions: lookup -> the function that its table samples. initial: state ->
    (size,). layers: operator -> name of the layer it belongs to. All float64. What is not listed is
    exact as it stands. learned: the products whose weights the float network has; the others are
    means, sums and copies of the lowering's own.
    """

    products: Mapping[str, tuple[Float64Array, Float64Array]] = field(default_factory=dict)
    embeddings: Mapping[str, Float64Array] = field(default_factory=dict)
    constants: Mapping[str, Float64Array] = field(default_factory=dict)
    functions: Mapping[str, Function] = field(default_factory=dict)
    initial: Mapping[str, Float64Array] = field(default_factory=dict)
    layers: Mapping[str, str] = field(default_factory=dict)
    learned: frozenset[str] = frozenset()


def meanings_of(program: Program | Window, model: FloatModel) -> tuple[Meaning, ...]:
    """One for each stage; a program that streams is one stage.

    FileFormatError if the float network is not the one that the program was made from.
    """
    graph, recorders = model.graph, list[_Recorder]()

    def make(rounding: Rounding) -> Builder:
        recorders.append(_Recorder(rounding))
        return recorders[-1]

    ranges = _Amplitudes(model.amplitudes, {})
    if isinstance(program, Window) != graph.is_window:
        raise _another()
    try:
        if isinstance(program, Window):
            stages = [stage.program for stage in program.stages]
            window = lower_window(graph, ranges, Nearest(), {}, make)
            again = [stage.program for stage in window.stages]
        else:
            stages, again = [program], [lower(graph, ranges, Nearest(), {}, make)]
    except (LookupError, ValueError):
        raise _another() from None
    if len(stages) != len(again):
        raise _another()
    for stage, other in zip(stages, again, strict=True):
        if _structure(stage) != _structure(other):
            raise _another()
    return tuple(
        recorder.meaning(graph, stage) for recorder, stage in zip(recorders, stages, strict=True)
    )


def _another() -> FileFormatError:
    return FileFormatError(
        "model.float.safetensors is not the float network that this program was made from, or is "
        "of another version of edgernn; export the model again"
    )


def _structure(program: Program) -> list[Any]:
    operators = [(op.kind, op.inputs, op.outputs) for op in program.operators]
    sizes = {t.name: t.size for t in program.tensors.values()}
    return [operators, sizes, [s.name for s in program.states], program.inputs]


class _Amplitudes(Ranges):
    """Ranges without moments: the rounding that asks for them is not used here."""

    def moments(self, value: str) -> Moments:
        return Moments(np.zeros(1), np.zeros((1, 1)))


@dataclass
class _Recorder(Builder):
    products: dict[str, tuple[Float64Array, Float64Array]] = field(default_factory=dict)
    floats: dict[str, Float64Array] = field(default_factory=dict)
    functions: dict[str, Function] = field(default_factory=dict)
    begun: list[tuple[str, int]] = field(default_factory=list)
    layers: dict[str, str] = field(default_factory=dict)
    learned: set[str] = field(default_factory=set)

    def begin(self, layer: str) -> None:
        self._assign()
        self.begun = [(layer, len(self.operators))]

    def _assign(self) -> None:
        for layer, first in self.begun:
            for op in self.operators[first:]:
                # What feeds back is moved to the front after it was appended.
                self.layers.setdefault(op.name, layer)

    def meant(self, name: str, weight: NDArray[Any], bias: NDArray[Any]) -> None:
        self.products[name] = (weight.astype(np.float64), bias.astype(np.float64))

    def linear(
        self,
        name: str,
        x: str,
        weight: NDArray[Any],
        bias: NDArray[Any],
        moments: Moments,
        scale: Scale,
    ) -> str:
        self.learned.add(name)
        nothing = Moments(np.zeros(weight.shape[1]), np.zeros((1, 1)))
        return super().linear(name, x, weight, bias, nothing, scale)

    def constant(self, name: str, values: NDArray[Any], scale: Scale | None = None) -> str:
        self.floats[name] = values.astype(np.float64)
        return super().constant(name, values, scale)

    def lookup(self, name: str, x: str, function: Function, scale: Scale) -> str:
        self.functions[name] = function
        return super().lookup(name, x, function, scale)

    def meaning(self, graph: Graph, stage: Program) -> Meaning:
        self._assign()
        tables = {n.name: n.arrays["table"] for n in graph.nodes if n.kind == "embedding"}
        own = {op.name for op in stage.operators}
        states = {s.name for s in stage.states}
        return Meaning(
            self.products,
            {name: t.astype(np.float64) for name, t in tables.items() if name in own},
            self.floats,
            self.functions,
            {c.name: c.initial.astype(np.float64) for c in graph.states if c.name in states},
            self.layers,
            frozenset(self.learned),
        )
