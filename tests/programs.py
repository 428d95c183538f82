"""Random programs and graphs for the tests: any stack of cells, any size, no training."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgernn.graph import Carried, Graph, Node, Output
from edgernn.importer.recurrent import GATES
from edgernn.lowering.builder import Builder
from edgernn.lowering.program import lower
from edgernn.ranges import Ranges
from edgernn.rounding import Moments, Nearest
from edgernn.runtime.operators import KINDS, evaluate_step
from edgernn.runtime.program import GATE, UNIT, Matrix, Operator, Program, Scale, Tensor
from edgernn.runtime.validate import validate


def random_graph(
    cells: Sequence[str], hidden: Sequence[int], features: int, seed: int, head: int = 0
) -> Graph:
    """A stack of cells of given hidden sizes, a Linear on top if head > 0."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int, gain: float = 1.0) -> NDArray[np.float32]:
        return (gain * rng.standard_normal(shape)).astype(np.float32)

    sizes, nodes, value, width = {"x": features}, [], "x", features
    for i, (cell, size) in enumerate(zip(cells, hidden, strict=True)):
        rows = GATES[cell] * size
        gain = 0.7 if cell == "rnn_relu" else 2.0
        arrays = {
            "weight_ih": normal(rows, width, gain=gain / np.sqrt(width)),
            "weight_hh": normal(rows, size, gain=gain / np.sqrt(size)),
            "bias_ih": normal(rows, gain=0.5),
            "bias_hh": normal(rows, gain=0.5),
        }
        outputs = (f"l{i}_h", f"l{i}_c") if cell == "lstm" else (f"l{i}_h",)
        carried = tuple(
            Carried(f"s{v}", v, normal(size, gain=0.2).clip(-0.9, 0.9)) for v in outputs
        )
        nodes.append(Node(cell, (value,), outputs, arrays, carried))
        sizes |= dict.fromkeys(outputs, size)
        value, width = outputs[0], size
    if head:
        arrays = {"weight": normal(head, width), "bias": normal(head)}
        nodes.append(Node("linear", (value,), ("head",), arrays))
        sizes["head"] = head
        value = "head"
    return Graph(sizes, ("x",), (Output("y", value, last=False),), tuple(nodes))


def random_ranges(graph: Graph, amplitude: float = 4.0) -> Ranges:
    """Ranges that need no data: every value reaches `amplitude` and varies like white noise."""
    names = list(graph.sizes)
    parts = [f"{n.name}.{part}" for n in graph.nodes for part in ("gx", "gh", "a")]
    second = {n: Moments(np.zeros(k), np.eye(k)) for n, k in graph.sizes.items()}
    return Ranges(dict.fromkeys(names + parts, amplitude), second)


def random_program(
    cells: Sequence[str], hidden: Sequence[int], features: int, seed: int, head: int = 0
) -> Program:
    """A quantized program of that shape with random weights."""
    graph = random_graph(cells, hidden, features, seed, head)
    return lower(graph, random_ranges(graph), Nearest(), {})


SCALES = (UNIT, Scale(1, -14), Scale(1, -13), GATE, Scale(3, -14), Scale(3, -12))
"""Close enough to each other that most operators may combine them."""


