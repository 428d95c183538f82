"""Random window programs for the tests: bidirectional stacks, and stages of no architecture."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgernn.graph import Carried, Graph, Node, Output
from edgernn.importer.recurrent import GATES
from edgernn.lowering.window import lower_window
from edgernn.rounding import Nearest
from edgernn.runtime.program import Operator, Program, Scale, Tensor
from edgernn.runtime.validate import validate
from edgernn.runtime.window import Source, Stage, Window, validate_window, window_of
from tests.programs import (
    random_integers,
    random_matrix,
    random_program,
    random_ranges,
    random_structure,
)


def random_window(seed: int, largest: int = 16) -> Window:
    """A window program: of ten seeds, five are stacks of bidirectional layers, four are stages of
    random operators, one is a streaming program. largest: hidden units of a layer of the stacks."""
    kind = seed % 10
    if kind < 5:
        return random_stack(seed, largest)
    if kind < 9:
        return random_stages(seed)
    program = random_program(["lstm", "gru"], [1 + seed % largest, 5], 3, seed, 2)
    last = ["y"] if seed % 20 == 9 else []
    return window_of(dataclasses.replace(program, metadata={"last": last}))


def random_stack(seed: int, largest: int = 16) -> Window:
    """A lowered `random_window_graph`."""
    graph = random_window_graph(seed, largest)
    return lower_window(graph, random_ranges(graph), Nearest(), {})


def random_window_graph(seed: int, largest: int = 16) -> Graph:
    """1 to 3 layers, at least one of them bidirectional or backwards; any cell, any size.

    Half of them have a mask, which some layers read. Outputs: at every step, picked from the
    window's ends, and a head on such picks.
    """
    rng = np.random.default_rng(seed)
    features = int(rng.integers(1, largest + 1))
    sizes, inputs = {"x": features}, ("x",)
    masked = bool(rng.random() < 0.5)
    if masked:
        sizes["mask"], inputs = 1, ("x", "mask")
    nodes: list[Node] = []
    value = "x"

    def add(node: Node, size: int) -> str:
        nodes.append(node)
        sizes.update(dict.fromkeys(node.outputs, size))
        return node.name

    layers = int(rng.integers(1, 4))
    for i in range(layers):
        kind = str(rng.choice(list(GATES)))
        size = int(rng.integers(1, largest + 1))
        mask = "mask" if masked and rng.random() < 0.7 else ""
        turns = [(False, True), (True,), (False,)][int(rng.choice(3, p=[0.7, 0.15, 0.15]))]
        if i == layers - 1 and not any(node.reverse for node in nodes):
            turns = (False, True)
        parts = []
        for reverse in turns:
            name = f"l{i}{'r' if reverse else ''}"
            cell = _cell(rng, kind, name, (value, sizes[value]), size, reverse, mask)
            parts.append(add(cell, size))
        value = parts[0]
        if len(parts) == 2:
            value = add(Node("concat", tuple(parts), (f"l{i}_both",)), 2 * size)
    outputs = {}
    head = int(rng.integers(1, 6))
    if rng.random() < 0.7:
        outputs["each"] = add(_linear(rng, "each", value, sizes[value], head), head)
    picked, every = [], [node.name for node in nodes]
    for pick in ("last", "first"):
        source = str(rng.choice(every))
        name = add(Node(pick, (source,), (f"{pick}_of",)), sizes[source])
        picked.append(name)
        if rng.random() < 0.3:
            outputs[pick] = name
    if rng.random() < 0.6 or not outputs:
        both = add(Node("concat", tuple(picked), ("both",)), sum(sizes[n] for n in picked))
        outputs["once"] = add(_linear(rng, "once", both, sizes[both], head), head)
    if rng.random() < 0.3:
        outputs["raw"] = value
    return Graph(
        sizes,
        inputs,
        tuple(Output(n, v, last=False) for n, v in outputs.items()),
        _read(nodes, set(outputs.values())),
    )


def _read(nodes: list[Node], wanted: set[str]) -> tuple[Node, ...]:
    """The nodes that some output depends on, as an import leaves them."""
    kept: list[Node] = []
    for node in reversed(nodes):
        if not wanted.isdisjoint(node.outputs):
            wanted |= set(node.reads)
            kept.insert(0, node)
    return tuple(kept)


def _cell(
    rng: np.random.Generator,
    kind: str,
    name: str,
    given: tuple[str, int],
    size: int,
    reverse: bool,
    mask: str,
) -> Node:
    value, width = given
    rows, gain = GATES[kind] * size, 0.7 if kind == "rnn_relu" else 2.0
    arrays = {
        "weight_ih": _normal(rng, rows, width, gain=gain / np.sqrt(width)),
        "weight_hh": _normal(rng, rows, size, gain=gain / np.sqrt(size)),
        "bias_ih": _normal(rng, rows, gain=0.5),
        "bias_hh": _normal(rng, rows, gain=0.5),
    }
    values = (f"{name}_h", f"{name}_c") if kind == "lstm" else (f"{name}_h",)
    carried = tuple(
        Carried(f"s_{v}", v, _normal(rng, size, gain=0.2).clip(-0.9, 0.9)) for v in values
    )
    return Node(kind, (value,), values, arrays, carried, reverse=reverse, mask=mask)


def _linear(rng: np.random.Generator, name: str, value: str, width: int, size: int) -> Node:
    arrays = {"weight": _normal(rng, size, width), "bias": _normal(rng, size)}
    return Node("linear", (value,), (f"{name}_y",), arrays)


def _normal(rng: np.random.Generator, *shape: int, gain: float = 1.0) -> NDArray[np.float32]:
    return (gain * rng.standard_normal(shape)).astype(np.float32)


def random_stages(seed: int, operators: int = 10) -> Window:
    """1 to 4 stages, each a `random_structure`, forwards, backwards or once.

    A stage reads inputs of the window and any value of an earlier stage, through a matrix product
    where the sizes or scales differ. Outputs are picked from everything that there is.
    """
    rng = np.random.default_rng(seed)
    inputs: dict[str, Tensor] = {}
    known: dict[str, Tensor] = {}
    single: set[str] = set()
    stages: list[Stage] = []
    count = int(rng.integers(1, 5))
    for number in range(count):
        # What there is once serves only what runs once.
        direction = str(rng.choice(["forward", "reverse", "once"], p=[0.35, 0.4, 0.25]))
        once = direction == "once" and bool(stages)
        direction = "reverse" if direction == "once" and not once else direction
        program = _renamed(random_structure(int(rng.integers(1 << 30)), operators), number)
        sources = {}
        for name in program.inputs:
            readable = [v for v in known if once or v not in single]
            if not readable or (rng.random() < 0.25 and len(inputs) < 6):
                value = f"x{len(inputs)}"
                like = program.tensors[name]
                inputs[value] = known[value] = Tensor(value, like.size, like.scale)
            else:
                value = str(rng.choice(readable[-8:]))
            at = "step" if not once or value in single else str(rng.choice(["first", "last"]))
            sources[name] = Source(value, at)
        program, sources = _adapted(rng, program, sources, known)
        stages.append(Stage(program, direction, sources))
        for name, written in program.outputs.items():
            t = program.tensors[written]
            known[name] = Tensor(name, t.size, t.scale)
            if once:
                single.add(name)
    outputs = {}
    for i in range(int(rng.integers(1, 5))):
        of_last = list(stages[-1].program.outputs)
        value = str(rng.choice(of_last if i == 0 else list(known)))
        at = "step" if value in single else str(rng.choice(["step", "step", "first", "last"]))
        outputs[f"y{i}"] = Source(value, at)
    window = Window(tuple(inputs.values()), tuple(stages), outputs)
    validate_window(window)
    return window


def _renamed(program: Program, number: int) -> Program:
    """Public names that no other stage has."""
    return dataclasses.replace(
        program,
        outputs={f"v{number}_{name}": t for name, t in program.outputs.items()},
        states=tuple(dataclasses.replace(s, name=f"{s.name}_{number}") for s in program.states),
    )


def _adapted(
    rng: np.random.Generator,
    program: Program,
    sources: Mapping[str, Source],
    known: Mapping[str, Tensor],
) -> tuple[Program, dict[str, Source]]:
    """The program with a product before every input that its source does not fit."""
    tensors, names, products = dict(program.tensors), [], []
    changed: dict[str, Source] = {}
    for name, source in sources.items():
        wanted, given = tensors[name], known[source.value]
        inner = name
        if (wanted.size, wanted.scale) != (given.size, given.scale):
            inner = f"{name}_given"
            tensors[inner] = Tensor(inner, given.size, given.scale)
            matrix = random_matrix(rng, wanted.size, given.size, given.scale, wanted.scale)
            products.append(Operator("linear", (inner,), (name,), matrix))
        names.append(inner)
        changed[inner] = source
    adapted = dataclasses.replace(
        program,
        tensors=tensors,
        inputs=tuple(names),
        operators=(*products, *program.operators),
    )
    validate(adapted)
    return adapted, changed


def random_inputs(
    window: Window, steps: int, seed: int, batch: int | None = None
) -> dict[str, NDArray[np.int16]]:
    """A window, input name -> (steps, size), or (batch, steps, size): numbers of all kinds; what
    has scale 1 and size 1, such as a mask, is 0 about half of the time."""
    rng = np.random.default_rng(seed)
    lead: tuple[int, ...] = (steps,) if batch is None else (batch, steps)
    given: dict[str, Any] = {}
    for tensor in window.inputs:
        values = random_integers(rng, (*lead, tensor.size))
        if tensor.size == 1 and tensor.scale == Scale(1, 0):
            values = np.where(rng.random(values.shape) < 0.5, np.int16(0), values)
        given[tensor.name] = values
    return given
