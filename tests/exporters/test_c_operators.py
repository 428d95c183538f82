"""Every element-wise operator in C over all of int16, or over all pairs of its edges."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgernn.runtime.activation import input_multiplier
from edgernn.runtime.operators import KINDS
from edgernn.runtime.program import UNIT, Operator, Program, Scale, Tensor
from tests.exporters import c_programs
from tests.exporters.c_host import (
    CLANG,
    GCC,
    NATIVE,
    Build,
    Stepper,
    library,
    require,
    write_all,
)
from tests.exporters.test_c import Result, Streams
from tests.programs import reference_run

ALL = np.arange(-32768, 32768).astype(np.int16)
SIZE = len(ALL)
SCALES = [Scale(m, e) for m in (1, 3) for e in (-20, -16, -15, -14, -11)]


def edges(rng: np.random.Generator) -> NDArray[np.int16]:
    """256 numbers: the rails, powers of two and what is beside them, and any."""
    near = [s * (1 << k) + d for s in (-1, 1) for k in range(16) for d in (-1, 0, 1)]
    inside = sorted({v for v in (*near, 0, -32766, 32766) if -32768 <= v <= 32767})
    return np.array([*inside, *rng.integers(-32768, 32768, 256 - len(inside))], np.int16)


@cache
def sums(kind: str) -> list[tuple[Scale, Scale, Scale]]:
    """Scales that a sum may have: one case for each ratio between them."""
    cases = {}
    for a, b, out in product(SCALES, repeat=3):
        ins, outs = [Tensor("a", 1, a), Tensor("b", 1, b)], [Tensor("y", 1, out)]
        with suppress(ValueError):
            KINDS[kind].check(Operator(kind, ("a", "b"), ("y",)), ins, outs)
            cases[a.fraction / out.fraction, b.fraction / out.fraction] = (a, b, out)
    return list(cases.values())


def binary(kind: str, scales: list[tuple[Scale, Scale, Scale]]) -> Program:
    """One operator for each of the scales; they share their inputs where they can."""
    tensors, operators, outputs = {}, [], {}
    for a, b, out in scales:
        ins = tuple(
            f"{side}_{scale.mantissa}_{-scale.exponent}" for side, scale in (("a", a), ("b", b))
        )
        tensors |= {ins[0]: (SIZE, a), ins[1]: (SIZE, b)}
        name = f"y{len(operators)}"
        tensors[name], outputs[name] = (SIZE, out), name
        operators.append(Operator(kind, ins, (name,)))
    inputs = tuple(name for name in tensors if not name.startswith("y"))
    return c_programs.made(tensors, operators, inputs, outputs)


def multiplications() -> list[tuple[Scale, Scale, Scale]]:
    pairs = [(UNIT, UNIT), (Scale(3, -13), UNIT), (UNIT, Scale(1, -9))]
    return [(a, b, Scale.of(a.fraction * b.fraction / UNIT.fraction)) for a, b in pairs]


def unary(cases: list[tuple[str, Scale, Scale]]) -> Program:
    """(kind, scale in, scale out) for each operator; one input for each scale."""
    tensors, operators, outputs = {}, [], {}
    for kind, scale, out in cases:
        source, name = f"x_{scale.mantissa}_{scale.exponent + 100}", f"y{len(operators)}"
        tensors[source] = (SIZE, scale)
        tensors[name], outputs[name] = (SIZE, out), name
        operators.append(Operator(kind, (source,), (name,)))
    inputs = tuple(name for name in tensors if name.startswith("x"))
    return c_programs.made(tensors, operators, inputs, outputs)


def rescalings() -> list[tuple[str, Scale, Scale]]:
    scales = [Scale(m, e) for m in (1, 3, 5, 16777215) for e in range(-45, 5, 3)]
    scales = [s for s in scales if 1 / 2**15 <= UNIT.fraction / s.fraction <= 1 << 15]
    return [("relu", UNIT, UNIT), *(("rescale", UNIT, scale) for scale in scales)]


def activations() -> list[tuple[str, Scale, Scale]]:
    """Both, at every scale that an activation can read."""
    cases = []
    for exponent in range(-45, 5):
        scale = Scale(3, exponent)
        try:
            input_multiplier(float(scale))
        except ValueError:
            continue
        cases += [("logistic", scale, UNIT), ("tanh", scale, UNIT)]
    assert len(cases) >= 58
    return cases


def choices() -> Program:
    """One of two, lane by lane."""
    tensors = dict.fromkeys(("a", "b", "m", "y"), (SIZE, UNIT))
    return c_programs.made(tensors, [Operator("select", ("m", "a", "b"), ("y",))], ("a", "b", "m"))


def masks() -> Program:
    """One mask for all; sizes on both sides of any number of lanes."""
    sizes = (1, 2, 3, 8, 15, 16, 17, 40)
    tensors, operators = {"m": (1, UNIT)}, []
    for size in sizes:
        tensors |= dict.fromkeys((f"a{size}", f"b{size}", f"y{size}"), (size, UNIT))
        operators.append(Operator("select", ("m", f"a{size}", f"b{size}"), (f"y{size}",)))
    inputs = tuple(n for n in tensors if not n.startswith("y"))
    return c_programs.made(tensors, operators, inputs, {f"y{n}": f"y{n}" for n in sizes})


def lookups() -> Program:
    """Every step that a table may make, the steepest and the flattest; one table twice."""
    rng = np.random.default_rng(1)
    steep = np.where(np.arange(513) % 2, 32767, -32768)
    smooth = 32767 * np.tanh(np.linspace(-4, 4, 513))
    tables = [steep, -1 - steep, smooth, rng.integers(-32768, 32768, 513), np.full(513, -1)]
    tables += [np.arange(513) - 256, 256 - np.arange(513), smooth]
    tensors, operators = {"x": (SIZE, UNIT)}, []
    for i, table in enumerate(tables):
        # At any scale.
        tensors[f"y{i}"] = (SIZE, SCALES[i])
        integers = np.asarray(table).astype(np.int16)
        operators.append(Operator("lookup", ("x",), (f"y{i}",), table=integers))
    return c_programs.made(tensors, operators, ("x",), {op.name: op.name for op in operators})


def roots() -> Program:
    """Every gain."""
    tensors, operators = {"x": (SIZE, Scale(1, -14))}, []
    for gain in range(9):
        tensors[f"y{gain}"] = (SIZE, Scale(1, -8 - gain))
        operators.append(Operator("rsqrt", ("x",), (f"y{gain}",)))
    return c_programs.made(tensors, operators, ("x",), {op.name: op.name for op in operators})


def tokens() -> Program:
    """Tables of one row to the most there may be, of one column and more."""
    rng = np.random.default_rng(2)
    tensors, operators = {"token": (1, c_programs.TOKEN)}, []
    for i, shape in enumerate([(1, 1), (1, 9), (2, 3), (7, 1), (300, 40), (32767, 1), (32768, 2)]):
        tensors[f"y{i}"] = (shape[1], UNIT)
        table = rng.integers(-128, 128, shape).astype(np.int8)
        operators.append(Operator("embedding", ("token",), (f"y{i}",), table=table))
    return c_programs.made(tensors, operators, ("token",), {op.name: op.name for op in operators})


def test_the_forms_of_a_sum_are_all_among_the_scales() -> None:
    for kind in ("add", "sub"):
        ratios = {
            (a.fraction / out.fraction, b.fraction / out.fraction) for a, b, out in sums(kind)
        }
        assert {(1, 1), (1, 2), (2, 1), (1 / 2, 1 / 2), (3, 1), (1, 3), (1 / 2, 2)} <= ratios


@cache
def cases() -> dict[str, tuple[Program, Streams, Result]]:
    """Programs of many operators each, their inputs, and what the slow engine gives."""
    rng = np.random.default_rng(0)
    a, b = (v.ravel() for v in np.meshgrid(edges(rng), edges(rng)))
    programs = {
        "rescale": unary(rescalings()),
        "activation": unary(activations()),
        "product": binary("mul", multiplications()),
        "maximum": binary("maximum", [(UNIT, UNIT, UNIT)]),
        "select": choices(),
        "lookup": lookups(),
        "rsqrt": roots(),
    }
    for kind in ("add", "sub"):
        scales = sums(kind)
        for i in range(0, len(scales), 60):
            programs[f"{kind}_{i}"] = binary(kind, scales[i : i + 60])
    some = np.array([0, 0, 1, -1, 2, 256, -256, 32767, -32768], np.int16)
    of_letter = {"x": ALL, "a": a, "b": b, "m": rng.choice(some, SIZE)}
    streams = {n: [of_letter[i[0]][None] for i in p.inputs] for n, p in programs.items()}
    programs |= {"mask": masks(), "tokens": tokens()}
    streams["mask"] = c_programs.streams(programs["mask"], 16)
    streams["mask"][0] = np.resize(some, (16, 1))
    streams["tokens"] = [
        np.sort(np.r_[a[:256], ALL[::400], np.arange(310)]).astype(np.int16)[:, None]
    ]
    return {n: (p, streams[n], reference_run(p, streams[n])) for n, p in programs.items()}


@pytest.mark.parametrize(
    "build",
    [GCC, Build(GCC.compiler, NATIVE), Build(CLANG.compiler, NATIVE)],
    ids=str,
)
def test_elementwise_operators_over_all_there_is(build: Build, tmp_path: Path) -> None:
    require(build.compiler[0])
    programs = {name: program for name, (program, _, _) in cases().items()}
    loaded = library(write_all(programs, tmp_path), tmp_path / "all.so", build)
    for name, (program, inputs, (expected, _)) in cases().items():
        got, _ = Stepper(program, loaded, name).run(inputs)
        for operator, c, slow in zip(program.operators, got, expected, strict=True):
            scales = [str(program.tensors[n].scale) for n in (*operator.inputs, operator.name)]
            np.testing.assert_array_equal(c, slow, err_msg=f"{operator.kind} {scales}")
