"""Each cell lowered against its equations in float64, and what the lowering refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgernn.graph import Carried, Graph, Node, Output
from edgernn.importer.recurrent import GATES
from edgernn.lowering.builder import Builder
from edgernn.lowering.program import lower
from edgernn.ranges import Ranges
from edgernn.rounding import Nearest
from edgernn.runtime import StepRuntime
from edgernn.runtime.errors import UnsupportedError
from edgernn.runtime.program import UNIT, Program
from tests.programs import random_graph, random_program, random_ranges

Float64Array = NDArray[np.float64]
CELLS = sorted(GATES)


def sigmoid(x: Float64Array) -> Float64Array:
    return np.asarray(1.0 / (1.0 + np.exp(-x)))


def one_step(node: Node, x: Float64Array, states: list[Float64Array]) -> list[Float64Array]:
    """The equations of torch.nn.GRU, LSTM and RNN; returns the states after the step."""
    a = {name: array.astype(np.float64) for name, array in node.arrays.items()}
    h = states[0]
    gx = np.split(a["weight_ih"] @ x + a["bias_ih"], GATES[node.kind])
    gh = np.split(a["weight_hh"] @ h + a["bias_hh"], GATES[node.kind])
    if node.kind == "gru":
        r, z = sigmoid(gx[0] + gh[0]), sigmoid(gx[1] + gh[1])
        n = np.tanh(gx[2] + r * gh[2])
        return [(1 - z) * n + z * h]
    if node.kind == "lstm":
        i, f, o = (sigmoid(gx[k] + gh[k]) for k in (0, 1, 3))
        c = f * states[1] + i * np.tanh(gx[2] + gh[2])
        return [o * np.tanh(c), c]
    total = gx[0] + gh[0]
    return [np.maximum(total, 0.0) if node.kind == "rnn_relu" else np.tanh(total)]


def single(kind: str, hidden: int, features: int, seed: int, gain: float = 1.0) -> Graph:
    """One cell with gate biases far apart, so that a gate taken for another shows."""
    graph = random_graph([kind], [hidden], features, seed)
    (node,) = graph.nodes
    arrays = {n: (gain * v if "weight" in n else v) for n, v in node.arrays.items()}
    offsets = np.repeat([1.5, -1.0, 0.5, -2.0][: GATES[kind]], hidden).astype(np.float32)
    arrays["bias_ih"] = arrays["bias_ih"] + offsets
    twin = Node(kind, node.inputs, node.outputs, arrays, node.carried)
    return Graph(graph.sizes, graph.inputs, graph.outputs, (twin,))


def assert_follows(graph: Graph, program: Program, tolerance: float, steps: int = 20) -> None:
    """Every state after every step, each step from the integer engine's own state."""
    runtime, rng = StepRuntime(program), np.random.default_rng(1)
    (node,) = graph.nodes
    scales = {s.name: float(program.tensors[s.input].scale) for s in program.states}
    for _ in range(steps):
        x = rng.normal(size=graph.sizes["x"]).clip(-3, 3).astype(np.float32)
        held = runtime.state
        before = [held[c.name].astype(np.float64) * scales[c.name] for c in node.carried]
        wanted = one_step(node, x.astype(np.float64), before)
        runtime.step(x)
        for carried, want in zip(node.carried, wanted, strict=True):
            got = runtime.state[carried.name] * scales[carried.name]
            np.testing.assert_allclose(got, want, atol=tolerance, err_msg=carried.name)


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize(("hidden", "features"), [(1, 1), (6, 4), (33, 17)])
def test_a_cell_follows_its_equations(kind: str, hidden: int, features: int) -> None:
    graph = single(kind, hidden, features, seed=hidden)
    assert_follows(graph, lower(graph, random_ranges(graph), Nearest(), {}), tolerance=0.04)


@pytest.mark.parametrize("kind", CELLS)
def test_without_weights_only_activations_round_so_every_gate_is_in_its_place(kind: str) -> None:
    graph = single(kind, 5, 3, seed=2, gain=0.0)
    assert_follows(graph, lower(graph, random_ranges(graph), Nearest(), {}), tolerance=0.001)


def test_the_cell_state_of_an_lstm_has_twice_the_range_it_was_seen_to_need() -> None:
    graph = single("lstm", 4, 3, seed=3)
    for amplitude in (0.1, 0.9, 4.0, 5.9, 100.0):
        program = lower(graph, random_ranges(graph, amplitude), Nearest(), {})
        scale = program.tensors["sl0_c_in"].scale
        assert scale.mantissa == 3
        assert 32767 * float(scale) >= max(2 * amplitude, 1.0)
        assert 32767 * float(scale) < max(4 * amplitude, 3.0)
        assert scale == program.tensors["l0_c"].scale


