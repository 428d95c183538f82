"""Where an integer program rounds: every place, by name, and the groups that belong together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from edgernn.attribution.meaning import Meaning
from edgernn.runtime.program import Matrix, Program
from edgernn.runtime.window import Window

ROUNDS: Final = ("linear", "add", "sub", "mul", "logistic", "tanh", "lookup", "rsqrt", "rescale")
_MOVES: Final = ("select", "split", "concat", "relu", "maximum")
_TABLES: Final = ("logistic", "tanh", "lookup")
LOWEST: Final = -1e30
"""Less than this is a state that starts below every value."""
GROUPS: Final = ("input", "weights", "bias", "tables", "gates", "state", "values")


@dataclass(frozen=True)
class Source:
    """A place where a program rounds.

    kind: "weights" (a matrix or an embedding, int8), "constant" (a vector, int16), "bias",
    "table" (a function by its points), "rounding" (a tensor to int16, saturation included) or
    "initial" (a state's first value). tensor: which; of an initial value, the state. stage: of a
    window program. layer: which the tensor belongs to, "" for an input. group: one of GROUPS.
    role: of weights in a recurrent layer, "recurrent" or "input".
    """

    kind: str
    tensor: str
    stage: int
    layer: str
    group: str
    role: str = ""

    @property
    def label(self) -> str:
        """For a table or an axis."""
        what = {
            "weights": f"{self.role} weights".strip(),
            "constant": "constants",
            "bias": "bias",
            "table": "table",
            "rounding": "rounding",
            "initial": "initial value",
        }
        return f"{what[self.kind]} of {self.tensor}"


def sources_of(program: Program | Window, meanings: Sequence[Meaning]) -> list[Source]:
    """Every source of a program, in execution order. What is exact as it stands is none."""
    names = tuple(t.name for t in program.inputs) if isinstance(program, Window) else program.inputs
    found = [Source("rounding", name, 0, "", "input") for name in names]
    for number, (stage, meaning) in enumerate(zip(stages_of(program), meanings, strict=True)):
        found += _of_stage(stage, meaning, number)
    return found


def stages_of(program: Program | Window) -> list[Program]:
    """The programs of all stages."""
    if isinstance(program, Window):
        return [stage.program for stage in program.stages]
    return [program]


def _of_stage(program: Program, meaning: Meaning, stage: int) -> list[Source]:
    carried = _carried(program)
    layers, states = meaning.layers, {s.input for s in program.states}
    recurrent = {layers.get(op.name, "") for op in program.operators if op.name in carried}
    found: list[Source] = []
    for state in program.states:
        real = meaning.initial.get(state.name)
        scale = float(program.tensors[state.input].scale)
        # Below every value, as a maximum starts, is no value that could be rounded.
        if real is not None and np.any(real / scale != state.initial) and np.all(real > LOWEST):
            layer = layers.get(state.output, "")
            found.append(Source("initial", state.name, stage, layer, "state"))
    readers = {n: layers.get(op.name, "") for op in program.operators for n in op.inputs}
    for name, integers in program.constants.items():
        values = meaning.constants.get(name)
        scale = float(program.tensors[name].scale)
        if values is not None and name in readers and np.any(values / scale != integers):
            found.append(Source("constant", name, stage, readers[name], "weights"))
    for op in program.operators:
        layer = layers.get(op.name, "")
        if op.matrix is not None and op.name in meaning.products:
            weights, bias = _inexact(program, op.matrix, op.inputs[0], op.name, meaning)
            if weights:
                role = "recurrent" if op.inputs[0] in states else "input"
                own = layer in recurrent and layers.get(op.inputs[0], "") != layer
                role = role if own or op.inputs[0] in states else ""
                found.append(Source("weights", op.name, stage, layer, "weights", role))
            if bias:
                found.append(Source("bias", op.name, stage, layer, "bias"))
        if op.kind == "embedding" and op.name in meaning.embeddings:
            found.append(Source("weights", op.name, stage, layer, "weights"))
        if op.kind in _TABLES and (op.kind != "lookup" or op.name in meaning.functions):
            found.append(Source("table", op.name, stage, layer, "tables"))
        if op.kind in ROUNDS:
            inner = "gates" if layer in recurrent else "values"
            group = "state" if op.name in carried else inner
            found.append(Source("rounding", op.name, stage, layer, group))
    return found


def _inexact(
    program: Program, matrix: Matrix, x: str, name: str, meaning: Meaning
) -> tuple[bool, bool]:
    """Do the integers of a product differ from what they stand for: the weights, the bias?"""
    scale_in, scale_out = (float(program.tensors[n].scale) for n in (x, name))
    weight, bias = meaning.products[name]
    row = matrix.multiplier * 2.0 ** -matrix.shift.astype(np.float64) * scale_out / scale_in
    wanted = bias / (row * scale_in)
    return (
        bool(np.any(weight != row[:, None] * matrix.weight)),
        bool(np.any(wanted != np.rint(wanted))),
    )


def _carried(program: Program) -> set[str]:
    """The operators whose result is, unrounded since, the next value of a state."""
    written = {name: op for op in program.operators for name in op.outputs}
    inputs = {s.input for s in program.states}
    found: set[str] = set()
    open_ = [s.output for s in program.states]
    seen: set[str] = set()
    while open_:
        name = open_.pop()
        if name in seen or name in inputs or name not in written:
            continue
        seen.add(name)
        op = written[name]
        found.add(op.name)
        if op.kind in _MOVES:
            # Of a select, the first input only says which.
            open_ += op.inputs[op.kind == "select" :]
    return found


@dataclass(frozen=True)
class Group:
    """Sources of one layer that belong together, as "the weights of l1"."""

    layer: str
    name: str
    sources: tuple[Source, ...]

    @property
    def label(self) -> str:
        """For a table or an axis."""
        return f"{self.name} of {self.layer}" if self.layer else self.name


def groups_of(sources: Iterable[Source]) -> list[Group]:
    """By layer and group, in order of appearance."""
    found: dict[tuple[str, str], list[Source]] = {}
    for source in sources:
        found.setdefault((source.layer, source.group), []).append(source)
    return [Group(layer, name, tuple(own)) for (layer, name), own in found.items()]


Run = frozenset[Source]
"""What is on."""
