"""The programs that prices are taken from, and others to check them on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgernn.exporters.c.model import Model
from edgernn.footprint.features import engine_feature
from edgernn.graph import Graph, Node, Output
from edgernn.lowering.builder import Builder
from edgernn.lowering.program import lower
from edgernn.rounding import Nearest
from edgernn.runtime.operators import KINDS
from edgernn.runtime.program import GATE, UNIT, Matrix, Operator, Program, Scale, Tensor
from tests.programs import random_graph, random_program, random_ranges

CELLS: Final = {"gru": 4.0, "lstm": 4.0, "lstm ": 8.0, "rnn_tanh": 4.0, "rnn_relu": 4.0}
"""Cells and the ranges of their values: at one the LSTM's loop is shorter."""
PARTIAL: Final = {1: [19, 35], 2: [1, 17, 27, 65], 8: [4, 19, 36, 67]}
"""Lanes -> sizes that are no multiple of it; the first is one turn of a loop, if there are such."""


LOOP_KINDS: Final = ("add", "sub", "mul", "logistic", "tanh", "relu", "rescale", "maximum",
                     "select", "lookup", "rsqrt")  # fmt: skip
LOOP_SCALES: Final = (UNIT, UNIT, GATE, Scale(1, -14), Scale(3, -14), Scale(1, -12))


def products() -> dict[str, Program]:
    """One product each: every remainder of rows and columns, few and more blocks."""
    shapes = [(4 * g, 8 * b + r) for r in range(8) for g, b in ((1, 0), (1, 1), (1, 2), (1, 3))]
    shapes += [(4 * g, 8 * b + r) for r in range(8) for g, b in ((2, 0), (2, 1), (2, 2), (4, 3))]
    shapes += [(12, 16 + r) for r in range(8)] + [(32, 64)]
    shapes += [(rows, 16) for rows in (1, 2, 3, 5, 6, 7)]
    result = {f"p{r}x{c}": _products([(r, c, "n")]) for r, c in shapes if c}
    for rows in (1, 2, 3, 4, 5, 6, 7, 8, 32):
        result[f"a{rows}"] = _products([(rows, 16, "nn")])
    for rows, columns in ((4, 8), (4, 16), (4, 24), (8, 8), (8, 16), (8, 24), (12, 16), (32, 64)):
        result[f"s{rows}x{columns}"] = _products([(rows, columns, "n")], skewed=True)
    return result


def engines() -> dict[str, Program]:
    """Every choice of the engine's functions, and none; wide products of several shapes."""
    found: dict[str, Program] = {}
    kinds = ("n", "w", "nn", "nw", "wn", "ww")
    for number in range(4):
        for chosen in combinations(kinds, number):
            program = _products([(8, 16, kind) for kind in chosen])
            found.setdefault(engine_feature(Model(program, "model")), program)
    result = {f"e{i}": program for i, program in enumerate(found.values())}
    for i, columns in enumerate((3, 12, 22, 37, 65, 10, 15, 301, 603)):
        result[f"wide{i}"] = _products([(5 + 3 * i, columns, "w"), (6 + i, columns, "ww")])
    return result


def _products(shapes: Sequence[tuple[int, int, str]], skewed: bool = False) -> Program:
    """Products of one input, or of what follows its first element; each has an output of its own.

    Kinds: n, w for 32 bits and wider; two letters make a sum of two, of which one is added.
    """
    builder, rng = Builder(Nearest()), np.random.default_rng(len(shapes))
    size, source = shapes[0][1] if shapes else 8, "x"
    builder.tensor("x", size + skewed, UNIT)
    if skewed:
        source = "rest"
        builder.tensors |= {"first": Tensor("first", 1, UNIT), "rest": Tensor("rest", size, UNIT)}
        builder.operators.append(Operator("split", ("x",), ("first", "rest")))
    outputs: dict[str, str] = {}
    for i, (rows, columns, kind) in enumerate(shapes):
        names = [f"{letter}{i}{j}" for j, letter in enumerate(kind)]
        for name, letter in zip(names, kind, strict=True):
            shift = 33 if letter == "w" else 26 + int(np.log2(columns) / 2)
            matrix = Matrix(
                rng.integers(-127, 128, (rows, columns)).astype(np.int8),
                rng.integers(-(1 << 18), 1 << 18, rows) + (1 << 31 if letter == "w" else 0),
                rng.integers(16384, 32768, rows).astype(np.int32),
                np.full(rows, shift, np.int32),
            )
            builder.tensors[name] = Tensor(name, rows, UNIT)
            builder.operators.append(Operator("linear", (source,), (name,), matrix))
        if len(names) == 2:
            builder.tensors[f"s{i}"] = Tensor(f"s{i}", rows, UNIT)
            builder.operators.append(Operator("add", tuple(names), (f"s{i}",)))
            names = [f"s{i}"]
        outputs[f"y{i}"] = names[0]
    if not shapes:
        builder.tensors["y"] = Tensor("y", 8, UNIT)
        builder.operators.append(Operator("relu", ("x",), ("y",)))
        outputs = {"y": "y"}
    return builder.program(("x",), outputs, {})