def started(graph: Graph, **initial: Any) -> Graph:
    (node,) = graph.nodes
    carried = tuple(
        Carried(c.name, c.value, np.asarray(initial.get(c.value, c.initial), np.float32))
        for c in node.carried
    )
    twin = Node(node.kind, node.inputs, node.outputs, node.arrays, carried)
    return Graph(graph.sizes, graph.inputs, graph.outputs, (twin,))


def test_the_cell_state_holds_a_large_initial_value() -> None:
    graph = started(single("lstm", 2, 3, seed=4), l0_c=[50.0, -3.0])
    program = lower(graph, random_ranges(graph), Nearest(), {})
    state = StepRuntime(program).state["sl0_c"] * float(program.tensors["sl0_c_in"].scale)
    np.testing.assert_allclose(state, [50.0, -3.0], atol=0.01)


def test_a_relu_state_holds_a_large_initial_value_and_the_parts_of_its_sum() -> None:
    graph = started(single("rnn_relu", 2, 3, seed=5), l0_h=[50.0, 3.0])
    program = lower(graph, random_ranges(graph), Nearest(), {})
    assert 32767 * float(program.tensors["l0_h"].scale) >= 50.0
    ranges = random_ranges(graph, 0.5)
    wide = Ranges(dict(ranges.amplitudes) | {"l0_h.gx": 300.0}, ranges.second)
    program = lower(graph, wide, Nearest(), {})
    assert 32767 * float(program.tensors["l0_h_gx"].scale) >= 300.0


@pytest.mark.parametrize("kind", ["gru", "lstm", "rnn_tanh"])
@pytest.mark.parametrize("value", [1.5, -1.01, np.nan, np.inf, -np.inf])
def test_an_initial_state_out_of_range_is_refused(kind: str, value: float) -> None:
    graph = started(single(kind, 2, 3, seed=6), l0_h=[0.0, value])
    with pytest.raises(UnsupportedError, match="the initial state sl0_h leaves"):
        lower(graph, random_ranges(graph), Nearest(), {})