def random_matrix(
    rng: np.random.Generator, rows: int, columns: int, scale_in: Scale, scale_out: Scale
) -> Matrix:
    """Weights and constants over all they may be; the results reach the rails, or stay small."""
    step = scale_in.mantissa // math.gcd(scale_in.mantissa, scale_out.mantissa)
    multiplier = step * rng.integers(-(-16385 // step), 32767 // step + 1, rows)
    shift = np.clip(21 + np.log2(columns) / 2 + rng.integers(-1, 7, rows), 8, 35)
    bias = rng.integers(-(1 << 20), 1 << 20, rows) * rng.choice([0, 1, 64], rows)
    return Matrix(
        rng.integers(-127, 128, (rows, columns)).astype(np.int8),
        bias.astype(np.int64),
        multiplier.astype(np.int32),
        shift.astype(np.int32),
    )


def random_structure(seed: int, operators: int = 16) -> Program:
    """A valid program of no particular architecture: any operator may read any tensor.

    States may be swapped, kept, shared or never read; inputs and states may be outputs.
    """
    rng = np.random.default_rng(seed)
    b = Builder(Nearest())
    sizes = rng.choice([1, 2, 3, 5, 8, 9], 2, replace=False).tolist()

    def one_of(items: Sequence[Any]) -> Any:
        return items[int(rng.integers(len(items)))]

    inputs = tuple(
        b.tensor(f"x{i}", one_of(sizes), one_of(SCALES)) for i in range(rng.integers(1, 3))
    )
    if rng.random() < 0.4:
        inputs = (*inputs, b.tensor("token", 1, Scale(1, 0)))
    for i in range(rng.integers(0, 3)):
        size = one_of(sizes)
        b.constant(f"k{i}", np.zeros(size), one_of(SCALES))
        b.constants[f"k{i}"][:] = rng.integers(-32768, 32768, size)
    for i in range(rng.integers(0, 4)):
        size = one_of(sizes)
        b.state(f"s{i}", size, one_of(SCALES), np.zeros(size, np.float32))
        b.states[i].initial[:] = rng.integers(-32768, 32768, size)
    while len(b.operators) < operators:
        _append_random(b, rng, one_of, sizes, f"t{len(b.operators)}")
    for state in list(b.states):
        like = b.tensors[state.input]
        same = [t.name for t in b.tensors.values() if (t.size, t.scale) == (like.size, like.scale)]
        b.carry(state.name, one_of(same[-4:] if rng.random() < 0.7 else same))
    names = list(b.tensors)
    outputs = {
        f"y{i}": one_of(names[-6:] if rng.random() < 0.6 else names)
        for i in range(rng.integers(1, 4))
    }
    program = b.program(inputs, outputs, {})
    validate(program)
    return program


def _append_random(
    b: Builder, rng: np.random.Generator, one_of: Callable[..., Any], sizes: list[int], name: str
) -> None:
    """One more operator that its rules allow; none if the first draw does not fit."""
    kind, names = one_of([*KINDS, "add", "sub", "mul", "mul"]), list(b.tensors)
    recent = names[-5:] if rng.random() < 0.6 else names
    x = one_of(recent)
    like = b.tensors[x]
    mates = [n for n in names if n != x and b.size(n) == like.size] or [x]
    y = x if rng.random() < 0.05 else one_of(mates)
    ins: tuple[str, ...] = (x,)
    outs: tuple[Tensor, ...] = (Tensor(name, like.size, like.scale),)
    matrix: Matrix | None = None
    table: NDArray[Any] | None = None
    if kind == "linear":
        outs = (Tensor(name, one_of(sizes), one_of(SCALES)),)
        matrix = random_matrix(rng, outs[0].size, like.size, like.scale, outs[0].scale)
    elif kind in ("add", "sub"):
        near = [like.scale, like.scale, Scale(like.scale.mantissa, like.scale.exponent + 1)]
        ins, outs = (x, y), (Tensor(name, like.size, one_of([*near, *SCALES])),)
    elif kind == "mul":
        if like.scale.exponent + b.scale(y).exponent > 0:
            return
        scale = Scale.of(like.scale.fraction * b.scale(y).fraction / UNIT.fraction)
        ins, outs = (x, y), (Tensor(name, like.size, scale),)
    elif kind in ("logistic", "tanh"):
        outs = (Tensor(name, like.size, UNIT),)
    elif kind == "rescale":
        outs = (Tensor(name, like.size, one_of(SCALES)),)
    elif kind == "split":
        if like.size < 2:
            return
        cut = int(rng.integers(1, like.size))
        parts = (cut, like.size - cut)
        outs = tuple(Tensor(f"{name}_{i}", n, like.scale) for i, n in enumerate(parts))
    elif kind == "concat":
        mates = [n for n in names if b.scale(n) == like.scale]
        ins = (x, *(one_of(mates) for _ in range(rng.integers(1, 3))))
        outs = (Tensor(name, sum(b.size(n) for n in ins), like.scale),)
    elif kind == "maximum":
        ins = (x, one_of([n for n in mates if b.scale(n) == like.scale] or [x]))
    elif kind == "select":
        same = [n for n in mates if b.scale(n) == like.scale] or [x]
        masks = [n for n in names if b.size(n) in (1, like.size)]
        ins = (one_of(masks or [x]), x, one_of(same))
    elif kind == "lookup":
        outs = (Tensor(name, like.size, one_of(SCALES)),)
        smooth = 32767 * np.sin(rng.normal() * 3 + np.linspace(0, rng.uniform(1, 40), 513))
        rough = rng.integers(-32768, 32768, 513)
        table = (smooth if rng.random() < 0.7 else rough).astype(np.int16)
    elif kind == "rsqrt":
        if like.scale.mantissa != 1 or like.scale.exponent % 2:
            return
        gain = int(rng.integers(9))
        outs = (Tensor(name, like.size, Scale(1, -15 - gain - like.scale.exponent // 2)),)
    elif kind == "embedding":
        ins = ("token",) if "token" in names else (x,)
        table = rng.integers(-128, 128, (one_of([1, 7, 300]), one_of(sizes))).astype(np.int8)
        outs = (Tensor(name, table.shape[1], one_of(SCALES)),)
    op = Operator(kind, ins, tuple(t.name for t in outs), matrix, table)
    try:
        KINDS[kind].check(op, [b.tensors[n] for n in ins], outs)
    except ValueError:
        return
    if max(t.size for t in outs) <= 24 and all(t.scale.mantissa < 100 for t in outs):
        b.tensors.update((t.name, t) for t in outs)
        b.operators.append(op)


def random_integers(
    rng: np.random.Generator, shape: tuple[int, ...], style: str = "mixed"
) -> NDArray[np.int16]:
    """int16 of a style: full range, small, rails (-32768, -1, 0, 1, 32767), or a mix of them."""
    styles = {
        "full": rng.integers(-32768, 32768, shape),
        "small": rng.integers(-40, 41, shape),
        "rails": rng.choice([-32768, -32767, -1, 0, 1, 32766, 32767], shape),
    }
    mixed = np.choose(rng.integers(0, 3, shape), list(styles.values()))
    return styles.get(style, mixed).astype(np.int16)


def reference_run(
    program: Program,
    inputs: Sequence[NDArray[np.int16]],
    states: Mapping[str, NDArray[np.int16]] | None = None,
) -> tuple[list[NDArray[np.int16]], dict[str, NDArray[np.int16]]]:
    """The slow engine over (..., T, F) per input: outputs (..., T, O) in order, and last states."""
    lead, length = inputs[0].shape[:-2], inputs[0].shape[-2]
    carried = {
        s.name: np.broadcast_to(
            (s.initial if states is None else states[s.name]).astype(np.int64),
            (*lead, len(s.initial)),
        )
        for s in program.states
    }
    results: list[list[NDArray[np.int64]]] = [[] for _ in program.outputs]
    for t in range(length):
        now = [x[..., t, :].astype(np.int64) for x in inputs]
        step = dict(zip(program.inputs, now, strict=True))
        values = evaluate_step(program, step, carried)
        carried = {s.name: values[s.output] for s in program.states}
        for result, name in zip(results, program.outputs.values(), strict=True):
            result.append(values[name])
    outputs = [np.stack(r, axis=-2).astype(np.int16) for r in results]
    return outputs, {name: v.astype(np.int16) for name, v in carried.items()}
