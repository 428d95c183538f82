"""Constants, maximum, select and the operators with tables, against both interpreters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgernn.exporters.tflite import to_tflite
from edgernn.exporters.tflite_tables import lookup_lines, rsqrt_lines
from edgernn.runtime.functions import ENTRIES, MAX_GAIN, interpolated, rsqrt_table
from edgernn.runtime.program import GATE, UNIT, Matrix, Operator, Program, Scale, State, Tensor
from tests.exporters.tflite_cases import (
    INTERPRETERS,
    Arrays,
    Run,
    assert_same,
    batch_runner_of,
    given_for,
    reference,
    runner_of,
)
from tests.programs import random_integers, random_structure

EVERY_INT16 = np.arange(-32768, 32768).astype(np.int16)
PRODUCTS = ("conv_2d", "fully_connected")
ID = Scale(1, 0)


@pytest.fixture(params=INTERPRETERS)
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    return runner_of(request.param, tmp_path)


def check(run: Run, program: Program, inputs: Arrays, *, product: str = "conv_2d") -> None:
    got = run(to_tflite(program, product=product), given_for(program, inputs))
    assert_same(program, got, reference(program, inputs))


def unary(cases: list[Operator], tensors: list[Tensor]) -> Program:
    """Operators that read one input each, every result an output."""
    declared = {t.name: t for t in tensors}
    written = {op.name: op.name for op in cases}
    read = tuple(dict.fromkeys(name for op in cases for name in op.inputs))
    return Program(declared, read, written, (), tuple(cases))


def lookup_tables() -> list[np.ndarray]:
    """Smooth, rough, and with the steepest lines there are, both ways, at both ends."""
    rng = np.random.default_rng(3)
    rails = np.where(np.arange(ENTRIES) % 2, 32767, -32768)
    smooth = 32767 * np.sin(np.linspace(-9, 9, ENTRIES))
    rough = [rng.integers(-32768, 32768, ENTRIES) for _ in range(4)]
    corner = rng.choice([-32768, -32767, -1, 0, 1, 32767], ENTRIES)
    return [t.astype(np.int16) for t in (smooth, rails, ~rails, corner, *rough)]


@pytest.mark.parametrize("product", PRODUCTS)
def test_lookup_agrees_on_every_input(run: Run, product: str) -> None:
    tables = lookup_tables()
    tensors = [Tensor("x", 65536, GATE)]
    tensors += [Tensor(f"o{i}", 65536, Scale(3, -9 - i)) for i in range(len(tables))]
    cases = [Operator("lookup", ("x",), (f"o{i}",), table=t) for i, t in enumerate(tables)]
    check(run, unary(cases, tensors), {"x": EVERY_INT16[None]}, product=product)


def test_lines_of_a_lookup_stay_within_32_bits() -> None:
    x = EVERY_INT16.astype(np.int64)
    index = (x >> 7) + 256
    for table in lookup_tables():
        slope, start = (a.astype(np.int64)[index] for a in lookup_lines(table))
        for value in (slope * x, start, start + slope * x):
            assert np.abs(value).max() < 1 << 31
        np.testing.assert_array_equal((start + slope * x) >> 7, interpolated(table, x))


@pytest.mark.parametrize("product", PRODUCTS)
def test_rsqrt_agrees_on_every_input(run: Run, product: str) -> None:
    tensors = [Tensor("x", 65536, Scale(1, -14))]
    tensors += [Tensor(f"o{g}", 65536, Scale(1, -8 - g)) for g in range(MAX_GAIN + 1)]
    cases = [Operator("rsqrt", ("x",), (f"o{g}",)) for g in range(MAX_GAIN + 1)]
    check(run, unary(cases, tensors), {"x": EVERY_INT16[None]}, product=product)


@pytest.mark.parametrize("gain", range(MAX_GAIN + 1))
def test_lines_of_an_rsqrt_are_exact_small_and_within_32_bits(gain: int) -> None:
    length, offset, slope, start = (a.astype(np.int64) for a in rsqrt_lines(gain))
    x = np.arange(32768)
    line = (x >> length[x >> 8]) + offset[x >> 8]
    for value in (slope[line] * x, start[line], slope[line] * x + start[line]):
        assert np.abs(value).max() < 1 << 31
    np.testing.assert_array_equal((slope[line] * x + start[line]) >> 13, rsqrt_table(gain))
    assert 4 * (2 * len(length) + 2 * len(slope)) < 9 * 1024


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("size", [1, 7])
def test_embedding_agrees_on_every_id(run: Run, product: str, size: int) -> None:
    rng = np.random.default_rng(5)
    counts = [1, 2, 300, 32768]
    tensors = [Tensor("id", 1, ID)]
    tensors += [Tensor(f"o{n}", size, Scale(3, -9)) for n in counts]
    tables = [rng.integers(-128, 128, (n, size)).astype(np.int8) for n in counts]
    cases = [
        Operator("embedding", ("id",), (f"o{n}",), table=table)
        for n, table in zip(counts, tables, strict=True)
    ]
    edges = np.array([*range(-3, 303), -32768, -32767, -300, 32766, 32767])
    ids = np.hstack([edges, rng.integers(-32768, 32768, 500)]).astype(np.int16)
    check(run, unary(cases, tensors), {"id": ids[:, None]}, product=product)


@pytest.mark.parametrize("product", PRODUCTS)
def test_select_takes_everything_but_zero_for_true(run: Run, product: str) -> None:
    rng = np.random.default_rng(6)
    n = 65536
    sizes = {"each": n, "one": 1, "a": n, "b": n, "p": n, "q": n, "same": n}
    tensors = {name: Tensor(name, size, GATE) for name, size in sizes.items()}
    # The scale of a mask counts for nothing.
    tensors["each"] = Tensor("each", n, Scale(5, -3))
    operators = (
        Operator("select", ("each", "a", "b"), ("p",)),
        Operator("select", ("one", "a", "b"), ("q",)),
        Operator("select", ("a", "a", "b"), ("same",)),
    )
    outputs = {name: name for name in ("p", "q", "same")}
    program = Program(tensors, ("each", "one", "a", "b"), outputs, (), operators)
    ones = np.array([0, 1, -1, -32768, 256, -256, 32767, 2], np.int16)
    inputs = {name: rng.integers(-32768, 32768, (len(ones), n)).astype(np.int16) for name in "ab"}
    inputs |= {"each": np.tile(EVERY_INT16, (len(ones), 1)), "one": ones[:, None]}
    check(run, program, inputs, product=product)


@pytest.mark.parametrize("size", [1, 16384 + 5])
def test_maximum_agrees_on_random_and_corner_values(run: Run, size: int) -> None:
    rng = np.random.default_rng(7)
    corners = np.array([-32768, -32767, -2, -1, 0, 1, 2, 32766, 32767])
    tensors = {name: Tensor(name, size, Scale(5, -11)) for name in ("a", "b", "o")}
    op = Operator("maximum", ("a", "b"), ("o",))
    program = Program(tensors, ("a", "b"), {"y": "o"}, (), (op,))
    inputs = {
        name: np.vstack([rng.integers(-32768, 32768, (20, size)), rng.choice(corners, (20, size))])
        for name in "ab"
    }
    check(run, program, {name: x.astype(np.int16) for name, x in inputs.items()})


def constant_program() -> Program:
    """Every kind of operator on constants alone, constants as outputs and as next states."""
    rng = np.random.default_rng(9)
    scales = {"k": UNIT, "l": UNIT, "g": GATE, "r": Scale(1, -14), "id": ID, "unused": UNIT}
    sizes = {name: 1 if name == "id" else 6 for name in scales}
    constants = {
        name: rng.integers(-32768, 32768, size).astype(np.int16) for name, size in sizes.items()
    }
    constants["id"][:] = 2
    # Two constants of equal content and scale are two tensors nevertheless.
    constants["l"] = constants["k"].copy()
    tensors = {n: Tensor(n, sizes[n], scale) for n, scale in scales.items()}
    tensors |= {n: Tensor(n, 6, UNIT) for n in ("x", "h", "s", "before", "copy")}
    results = {
        "linear": (("k",), 4, UNIT),
        "add": (("k", "l"), 6, UNIT),
        "sub": (("k", "x"), 6, UNIT),
        "mul": (("k", "l"), 6, UNIT),
        "logistic": (("g",), 6, UNIT),
        "tanh": (("g",), 6, UNIT),
        "relu": (("k",), 6, UNIT),
        "rescale": (("k",), 6, GATE),
        "concat": (("k", "x", "l"), 18, UNIT),
        "maximum": (("k", "h"), 6, UNIT),
        "select": (("id", "k", "x"), 6, UNIT),
        "lookup": (("k",), 6, GATE),
        "rsqrt": (("r",), 6, Scale(1, -10)),
        "embedding": (("id",), 5, GATE),
    }
    matrix = Matrix(
        rng.integers(-127, 128, (4, 6)).astype(np.int8),
        rng.integers(-99, 100, 4),
        np.full(4, 20001, np.int32),
        np.full(4, 22, np.int32),
    )
    tables = {
        "lookup": rng.integers(-32768, 32768, 513).astype(np.int16),
        "embedding": rng.integers(-128, 128, (4, 5)).astype(np.int8),
    }
    tensors |= {f"o_{k}": Tensor(f"o_{k}", size, scale) for k, (_, size, scale) in results.items()}
    tensors |= {f"o_split{i}": Tensor(f"o_split{i}", 3, UNIT) for i in range(2)}
    operators = [
        Operator(kind, ins, (f"o_{kind}",), matrix if kind == "linear" else None, tables.get(kind))
        for kind, (ins, _, _) in results.items()
    ]
    operators.append(Operator("split", ("k",), ("o_split0", "o_split1")))
    operators.append(Operator("add", ("h", "s"), ("copy",)))
    outputs = {name: name for op in operators for name in op.outputs}
    outputs |= {"y": "k", "again": "k", "l": "l", "number": "id", "x": "unused"}
    zero, one = np.zeros(6, np.int16), np.ones(6, np.int16)
    states = (State("h", "h", "k", zero), State("s", "s", "k", one), State("k", "before", "l", one))
    return Program(tensors, ("x",), outputs, states, tuple(operators), {}, constants)


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("exposed", [False, True])
def test_constants_are_operands_outputs_and_next_states(
    run: Run, product: str, exposed: bool
) -> None:
    from ai_edge_litert import schema_py_generated

    program = constant_program()
    x = np.random.default_rng(1).integers(-32768, 32768, (30, 6)).astype(np.int16)
    content = to_tflite(program, product=product, expose=program.tensors if exposed else ())
    got = run(content, given_for(program, {"x": x}))
    assert_same(program, got, reference(program, {"x": x}))
    assert len(got) == len(program.outputs) + 3 + (len(program.tensors) if exposed else 0)
    # Every output is a tensor of its own that an operator writes.
    graph = schema_py_generated.Model.GetRootAs(content).Subgraphs(0)
    outputs = graph.OutputsAsNumpy().tolist()
    operators = [graph.Operators(i) for i in range(graph.OperatorsLength())]
    assert len(set(outputs)) == len(outputs)
    assert set(outputs) <= {i for op in operators for i in op.OutputsAsNumpy().tolist()}


@pytest.mark.parametrize("product", PRODUCTS)
def test_float_edges_of_constants_and_ids(run: Run, product: str) -> None:
    table = np.random.default_rng(2).integers(-128, 128, (9, 3)).astype(np.int8)
    tensors = {"id": Tensor("id", 1, ID), "k": Tensor("k", 3, GATE), "e": Tensor("e", 3, GATE)}
    op = Operator("embedding", ("id",), ("e",), table=table)
    k = np.array([-32768, 5, 32767], np.int16)
    program = Program(tensors, ("id",), {"y": "k", "row": "e"}, (), (op,), {}, {"k": k})
    ids = np.arange(-2, 12, dtype=np.int16)[:, None]
    content = to_tflite(program, product=product, float_io=True)
    got = run(content, {"id": ids.astype(np.float32)})
    expected = reference(program, {"id": ids})
    for name, source in program.outputs.items():
        assert got[name].dtype == np.float32
        wanted = (expected[source] * float(GATE)).astype(np.float32)
        np.testing.assert_array_equal(got[name], wanted)


@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_random_structures_closed_loop(interpreter: str, tmp_path: Path) -> None:
    """200 programs, 6000 steps in all: outputs and states; every tensor in every fourth."""
    run_all = batch_runner_of(interpreter, tmp_path)
    programs, sequences, jobs = [], [], []
    for seed in range(200):
        program = random_structure(seed)
        rng = np.random.default_rng(seed)
        inputs = {n: random_integers(rng, (30, program.tensors[n].size)) for n in program.inputs}
        if "token" in inputs:
            inputs["token"] = rng.integers(-9, 309, (30, 1)).astype(np.int16)
        content = to_tflite(program, expose=() if seed % 4 else program.tensors)
        programs.append(program)
        sequences.append(inputs)
        jobs.append((content, given_for(program, inputs)))
    for program, inputs, got in zip(programs, sequences, run_all(jobs), strict=True):
        assert_same(program, got, reference(program, inputs))


def test_a_table_costs_its_lines_and_is_written_once() -> None:
    rng = np.random.default_rng(0)
    table = rng.integers(-32768, 32768, ENTRIES).astype(np.int16)

    def size(kinds: list[str]) -> int:
        tensors = [Tensor("x", 8, Scale(1, -14))]
        tensors += [Tensor(f"o{i}", 8, Scale(1, -10)) for i in range(len(kinds))]
        tables = {"lookup": table}
        cases = [
            Operator(kind, ("x",), (f"o{i}",), table=tables.get(kind))
            for i, kind in enumerate(kinds)
        ]
        return len(to_tflite(unary(cases, tensors)))

    assert size(["lookup"]) < 4096 + 4096
    assert size(["rsqrt"]) < 9 * 1024 + 4096
    for kind in ("lookup", "rsqrt"):
        assert size([kind] * 4) - size([kind]) < 4096