@pytest.mark.parametrize("kind", ["lstm", "rnn_relu"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_initial_state_that_is_no_number_is_refused_where_its_scale_is_free(
    kind: str, value: float
) -> None:
    name = "l0_c" if kind == "lstm" else "l0_h"
    graph = started(single(kind, 2, 3, seed=7), **{name: [0.0, value]})
    with pytest.raises(UnsupportedError, match=f"the initial state s{name}"):
        lower(graph, random_ranges(graph), Nearest(), {})


def test_an_initial_state_is_the_nearest_integer() -> None:
    graph = started(single("gru", 3, 2, seed=8), l0_h=[0.99998, -0.99998, 0.25])
    state = StepRuntime(lower(graph, random_ranges(graph), Nearest(), {})).state["sl0_h"]
    assert state.tolist() == [32767, -32767, 8192]


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("array", ["weight_ih", "weight_hh", "bias_ih", "bias_hh"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused_by_name(kind: str, array: str, bad: float) -> None:
    graph = single(kind, 2, 3, seed=9)
    (node,) = graph.nodes
    arrays = {n: v.copy() for n, v in node.arrays.items()}
    arrays[array].flat[1] = bad
    broken = Node(kind, node.inputs, node.outputs, arrays, node.carried)
    part = "gx" if array.endswith("ih") else "gh"
    with pytest.raises(UnsupportedError, match=f"weights of l0_h_{part} hold NaN or infinity"):
        lower(
            Graph(graph.sizes, graph.inputs, graph.outputs, (broken,)),
            random_ranges(graph), Nearest(), {},
        )  # fmt: skip


def test_an_input_that_is_not_normalised_is_refused() -> None:
    graph = single("gru", 2, 3, seed=10)
    ranges = random_ranges(graph)
    wide = Ranges(dict(ranges.amplitudes) | {"x": 1e7}, ranges.second)
    with pytest.raises(UnsupportedError, match="normalise the model's input"):
        lower(graph, wide, Nearest(), {})


def test_an_unknown_node_is_refused_by_name() -> None:
    graph = Graph(
        {"x": 1, "y": 1}, ("x",), (Output("y", "y", False),), (Node("conv", ("x",), ("y",)),)
    )
    with pytest.raises(UnsupportedError, match=r"conv \(y\)"):
        lower(graph, random_ranges(graph), Nearest(), {})


def layers(*nodes: Node, **sizes: int) -> StepRuntime:
    """A graph of nodes on x and u of three features each; the last node is the output."""
    all_sizes = {"x": 3, "u": 3} | sizes
    output = Output("out", nodes[-1].name, last=False)
    graph = Graph(all_sizes, ("x", "u"), (output,), nodes)
    return StepRuntime(lower(graph, random_ranges(graph, 2.0), Nearest(), {}))


LAYERS: dict[str, tuple[list[Node], dict[str, int], Callable[[Any, Any], Any]]] = {
    "relu": ([Node("relu", ("x",), ("y",))], {"y": 3}, lambda x, u: np.maximum(x, 0)),
    "tanh": ([Node("tanh", ("x",), ("y",))], {"y": 3}, lambda x, u: np.tanh(x)),
    "sigmoid": ([Node("sigmoid", ("x",), ("y",))], {"y": 3}, lambda x, u: sigmoid(x)),
    "add": ([Node("add", ("x", "u"), ("y",))], {"y": 3}, lambda x, u: x + u),
    "add to itself": ([Node("add", ("x", "x"), ("y",))], {"y": 3}, lambda x, u: x + x),
    "concat": (
        [Node("concat", ("u", "x"), ("y",))], {"y": 6}, lambda x, u: np.concatenate([u, x])
    ),
    "concat after tanh": (
        [Node("tanh", ("u",), ("t",)), Node("concat", ("t", "x", "t"), ("y",))],
        {"t": 3, "y": 9},
        lambda x, u: np.concatenate([np.tanh(u), x, np.tanh(u)]),
    ),
    "first": ([Node("slice", ("x",), ("y",), begin=0)], {"y": 2}, lambda x, u: x[:2]),
    "middle": ([Node("slice", ("x",), ("y",), begin=1)], {"y": 1}, lambda x, u: x[1:2]),
    "last": ([Node("slice", ("x",), ("y",), begin=2)], {"y": 1}, lambda x, u: x[2:]),
    "whole": (
        [Node("slice", ("x",), ("s",), begin=0), Node("relu", ("s",), ("y",))], {"s": 3, "y": 3},
        lambda x, u: np.maximum(x, 0),
    ),
    "tanh of a relu": (
        [Node("relu", ("x",), ("r",)), Node("tanh", ("r",), ("y",))], {"r": 3, "y": 3},
        lambda x, u: np.tanh(np.maximum(x, 0)),
    ),
    "sigmoid of a tanh": (
        [Node("tanh", ("x",), ("t",)), Node("sigmoid", ("t",), ("y",))], {"t": 3, "y": 3},
        lambda x, u: sigmoid(np.tanh(x)),
    ),
    "residual after tanh": (
        [Node("tanh", ("x",), ("t",)), Node("add", ("t", "u"), ("y",))], {"t": 3, "y": 3},
        lambda x, u: np.tanh(x) + u,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("nodes", "sizes", "function"), LAYERS.values(), ids=LAYERS)
def test_a_layer_without_state_follows_its_function(
    nodes: list[Node], sizes: dict[str, int], function: Callable[[Any, Any], Any]
) -> None:
    runtime, rng = layers(*nodes, **sizes), np.random.default_rng(11)
    for _ in range(30):
        x, u = rng.uniform(-1, 1, (2, 3))
        args = [{"x": x, "u": u}[name] for name in runtime.program.inputs]
        np.testing.assert_allclose(runtime.step(*args), function(x, u), atol=0.002)


def test_a_linear_layer_follows_its_product() -> None:
    rng = np.random.default_rng(12)
    arrays = {
        "weight": rng.normal(size=(4, 3)).astype(np.float32),
        "bias": rng.normal(size=4).astype(np.float32),
    }
    graph = Graph(
        {"x": 3, "y": 4},
        ("x",),
        (Output("y", "y", False),),
        (Node("linear", ("x",), ("y",), arrays),),
    )
    runtime = StepRuntime(lower(graph, random_ranges(graph, 8.0), Nearest(), {}))
    for _ in range(30):
        x = rng.uniform(-1, 1, 3)
        wanted = arrays["weight"] @ x + arrays["bias"]
        np.testing.assert_allclose(runtime.step(x), wanted, atol=0.03)


def test_the_public_names_and_the_metadata_reach_the_program() -> None:
    graph = random_graph(["gru", "lstm"], [3, 2], 2, seed=15, head=2)
    program = lower(graph, random_ranges(graph), Nearest(), {"note": "x"})
    assert program.inputs == ("x",)
    assert dict(program.outputs) == {"y": "head"}
    assert [s.name for s in program.states] == [s.name for s in graph.states]
    assert dict(program.metadata) == {"note": "x"}


def test_a_tensor_cannot_be_declared_twice() -> None:
    builder = Builder(Nearest())
    builder.tensor("x", 1, UNIT)
    with pytest.raises(AssertionError, match="twice"):
        builder.tensor("x", 2, UNIT)


def test_the_same_graph_gives_the_same_program() -> None:
    one, other = (random_program(["lstm"], [4], 3, seed=16) for _ in range(2))
    for op, twin in zip(one.operators, other.operators, strict=True):
        if op.matrix is not None and twin.matrix is not None:
            np.testing.assert_array_equal(op.matrix.weight, twin.matrix.weight)
            np.testing.assert_array_equal(op.matrix.bias, twin.matrix.bias)
