"""Constants, maximum, select, lookup, rsqrt and embedding of an ONNX model, over all their inputs.

Each case runs as a step and as a sequence, with ONNX Runtime's optimisations and without, and on
ONNX's reference.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnx.reference
import pytest

from edgernn.exporters.onnx_step import to_onnx, to_onnx_sequence
from edgernn.runtime.functions import MAX_GAIN, rsqrt_gain
from edgernn.runtime.program import UNIT, Matrix, Operator, Program, Scale, State, Tensor
from tests.exporters.onnx_runner import (
    Arrays,
    assert_step,
    feeds_of,
    full_range,
    random_inputs,
    random_states,
    run_model,
)

EVERY = np.arange(-32768, 32768).astype(np.int16)[:, None]
EDGES = np.array([-32768, -32767, -2, -1, 0, 1, 2, 32766, 32767], np.int16)


def assert_everywhere(program: Program, inputs: Arrays, states: Arrays | None = None) -> None:
    """One step, and one step of a sequence, with and without optimisations."""
    states = states or {}
    step, sequence = to_onnx(program), to_onnx_sequence(program)
    once = {name: array[None] for name, array in inputs.items()}
    for content in (step, sequence):
        onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    for optimized in (True, False):
        assert_step(program, run_model(step, feeds_of(inputs, states), optimized), inputs, states)
        result = run_model(sequence, feeds_of(once, states), optimized)
        result |= {name: result[name][0] for name in program.outputs}
        assert_step(program, result, inputs, states)
    reference = onnx.reference.ReferenceEvaluator(onnx.load_from_string(step))
    values = reference.run(None, feeds_of(inputs, states))
    assert_step(program, dict(zip(reference.output_names, values, strict=True)), inputs, states)


def vectors(**sizes: int) -> dict[str, Tensor]:
    return {name: Tensor(name, size, UNIT) for name, size in sizes.items()}


def unary(op: Operator, size: int, scale_in: Scale, scale_out: Scale) -> Program:
    tensors = {"x": Tensor("x", 1, scale_in), "r": Tensor("r", size, scale_out)}
    return Program(tensors, ("x",), {"y": "r"}, (), (op,))


TABLES = {
    "steepest": np.where(np.arange(513) % 2, 32767, -32768),
    "lowest": np.full(513, -32768),
    "highest": np.full(513, 32767),
    "falling": np.linspace(32767, -32768, 513),
    "rough": np.random.default_rng(0).integers(-32768, 32768, 513),
    "ties": np.random.default_rng(1).integers(-2, 3, 513),
}


@pytest.mark.parametrize("name", TABLES)
def test_lookups_are_the_same_bits_for_every_input(name: str) -> None:
    table = TABLES[name].astype(np.int16)
    op = Operator("lookup", ("x",), ("r",), table=table)
    assert_everywhere(unary(op, 1, Scale(5, -9), Scale(7, -20)), {"x": EVERY})


@pytest.mark.parametrize("gain", range(MAX_GAIN + 1))
def test_inverse_roots_are_the_same_bits_for_every_input(gain: int) -> None:
    scale_in, scale_out = Scale(1, -8), Scale(1, 4 - 15 - gain)
    assert rsqrt_gain(scale_in, scale_out) == gain
    op = Operator("rsqrt", ("x",), ("r",))
    assert_everywhere(unary(op, 1, scale_in, scale_out), {"x": EVERY})


@pytest.mark.parametrize("rows", [1, 2, 7, 128, 32767, 32768])
def test_embeddings_are_the_same_bits_for_every_id(rows: int) -> None:
    table = np.random.default_rng(rows).integers(-128, 128, (rows, 3)).astype(np.int8)
    table[0], table[-1] = -128, 127
    op = Operator("embedding", ("x",), ("r",), table=table)
    assert_everywhere(unary(op, 3, Scale(1, 0), Scale(3, -9)), {"x": EVERY})


def test_an_embedding_is_stored_as_bytes_and_a_lookup_by_its_points() -> None:
    table = np.random.default_rng(0).integers(-128, 128, (1000, 30)).astype(np.int8)
    op = Operator("embedding", ("x",), ("r",), table=table)
    assert len(to_onnx(unary(op, 30, Scale(1, 0), UNIT))) < table.nbytes + 500
    op = Operator("lookup", ("x",), ("r",), table=TABLES["rough"].astype(np.int16))
    assert len(to_onnx(unary(op, 1, UNIT, UNIT))) < 2 * 513 + 1000
    root = unary(Operator("rsqrt", ("x",), ("r",)), 1, Scale(1, -8), Scale(1, -11))
    assert len(to_onnx(root)) < 2000
    kinds = {a.i for n in onnx.load_from_string(to_onnx(root)).graph.node for a in n.attribute}
    assert not kinds & {onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE}


def test_bounds_that_tables_promise_are_kept() -> None:
    """Sums and products of bounded tensors are clamped only if they can leave int16."""
    rng = np.random.default_rng(4)
    tensors = vectors(x=1, k=1, a=1, b=1, c=1, d=1, e=1, f=1, m=1)
    low, high = (np.sort(rng.integers(n, n + 16384, 513)).astype(np.int16) for n in (-32768, 16384))
    operators = (
        Operator("lookup", ("x",), ("a",), table=low),
        Operator("lookup", ("x",), ("b",), table=high),
        Operator("add", ("a", "b"), ("c",)),
        Operator("sub", ("a", "b"), ("d",)),
        Operator("maximum", ("a", "k"), ("m",)),
        Operator("add", ("m", "k"), ("e",)),
        Operator("mul", ("k", "k"), ("f",)),
    )
    outputs = {f"y_{name}": name for name in "abcdemf"}
    for constant in EDGES:
        values = {"k": np.array([constant])}
        assert_everywhere(
            Program(tensors, ("x",), outputs, (), operators, {}, values), {"x": EVERY[::7]}
        )


@pytest.mark.parametrize("mask_size", [1, 2])
def test_masks_of_one_element_or_of_all_are_the_same_bits(mask_size: int) -> None:
    tensors = vectors(m=mask_size, a=2, b=2, r=2, g=2)
    operators = (Operator("select", ("m", "a", "b"), ("r",)), Operator("maximum", "ab", ("g",)))
    program = Program(tensors, ("m", "a", "b"), {"y": "r", "larger": "g"}, (), operators)
    rng = np.random.default_rng(mask_size)
    every = {"m": np.repeat(EVERY, mask_size, axis=1)}
    every |= {name: full_range(rng, 65536, 2) for name in "ab"}
    assert_everywhere(program, every)
    pairs = {n: a.reshape(-1, 1) for n, a in zip("abm", np.meshgrid(*[EDGES] * 3), strict=True)}
    edges = {name: np.repeat(pairs[name], tensors[name].size, axis=1) for name in pairs}
    edges["m"][:, -1] = rng.permutation(edges["m"][:, -1])
    assert_everywhere(program, edges)


@pytest.mark.parametrize("features", [1, 4])
@pytest.mark.parametrize("batch", [1, 3])
def test_constants_may_stand_wherever_a_tensor_may(features: int, batch: int) -> None:
    rng = np.random.default_rng(features)
    tensors = vectors(x=features, k=3, one=1, s=3, read=3, p=2, q=3, cut=1, rest=2, all=10)
    tensors |= vectors(ks=3, sum=3, twice=3, less=3, kept=3, chosen=3, both=3, top=3, fixed=3)
    tensors |= vectors(act=3, look=3, again=3, pos=3, swap=3, double=3)
    tensors["id"], tensors["row"] = Tensor("id", 1, Scale(1, 0)), Tensor("row", 2, UNIT)
    tensors["wide"] = Tensor("wide", 3, Scale(3, -13))
    matrices = [
        Matrix(
            rng.integers(-127, 128, (rows, columns)).astype(np.int8),
            rng.integers(-99, 99, rows),
            np.full(rows, 20001, np.int32),
            np.full(rows, 20, np.int32),
        )
        for rows, columns in ((2, 3), (3, features))
    ]
    operators = (
        Operator("linear", ("x",), ("q",), matrices[1]),
        Operator("linear", ("k",), ("p",), matrices[0]),
        Operator("split", ("k",), ("cut", "rest")),
        Operator("concat", ("k", "q", "one", "k"), ("all",)),
        Operator("add", ("k", "s"), ("sum",)),
        Operator("add", ("k", "k"), ("twice",)),
        Operator("mul", ("s", "k"), ("ks",)),
        Operator("sub", ("k", "q"), ("less",)),
        Operator("select", ("one", "q", "k"), ("kept",)),
        Operator("select", ("q", "k", "s"), ("chosen",)),
        Operator("select", ("one", "k", "k"), ("both",)),
        Operator("select", ("k", "k", "q"), ("swap",)),
        Operator("maximum", ("k", "q"), ("top",)),
        Operator("maximum", ("k", "k"), ("fixed",)),
        Operator("embedding", ("id",), ("row",), table=np.array([[1, 2], [3, -4]], np.int8)),
        Operator("tanh", ("wide",), ("act",)),
        Operator("lookup", ("k",), ("look",), table=TABLES["rough"].astype(np.int16)),
        Operator("lookup", ("k",), ("again",), table=TABLES["ties"].astype(np.int16)),
        Operator("relu", ("k",), ("pos",)),
        Operator("rescale", ("k",), ("double",)),
    )
    values = {"k": EDGES[[0, 3, 8]], "one": EDGES[[5]], "id": EDGES[[5]], "wide": EDGES[[0, 2, 6]]}
    names = [name for name in tensors if name != "read"]
    outputs = {f"y_{name}": name for name in names}
    # A state that becomes a constant, and one that is the other before it.
    states = (State("a", "s", "k", EDGES[:3]), State("b", "read", "s", EDGES[:3]))
    program = Program(tensors, ("x",), outputs, states, operators, {}, values)
    inputs, given = random_inputs(program, rng, batch), random_states(program, rng, batch)
    assert_everywhere(program, inputs, given)
    # Nothing but constants goes out.
    needed = {"x", "k", "s", "sum", "one", "id", "wide"}
    kept = {name: tensor for name, tensor in tensors.items() if name in needed}
    bare = Program(kept, ("x",), {"y": "k"}, states[:1], operators[4:5], {}, values)
    assert_everywhere(bare, inputs, {"a": given["a"]})


def test_one_vector_may_be_cut_into_halves_and_into_quarters() -> None:
    """Cuts into equal parts that differ in nothing but their number are not one and the same."""
    tensors = vectors(x=8, a=4, b=4, c=2, d=2, e=2, f=2)
    operators = (Operator("split", ("x",), tuple("ab")), Operator("split", ("x",), tuple("cdef")))
    outputs = {f"y_{name}": name for name in "abcdef"}
    program = Program(tensors, ("x",), outputs, (), operators)
    assert_everywhere(program, random_inputs(program, np.random.default_rng(0), 5))