def rows() -> dict[str, Program]:
    """Embeddings of tokens: one or several, of few elements and more."""
    result: dict[str, Program] = {}
    for count in (1, 2, 3):
        for size in (1, 3, 8, 17, 32, 64):
            builder = Builder(Nearest())
            builder.tensor("token", 1, Scale(1, 0))
            for i in range(count):
                table = np.random.default_rng(i).integers(-127, 128, (20, size)).astype(np.int8)
                builder.embedding(f"row{i}", "token", table, UNIT)
            outputs = {f"y{i}": f"row{i}" for i in range(count)}
            result[f"row_{size}_{count}"] = builder.program(("token",), outputs, {})
    return result


def moves(kind: str) -> dict[int, Program]:
    """Programs that clear a state of some elements, set one from constants, or copy an input."""
    result: dict[int, Program] = {}
    for size in (2, 3, 6, 8, 12, 14, 16, 17, 18, 24, 28, 30, 31, 32, 33, 34, 36, 48, 64, 65, 100):
        builder = Builder(Nearest())
        builder.tensor("x", size if kind == "copy" else 2, UNIT)
        builder.tensors["y"] = Tensor("y", builder.size("x"), UNIT)
        builder.operators.append(Operator("relu", ("x",), ("y",)))
        outputs = {"y": "y"}
        if kind == "copy":
            outputs["z"] = "x"
        else:
            builder.state("s", size, UNIT, np.full(size, 0.5 * (kind == "memcpy"), np.float32))
            builder.tensors["t"] = Tensor("t", size, UNIT)
            builder.operators.append(Operator("relu", (builder.states[0].input,), ("t",)))
            builder.carry("s", "t")
        result[size] = builder.program(("x",), outputs, {})
    return result


def cells(lanes: int) -> dict[str, Program]:
    """Each cell alone and in stacks: loops of every form, with and without an output to store."""
    whole = [lanes, 10, 16, 24, 48, 96]
    stacks = [[24, 24], [40, 40], [16] * 3, [16, 24], [48, 32, 8], [9, 40, 12], [27, 18]]
    partial = PARTIAL[lanes]
    if lanes > 1:
        stacks += [[17, 33, 8], [29, 18], [21, 43], [35, 13], *([n, n] for n in partial[1:3])]
    result: dict[str, Program] = {}
    for i, (cell, amplitude) in enumerate(CELLS.items()):
        for j, size in enumerate([*whole, *partial]):
            for head in (0, 3):
                program = _stack(cell, [size], 12, amplitude, head)
                # What a reset costs may not go with the kind of a loop.
                zero = (j + head) % 2 == 0
                result[f"c{i}_{size}_{head}"] = reset_to_zero(program) if zero else program
        for hidden in stacks:
            name = f"s{i}_{'_'.join(map(str, hidden))}"
            result[name] = _stack(cell, hidden, 12, amplitude, 4)
    for i, names in enumerate((["gru", "lstm"], ["rnn_tanh", "gru"], ["lstm", "rnn_relu"])):
        result[f"mixed{i}"] = random_program(names, [24, 32], 12, i, 2)
    return result


def heads(lanes: int) -> dict[str, Program]:
    """A linear layer and an activation, as models end; ReLU and the usual tanh are among cells."""
    result: dict[str, Program] = {}
    for kind, amplitude in (("sigmoid", 4.0), ("sigmoid", 8.0), ("tanh", 8.0)):
        for size in (lanes, 10, 24, *PARTIAL[lanes][:2]):
            rng = np.random.default_rng(size)
            arrays = {
                "weight": rng.standard_normal((size, 12)).astype(np.float32),
                "bias": rng.standard_normal(size).astype(np.float32),
            }
            nodes = (Node("linear", ("x",), ("a",), arrays), Node(kind, ("a",), ("b",)))
            sizes = {"x": 12, "a": size, "b": size}
            graph = Graph(sizes, ("x",), (Output("y", "b", last=False),), nodes)
            program = lower(graph, random_ranges(graph, amplitude), Nearest(), {})
            result[f"{kind}{amplitude:.0f}_{size}"] = program
    return result


def _stack(cell: str, hidden: list[int], features: int, amplitude: float, head: int) -> Program:
    graph = random_graph([cell.strip()] * len(hidden), hidden, features, sum(hidden), head)
    return lower(graph, random_ranges(graph, amplitude), Nearest(), {})


def reset_to_zero(program: Program) -> Program:
    """The same program with initial states of 0, as most networks have them."""
    states = [replace(s, initial=np.zeros_like(s.initial)) for s in program.states]
    return replace(program, states=tuple(states))


def loops(seeds: Sequence[int] | range) -> dict[str, Program]:
    """One loop of any operators each: what a loop costs that was never measured."""
    return {f"loop{seed}": _loop(seed) for seed in seeds}


