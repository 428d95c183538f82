"""The float reference computes what its equations say, step by step, and streams."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgernn.cells.base import sigmoid
from edgernn.float_engine import run_float
from edgernn.graph import FloatArray, Graph, Node, Output
from edgernn.runtime.errors import InputError
from tests.programs import random_graph

CELLS = ("gru", "lstm", "rnn_tanh", "rnn_relu")


def data(*shape: int, seed: int = 0) -> FloatArray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def step(node: Node, x: Any, state: list[Any]) -> list[Any]:
    """One step of one sequence in float64, written from the equations alone."""
    a = {name: array.astype(np.float64) for name, array in node.arrays.items()}
    gx, gh = a["weight_ih"] @ x + a["bias_ih"], a["weight_hh"] @ state[0] + a["bias_hh"]

    def logistic(v: Any) -> Any:
        return 1 / (1 + np.exp(-v))

    if node.kind == "gru":
        (xr, xz, xn), (hr, hz, hn) = np.split(gx, 3), np.split(gh, 3)
        r, z = logistic(xr + hr), logistic(xz + hz)
        n = np.tanh(xn + r * hn)
        return [(1 - z) * n + z * state[0]]
    if node.kind == "lstm":
        i, f, g, o = np.split(gx + gh, 4)
        c = logistic(f) * state[1] + logistic(i) * np.tanh(g)
        return [logistic(o) * np.tanh(c), c]
    total = gx + gh
    return [np.maximum(total, 0) if node.kind == "rnn_relu" else np.tanh(total)]


@pytest.mark.parametrize("cell", CELLS)
def test_a_cell_follows_its_equations(cell: str) -> None:
    graph = random_graph([cell], [5], 3, seed=1)
    (node,) = graph.nodes
    x = 0.5 * data(2, 7, 3)
    seen: dict[str, FloatArray] = {}
    outputs, states = run_float(graph, {"x": x}, observe=seen.__setitem__)
    for n in range(2):
        state = [s.initial.astype(np.float64) for s in node.carried]
        for t in range(7):
            state = step(node, x[n, t].astype(np.float64), state)
            for value, expected in zip(node.outputs, state, strict=True):
                np.testing.assert_allclose(seen[value][n, t], expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(outputs["y"][n, -1], state[0], rtol=1e-4, atol=1e-5)
        for carried, expected in zip(node.carried, state, strict=True):
            np.testing.assert_allclose(states[carried.name][n], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_two_halves_with_the_state_handed_over_are_the_whole(cell: str) -> None:
    graph = random_graph([cell, cell], [5, 4], 3, seed=2, head=2)
    x = 0.3 * data(2, 8, 3)
    whole, end = run_float(graph, {"x": x})
    first, middle = run_float(graph, {"x": x[:, :3]})
    second, final = run_float(graph, {"x": x[:, 3:]}, middle)
    halves = np.concatenate([first["y"], second["y"]], axis=1)
    np.testing.assert_allclose(halves, whole["y"], rtol=1e-4, atol=1e-5)
    assert set(final) == {state.name for state in graph.states}
    for name in final:
        np.testing.assert_allclose(final[name], end[name], rtol=1e-4, atol=1e-5)


def test_the_observer_sees_every_value_and_the_parts_of_a_relu_cell() -> None:
    graph = random_graph(["lstm", "rnn_relu"], [4, 3], 2, seed=3, head=2)
    seen: dict[str, tuple[int, ...]] = {}
    values: dict[str, FloatArray] = {}

    def observe(name: str, value: FloatArray) -> None:
        seen[name], values[name] = value.shape, value.copy()

    run_float(graph, {"x": data(2, 5, 2)}, observe=observe)
    assert seen == {
        "x": (2, 5, 2), "l0_h": (2, 5, 4), "l0_c": (2, 5, 4), "l1_h": (2, 5, 3),
        "l1_h.gx": (2, 5, 3), "l1_h.gh": (2, 5, 3), "l1_h.a": (2, 5, 3), "head": (2, 5, 2),
    }  # fmt: skip
    node = graph.nodes[1]
    gx = values["l0_h"] @ node.arrays["weight_ih"].T + node.arrays["bias_ih"]
    np.testing.assert_allclose(values["l1_h.gx"], gx, rtol=1e-4, atol=1e-5)
    before = np.concatenate(
        [np.repeat(node.carried[0].initial[None, None], 2, axis=0), values["l1_h"][:, :-1]], axis=1
    )
    gh = before @ node.arrays["weight_hh"].T + node.arrays["bias_hh"]
    np.testing.assert_allclose(values["l1_h.gh"], gh, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(values["l1_h.a"], values["l1_h.gx"] + values["l1_h.gh"])
    np.testing.assert_array_equal(values["l1_h"], np.maximum(values["l1_h.a"], 0))


def test_every_layer_without_state() -> None:
    weight, bias = data(3, 4, seed=1), data(3, seed=2)
    nodes = (
        Node("slice", ("x",), ("part",), begin=1),
        Node("linear", ("part",), ("fc",), {"weight": weight, "bias": bias}),
        Node("relu", ("fc",), ("positive",)),
        Node("tanh", ("fc",), ("bounded",)),
        Node("sigmoid", ("fc",), ("gate",)),
        Node("add", ("bounded", "gate"), ("total",)),
        Node("concat", ("positive", "total"), ("both",)),
    )
    sizes = {"x": 6, "part": 4, "both": 6} | dict.fromkeys(
        ("fc", "positive", "bounded", "gate", "total"), 3
    )
    graph = Graph(sizes, ("x",), (Output("y", "both", last=True),), nodes)
    x = data(2, 3, 6)
    fc = x[..., 1:5] @ weight.T + bias
    expected = np.concatenate([np.maximum(fc, 0), np.tanh(fc) + 1 / (1 + np.exp(-fc))], axis=-1)
    result, states = run_float(graph, {"x": x})
    np.testing.assert_allclose(result["y"], expected, rtol=1e-5, atol=1e-6)
    assert result["y"].dtype == np.float32
    assert states == {}


def test_sigmoid_has_no_overflow_and_is_exact_to_float32() -> None:
    x = np.array([-1e30, -200, -3, 0, 3, 200, 1e30], np.float32)
    exact = [0, 0, 0.04742587317756678, 0.5, 0.9525741268224333, 1, 1]
    np.testing.assert_allclose(sigmoid(x), exact, rtol=0, atol=1e-7)


def test_no_steps_leave_the_state_as_it_was() -> None:
    graph = random_graph(["gru"], [4], 3, seed=1)
    outputs, states = run_float(graph, {"x": np.zeros((2, 0, 3), np.float32)})
    assert outputs["y"].shape == (2, 0, 4)
    np.testing.assert_array_equal(states["sl0_h"], np.stack([graph.states[0].initial] * 2))


@pytest.mark.parametrize(
    ("inputs", "states", "sentence"),
    [
        ({}, {}, "the inputs are"),
        ({"x": np.zeros((1, 2, 4))}, {}, "input x has shape"),
        ({"x": np.zeros((2, 3))}, {}, "input x has shape"),
        ({"x": np.zeros((1, 2, 3))}, {"q": np.zeros((1, 4))}, "q is not a state"),
        ({"x": np.zeros((1, 2, 3))}, {"sl0_h": np.zeros((2, 4))}, "state sl0_h has shape"),
    ],
)
def test_arrays_that_do_not_fit_are_named(inputs: Any, states: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        run_float(random_graph(["gru"], [4], 3, seed=1), inputs, states)
