"""Every rounding on gives the integer engine's bits, every one off the float network; in between,
what is switched is what changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgernn.attribution.growth import source_growth, total_growth
from edgernn.attribution.meaning import Meaning, meanings_of
from edgernn.attribution.measure import attribute, excerpt
from edgernn.attribution.rules import half_up
from edgernn.attribution.sources import Run, Source, sources_of
from edgernn.attribution.stepper import Stepper
from edgernn.attribution.tensors import statistics
from edgernn.attribution.trace import trace
from edgernn.attribution.words import advice
from edgernn.cells import CELLS
from edgernn.cells.taps import LOWEST
from edgernn.feedback import feed_back
from edgernn.float_engine import run_float
from edgernn.float_file import FloatModel
from edgernn.graph import Graph, Node, Output
from edgernn.lowering.program import lower
from edgernn.quantization import Quantized, QuantizedWindow, quantize_graph
from edgernn.rounding import Nearest
from edgernn.runtime import FileFormatError, StepRuntime, Window
from edgernn.runtime.engine import quantize
from edgernn.runtime.functions import MAX_GAIN, rsqrt_table
from edgernn.runtime.program import Matrix, Program
from edgernn.runtime.window_runtime import WindowRuntime
from tests.edgernn.one_cell import SHAPES, one_cell
from tests.programs import (
    random_graph,
    random_integers,
    random_ranges,
    random_structure,
    reference_run,
)

Floats = NDArray[np.float32]
KINDS = ("weights", "bias", "table", "rounding")


def everything(program: Program) -> Run:
    """Every switch there is, needed or not."""
    found = {Source("rounding", name, 0, "", "input") for name in program.inputs}
    found |= {Source(kind, op.name, 0, "", "") for op in program.operators for kind in KINDS}
    found |= {Source("initial", state.name, 0, "", "") for state in program.states}
    found |= {Source("constant", name, 0, "", "") for name in program.constants}
    return frozenset(found)


@pytest.mark.parametrize("seed", range(60))
def test_with_everything_on_any_program_gives_its_bits(seed: int) -> None:
    program = random_structure(seed, 24)
    rng = np.random.default_rng(seed)
    x = [random_integers(rng, (40, program.tensors[n].size)) for n in program.inputs]
    wanted, _ = reference_run(program, x)
    stepper = Stepper(program, Meaning(), [everything(program)])
    states = stepper.start(1)
    for t in range(40):
        now = {n: v[t].astype(float)[None, None] for n, v in zip(program.inputs, x, strict=True)}
        values = stepper.step(now, states)
        states = stepper.following(values)
        for name, right in zip(program.outputs.values(), wanted, strict=True):
            np.testing.assert_array_equal(values[name].reshape(-1), right[t], err_msg=name)


def test_a_rounded_root_is_the_operators() -> None:
    x = np.arange(1.0, 32768.0)
    for gain in range(MAX_GAIN + 1):
        found = half_up(2.0 ** (15 + gain) / np.sqrt(x))
        np.testing.assert_array_equal(found, rsqrt_table(gain)[1:])


Quantity = Mapping[str, Floats]


def held_against_engines(
    program: Quantized | QuantizedWindow, sequences: Sequence[Quantity]
) -> None:
    """Off: the float network to 1e-5 of its largest value; on: the bits of the NumPy engine."""
    assert program.float_model is not None
    meanings = meanings_of(program, program.float_model)
    runs: list[Run] = [frozenset(), frozenset(sources_of(program, meanings))]
    for sequence in sequences:
        found = _traced(program, meanings, runs, sequence)
        real, _ = run_float(program.float_model.graph, {n: v[None] for n, v in sequence.items()})
        ints = _integers(program, sequence)
        for name, (off, on, scale) in found.items():
            right = ints[name].reshape(on.shape) if on.size == ints[name].size else ints[name]
            np.testing.assert_array_equal(on[-len(right) :], right, err_msg=name)
            wanted = real[name][0][-len(off) :].astype(np.float64)
            counts = np.abs(wanted) < 1e30
            largest = np.abs(wanted[counts]).max(initial=1e-3)
            error = np.abs(off[-len(wanted) :] * scale - wanted)[counts].max(initial=0.0)
            assert error <= 1e-5 * largest, name


def _integers(program: Program | Window, sequence: Quantity) -> dict[str, NDArray[np.int16]]:
    if isinstance(program, Window):
        found = WindowRuntime(program).run_int(
            *(quantize(sequence[t.name], t) for t in program.inputs)
        )
    else:
        given = (quantize(sequence[n], program.tensors[n]) for n in program.inputs)
        found = StepRuntime(program).run_int(*given)
    listed = found if isinstance(found, tuple) else (found,)
    return {n: v if v.ndim == 2 else v[None] for n, v in zip(program.outputs, listed, strict=True)}


def _traced(
    program: Program | Window, meanings: Sequence[Meaning], runs: Sequence[Run], x: Quantity
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64], float]]:
    """Output -> both runs (T, O), in time, and the scale."""
    if isinstance(program, Window):
        made = {n: i for i, s in enumerate(program.stages) for n in s.program.outputs}
        places = {
            name: (made[s.value], program.stages[made[s.value]].program.outputs[s.value], s.at)
            for name, s in program.outputs.items()
            if s.value in made
        }
        scales = {name: program.tensors()[s.value].scale for name, s in program.outputs.items()}
    else:
        places = {name: (0, tensor, "step") for name, tensor in program.outputs.items()}
        scales = {name: program.tensors[t].scale for name, t in program.outputs.items()}
    seen: dict[str, dict[int, NDArray[np.float64]]] = {name: {} for name in places}
    for moment in trace(program, meanings, runs, [x]):
        for name, (stage, tensor, at) in places.items():
            wanted = at == "step" or (moment.last if at == "last" else moment.step == 0)
            if moment.stage == stage and wanted:
                seen[name][moment.step] = moment.values[tensor][:, 0].copy()
    result = {}
    for name, steps in seen.items():
        both = np.stack([steps[t] for t in sorted(steps)], axis=1)
        result[name] = (both[0], both[1], float(scales[name]))
    return result


def data(graph: Graph, seed: int, count: int = 3) -> list[dict[str, Floats]]:
    """Sequences of any length for a graph: marks for masks, gaps that are none for times."""
    rng = np.random.default_rng(seed)

    def one(name: str, steps: int) -> Floats:
        values = rng.standard_normal((steps, graph.sizes[name])).astype(np.float32)
        if name in ("mask", "observed", "given"):
            return (values > -0.5).astype(np.float32)
        return np.abs(values) if name == "gap" else values

    return [
        {name: one(name, steps) for name in graph.inputs}
        for steps in rng.integers(8, 30, count).tolist()
    ]


def cell_graph(kind: str, reverse: bool, mask: bool) -> Graph:
    graph = one_cell(kind, mask, reverse, True)
    node, *picks = graph.nodes
    # Within what a state of +-1 holds; a maximum starts below every value, as it is imported.
    below = kind.startswith("max_pool") or kind == "log_sum_exp"
    low, high = (LOWEST, LOWEST) if below else (-0.9, 0.9)
    carried = tuple(replace(c, initial=c.initial.clip(low, high)) for c in node.carried)
    graph = replace(graph, nodes=(replace(node, carried=carried), *picks))
    if kind == "hopfield":
        (node, *picks), rng = graph.nodes, np.random.default_rng(0)
        patterns = rng.choice([-1.0, 1.0], (3, graph.sizes["x"]))
        weight = (patterns.T @ patterns) * (1 - np.eye(graph.sizes["x"]))
        carried = tuple(replace(c, initial=np.sign(c.initial)) for c in node.carried)
        node = replace(node, arrays={"weight": weight.astype(np.float32)}, carried=carried)
        graph = replace(graph, nodes=(node, *picks))
    if reverse:
        return graph
    # What streams has no picks.
    first, *more = graph.nodes[0].outputs
    values = [first, *(name for name in more if name not in ("buffer", "n", "L"))]
    sizes = {n: k for n, k in graph.sizes.items() if "_" not in n}
    outputs = tuple(Output(f"every_{name}", name, last=False) for name in values)
    return replace(graph, sizes=sizes, nodes=graph.nodes[:1], outputs=outputs)


@pytest.mark.parametrize("kind", SHAPES)
def test_every_cell(kind: str) -> None:
    graph = cell_graph(kind, reverse=False, mask=kind in ("gru", "lstm", "mgu"))
    sequences = data(graph, len(kind))
    program = quantize_graph(graph, {n: [s[n] for s in sequences] for n in graph.inputs})
    held_against_engines(program, sequences)


@pytest.mark.parametrize("kind", [k for k in CELLS if k in SHAPES and "pool" not in k][::3])
def test_cells_that_run_backwards(kind: str) -> None:
    graph = cell_graph(kind, reverse=True, mask=False)
    sequences = data(graph, len(kind))
    program = quantize_graph(graph, {n: [s[n] for s in sequences] for n in graph.inputs})
    assert isinstance(program, Window)
    held_against_engines(program, sequences)


LAYERS: dict[str, tuple[dict[str, Any], dict[str, float]]] = {
    "layer_norm": ({"weight": (6,), "bias": (6,)}, {"eps": 1e-5}),
    "softmax": ({}, {}),
    "softplus": ({}, {}),
    "gelu": ({}, {}),
    "hardswish": ({}, {}),
    "clamp": ({}, {"min": -0.4, "max": 0.7}),
    "affine": ({"weight": (6,), "bias": (6,)}, {}),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_layers_behind_a_stack(kind: str) -> None:
    shapes, numbers = LAYERS[kind]
    rng = np.random.default_rng(len(kind))
    stack = random_graph(["gru", "lstm"], [5, 7], 4, len(kind), head=6)
    arrays = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    last = Node(kind, ("head",), ("after",), arrays, numbers=numbers)
    graph = replace(
        stack,
        sizes={**stack.sizes, "after": 6},
        nodes=(*stack.nodes, last),
        outputs=(Output("y", "after", last=False), Output("before", "head", last=False)),
    )
    sequences = data(graph, 1)
    program = quantize_graph(graph, {"x": [s["x"] for s in sequences]})
    held_against_engines(program, sequences)


def test_a_network_that_reads_its_own_output() -> None:
    graph = feed_back(random_graph(["gru"], [9], 4, 0, head=4))
    sequences = data(graph, 3)
    program = quantize_graph(graph, {n: [s[n] for s in sequences] for n in graph.inputs})
    held_against_engines(program, sequences)
    assert program.float_model is not None
    found = sources_of(program, meanings_of(program, program.float_model))
    layers = {s.tensor: s.layer for s in found if s.kind == "weights"}
    assert layers == {"l0_h_gx": "l0_h", "l0_h_gh": "l0_h", "head": "head"}


def stack(seed: int = 0, cells: Sequence[str] = ("gru",), head: int = 3) -> tuple[Program, Graph]:
    graph = random_graph(cells, [9] * len(cells), 4, seed, head)
    return lower(graph, random_ranges(graph), Nearest(), {}), graph


@pytest.mark.parametrize("cells", [("gru", "lstm"), ("rnn_relu", "gru"), ("rnn_tanh",)])
def test_random_stacks_over_a_long_stream(cells: tuple[str, ...]) -> None:
    graph = random_graph(cells, [9] * len(cells), 4, len(cells[0]), 3)
    (x,) = streams(len(cells), 1_500)
    held_against_engines(quantize_graph(graph, {"x": [x["x"]]}), [x])


def meaning(program: Program, graph: Graph) -> tuple[Meaning, ...]:
    return meanings_of(program, FloatModel(graph, random_ranges(graph).amplitudes))


def streams(seed: int, steps: int = 200, count: int = 1) -> list[dict[str, Floats]]:
    rng = np.random.default_rng(seed)
    return [{"x": rng.standard_normal((steps, 4)).astype(np.float32)} for _ in range(count)]


def test_weights_alone_are_the_float_network_with_those_weights() -> None:
    program, graph = stack(cells=("gru", "lstm"))
    meanings = meaning(program, graph)
    weights = [s for s in sources_of(program, meanings) if s.kind == "weights"]
    assert {s.role for s in weights} == {"input", "recurrent", ""}
    x = streams(1)
    for source in weights:
        runs: list[Run] = [frozenset(), frozenset([source])]
        (found,) = _traced(program, meanings, runs, x[0]).values()
        rounded = run_float(_dequantized(program, graph, source.tensor), {"x": x[0]["x"][None]})
        np.testing.assert_allclose(found[1] * found[2], rounded[0]["y"][0], rtol=0, atol=3e-5)
        assert np.abs(found[1] - found[0]).max() > 1


def _dequantized(program: Program, graph: Graph, tensor: str) -> Graph:
    """The float network with one matrix as int8 has it."""
    op = next(op for op in program.operators if op.name == tensor)
    assert op.matrix is not None
    scales = op.matrix.row_scales(*(program.tensors[n].scale for n in (op.inputs[0], tensor)))
    weight = op.matrix.weight * np.array([float(s) for s in scales])[:, None]
    layer = tensor.removesuffix("_gx").removesuffix("_gh")
    name = {"gx": "weight_ih", "gh": "weight_hh"}.get(tensor[len(layer) + 1 :], "weight")
    nodes = []
    for node in graph.nodes:
        if node.name == layer:
            rows = np.arange(len(weight))
            if node.kind == "lstm":
                i, f, g, o = np.split(rows, 4)
                rows = np.concatenate([i, f, o, g])
            own = np.empty_like(node.arrays[name])
            own[rows] = weight
            node = replace(node, arrays={**node.arrays, name: own})
        nodes.append(node)
    return replace(graph, nodes=tuple(nodes))


def coarse(program: Program, name: str) -> Program:
    """The program with the weights of one product in 4 bits."""
    operators = []
    for op in program.operators:
        if op.name == name:
            m = op.matrix
            assert m is not None
            weight = (np.rint(m.weight / 16.0) * 16).clip(-127, 127).astype(np.int8)
            op = replace(op, matrix=Matrix(weight, m.bias, m.multiplier, m.shift))
        operators.append(op)
    return replace(program, operators=tuple(operators))


@pytest.mark.parametrize("name", ["l0_h_gx", "l0_h_gh", "l1_h_gx", "l1_h_gh", "head"])
def test_a_spoiled_matrix_is_found(name: str) -> None:
    program, graph = stack(cells=("gru", "lstm"))
    spoiled = coarse(program, name)
    found = attribute(spoiled, meaning(spoiled, graph), streams(2))
    assert (found.sources[0].kind, found.sources[0].tensor) == ("weights", name)
    assert found.groups[0].group == "weights"
    assert found.sources[0].gain_db > 3
    # Nearly all of the error is that of this place alone.
    assert found.total_db is not None
    assert found.sources[0].only_db == pytest.approx(found.total_db, abs=3)
    told = " ".join(advice(found))
    assert f"{found.sources[0].gain_db:.1f} dB" in told
    assert found.sources[0].layer in told


def test_a_clipped_tensor_is_found() -> None:
    graph = random_graph(["gru"], [9], 4, 0, 3)
    ranges = random_ranges(graph)
    narrow = replace(ranges, amplitudes={**ranges.amplitudes, "head": 0.4})
    program = lower(graph, narrow, Nearest(), {})
    meanings = meanings_of(program, FloatModel(graph, narrow.amplitudes))
    rows = {t.name: t for t in statistics(program, meanings, streams(3))}
    assert rows["head"].clipped > 0
    assert rows["head"].saturated >= rows["head"].clipped
    assert rows["head"].used == 1.0
    assert not rows["l0_h"].clipped
    found = attribute(program, meanings, streams(3))
    assert (found.sources[0].kind, found.sources[0].tensor) == ("rounding", "head")


def test_statistics_are_those_of_the_integer_program() -> None:
    program, graph = stack()
    x = streams(4)
    shown = replace(program, outputs={t: t for t in ("l0_h_gx", "l0_h", "head")})
    values = StepRuntime(shown).run_int(quantize(x[0]["x"], program.tensors["x"]))
    rows = {t.name: t for t in statistics(program, meaning(program, graph), x)}
    for name, found in zip(shown.outputs, values, strict=True):
        scale = float(program.tensors[name].scale)
        assert rows[name].low == found.min() * scale
        assert rows[name].high == found.max() * scale
        assert rows[name].count == found.size


def test_both_ways_to_follow_a_stream_agree() -> None:
    program, graph = stack(cells=("lstm",))
    x = streams(5, 70, 2)
    total = {c.target: c for c in total_growth(program, graph, x, 1_000)}
    curves = source_growth(program, meaning(program, graph), x, most=1_000)
    together = {c.target: c for c in curves if c.label == "int8"}
    assert total.keys() == together.keys() == {"y", "state sl0_h", "state sl0_c"}
    for name, curve in together.items():
        assert curve.ends == total[name].ends
        assert curve.ends[-1] == 1_000
        # The float engine computes in float32.
        np.testing.assert_allclose(curve.rms, total[name].rms, rtol=2e-2)
    alone = [c for c in curves if c.target == "y" and c.label != "int8"]
    assert len(alone) >= 6
    assert all(len(c.rms) == len(c.ends) for c in alone)


def test_sequences_of_unequal_length_count_their_own_steps() -> None:
    program, graph = stack()
    parts = [*streams(6, 31), *streams(7, 12), *streams(8, 31)]
    meanings = meaning(program, graph)
    together = attribute(program, meanings, parts)
    assert (together.steps, together.sequences) == (74, 3)
    squares = [s["x"].shape[0] * attribute(program, meanings, [s]).rms["y"] ** 2 for s in parts]
    assert together.rms["y"] == pytest.approx(np.sqrt(sum(squares) / 74))
    assert [len(s["x"]) for s in excerpt(parts, 40, whole=False)] == [31, 9]
    assert [len(s["x"]) for s in excerpt(parts, 40, whole=True)] == [31]


def test_another_float_network_is_refused() -> None:
    program, _ = stack()
    for other in (stack(cells=("lstm",))[1], stack(cells=("gru", "gru"))[1], stack(head=2)[1]):
        with pytest.raises(FileFormatError, match="not the float network"):
            meaning(program, other)


def test_a_program_that_loses_nothing_says_so() -> None:
    graph = cell_graph("hopfield", reverse=False, mask=False)
    sequences = [{"x": np.sign(s["x"])} for s in data(graph, 0)]
    program = quantize_graph(graph, {"x": [s["x"] for s in sequences]})
    assert program.float_model is not None
    meanings = meanings_of(program, program.float_model)
    found = attribute(program, meanings, sequences)
    assert found.total_db is None
    assert "exactly" in advice(found)[0]


def test_a_maximum_starts_at_the_least_there_is() -> None:
    graph = cell_graph("max_pooling", reverse=False, mask=False)
    sequences = data(graph, 2)
    program = quantize_graph(graph, {"x": [s["x"] for s in sequences]})
    assert isinstance(program, Quantized)
    assert program.float_model is not None
    meanings = meanings_of(program, program.float_model)
    (start,) = (t for t in statistics(program, meanings, sequences) if t.name.endswith("_in"))
    assert start.low == -32768 * float(program.tensors[start.name].scale)
    assert start.saturated == len(sequences) * start.size
    assert start.clipped == 0