def _loop(seed: int) -> Program:
    rng = np.random.default_rng(seed)

    def one_of(*choices: Any) -> Any:
        return choices[int(rng.integers(len(choices)))]

    size = one_of(1, 2, 5, 8, 16, 16, 21, 24, 31, 32, 48)
    b, inputs = Builder(Nearest()), []
    for i in range(int(rng.integers(1, 6))):
        inputs.append(
            b.tensor(f"x{i}", 1 if i and rng.random() < 0.15 else size, one_of(*LOOP_SCALES))
        )
    wanted = int(rng.integers(1, 13))
    waves = [np.sin(np.linspace(0, rng.uniform(1, 20), 513)) for _ in range(2)]
    while len(b.operators) < wanted:
        _append(b, one_of, size, [np.round(32767 * wave).astype(np.int16) for wave in waves])
    read = {name for op in b.operators for name in op.inputs}
    computed = [op.name for op in b.operators]
    outputs = [name for name in computed if name not in read]
    if rng.random() < 0.3:
        outputs.append(one_of(*computed))
    kept = [name for name in inputs if name in read]
    b.tensors = {n: t for n, t in b.tensors.items() if n in kept or n in computed}
    named = {f"y{i}": name for i, name in enumerate(dict.fromkeys(outputs))}
    return b.program(tuple(kept), named, {})


def _append(
    b: Builder, one_of: Callable[..., Any], size: int, tables: list[NDArray[np.int16]]
) -> None:
    """One more operator, or none if the first draw does not fit."""
    kind = one_of("add", "mul", "mul", *LOOP_KINDS)
    full = [name for name in b.tensors if b.size(name) == size]
    x, y = one_of(*full[-4:]), one_of(*full[-6:])
    scale, ins = b.scale(x), (x, y)
    # Of equal operands the compiler makes something else; but squares are common.
    if x == y and kind not in ("mul", "logistic", "tanh", "rescale", "lookup", "relu", "rsqrt"):
        return
    like = [name for name in full if b.scale(name) == scale and name != x]
    if kind in ("maximum", "select") and not like:
        return
    if kind in ("add", "sub"):
        scale = one_of(scale, scale, Scale(scale.mantissa, scale.exponent + 1), *LOOP_SCALES)
    elif kind == "mul":
        scale = Scale.of(scale.fraction * b.scale(y).fraction / UNIT.fraction)
    elif kind in ("logistic", "tanh"):
        scale, ins = UNIT, (x,)
    elif kind in ("rescale", "lookup"):
        scale, ins = one_of(*LOOP_SCALES), (x,)
    elif kind == "maximum":
        ins = (x, one_of(*like))
    elif kind == "select":
        masks = [n for n in b.tensors if b.size(n) in (1, size) and n != x]
        ins = (one_of(*masks), x, one_of(*like))
    elif kind == "relu":
        ins = (x,)
    elif kind == "rsqrt":
        if scale.mantissa != 1 or scale.exponent % 2:
            return
        scale, ins = Scale(1, -18 - scale.exponent // 2), (x,)
    if scale.mantissa > 100 or not -25 < scale.exponent < 0:
        return
    out = Tensor(f"t{len(b.operators)}", size, scale)
    table = one_of(*tables) if kind == "lookup" else None
    op = Operator(kind, ins, (out.name,), None, table)
    try:
        KINDS[kind].check(op, [b.tensors[name] for name in ins], (out,))
    except ValueError:
        return
    b.tensors[out.name] = out
    b.operators.append(op)


def held_out() -> dict[str, Program]:
    """Other shapes and seeds than any of the above."""
    random = random_program
    programs = {
        "gru_64_32": random(["gru"], [64], 32, 501),
        "gru_64_32_head": random(["gru"], [64], 32, 502, 10),
        "gru_33_7": random(["gru"], [33], 7, 503, 5),
        "lstm_48_20": random(["lstm"], [48], 20, 504, 6),
        "lstm_64_32": random(["lstm"], [64], 32, 505),
        "lstm_21_9": random(["lstm"], [21], 9, 506, 1),
        "tanh_30_10": random(["rnn_tanh"], [30], 10, 507, 4),
        "relu_52_13": random(["rnn_relu"], [52], 13, 508, 2),
        "grus_29_18": random(["gru", "gru"], [29, 18], 11, 509, 3),
        "lstms_20_20": random(["lstm", "lstm"], [20, 20], 14, 510, 7),
        "mixed": random(["lstm", "gru"], [27, 36], 10, 511, 12),
        "grus_16": random(["gru", "gru", "gru"], [16, 16, 16], 8, 512),
        "gru_80_40": random(["gru"], [80], 40, 513, 12),
        "gru_10_4": random(["gru"], [10], 4, 514, 2),
        "gru_14_6": random(["gru"], [14], 6, 515, 2),
        "lstm_40_16": random(["lstm"], [40], 16, 516, 2),
        "lstm_13_5": random(["lstm"], [13], 5, 517, 3),
    }
    zero = ("gru_64_32", "lstm_48_20", "grus_29_18", "relu_52_13", "gru_14_6", "lstm_40_16")
    return {n: reset_to_zero(p) if n in zero else p for n, p in programs.items()}
