"""The float reference computes what PyTorch computes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from edgernn.cells import CELLS
from edgernn.engines.onnx import FloatOnnx
from edgernn.float_onnx import float_onnx
from edgernn.graph import Carried, Graph, Node, Output
from edgernn.runtime.errors import InputError, UnsupportedError

FEATURES, HIDDEN, BATCH, STEPS = 5, 7, 3, 11
TORCH = {
    "gru": lambda n: nn.GRU(n, HIDDEN),
    "lstm": lambda n: nn.LSTM(n, HIDDEN),
    "rnn_tanh": lambda n: nn.RNN(n, HIDDEN),
    "rnn_relu": lambda n: nn.RNN(n, HIDDEN, nonlinearity="relu"),
}


def run(
    graph: Graph, inputs: dict[str, np.ndarray], states: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    content = float_onnx(graph)
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    assert float_onnx(graph) == content
    return FloatOnnx(content).run(inputs, states)


def operators(graph: Graph) -> Counter[str]:
    """How many nodes of each operator the graph has, those of loops left out."""
    return Counter(n.op_type for n in onnx.load_from_string(float_onnx(graph)).graph.node)


def arrays_of(module: Any, bias: bool = True) -> dict[str, np.ndarray]:
    arrays = {
        name.removesuffix("_l0"): parameter.detach().numpy()
        for name, parameter in module.named_parameters()
    }
    if not bias:
        arrays |= dict.fromkeys(("bias_ih", "bias_hh"), np.zeros(len(arrays["weight_ih"]), "f"))
    return arrays


def cell_node(cell: str, module: Any, value: str, prefix: str, bias: bool = True) -> Node:
    outputs = (f"{prefix}h", f"{prefix}c") if cell == "lstm" else (f"{prefix}h",)
    carried = tuple(Carried(f"s{v}", v, np.zeros(HIDDEN, np.float32)) for v in outputs)
    return Node(cell, (value,), outputs, arrays_of(module, bias), carried)


def close(a: np.ndarray, b: torch.Tensor) -> None:
    expected = b.detach().numpy()
    assert a.shape == expected.shape
    np.testing.assert_allclose(a, expected, rtol=0, atol=1e-5)


def in_layout(x: np.ndarray | torch.Tensor, batch_first: bool) -> Any:
    """From time first to the model's layout."""
    return x.swapaxes(0, 1) if batch_first else x


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("cell", TORCH)
def test_two_layers_with_initial_states_equal_torch(cell: str, batch_first: bool) -> None:
    torch.manual_seed(1)
    first, second = TORCH[cell](FEATURES), TORCH[cell](HIDDEN)
    for parameter in (*first.parameters(), *second.parameters()):
        nn.init.normal_(parameter, std=0.3)
    nodes = (cell_node(cell, first, "x", "l0_"), cell_node(cell, second, "l0_h", "l1_"))
    sizes = dict.fromkeys([v for n in nodes for v in n.outputs], HIDDEN) | {"x": FEATURES}
    outputs = [Output("y", "l1_h", last=False), Output("end", "l0_h", last=True)]
    if cell == "lstm":
        outputs.append(Output("cell", "l1_c", last=True))
    graph = Graph(sizes, ("x",), tuple(outputs), nodes, batch_first)

    x = torch.randn(STEPS, BATCH, FEATURES)
    initial = {s.name: torch.randn(BATCH, HIDDEN) * 0.5 for s in graph.states}
    result = run(
        graph,
        {"x": np.ascontiguousarray(in_layout(x.numpy(), batch_first))},
        {name: value.numpy() for name, value in initial.items()},
    )

    value, ends = x, {}
    for module, node in zip((first, second), nodes, strict=True):
        given = [initial[s.name][None] for s in node.carried]
        value, final = module(value, tuple(given) if cell == "lstm" else given[0])
        for state, h in zip(node.carried, final if cell == "lstm" else [final], strict=True):
            ends[state.name] = h[0]
        if node is nodes[0]:
            close(result["end"], value[-1])
    close(result["y"], in_layout(value, batch_first))
    for name, end in ends.items():
        close(result[f"state_{name}_next"], end)
    if cell == "lstm":
        close(result["cell"], ends["sl1_c"])


def test_every_layer_without_state_equals_torch() -> None:
    torch.manual_seed(2)
    gru, linear = nn.GRU(FEATURES, HIDDEN, bias=False), nn.Linear(2 * HIDDEN, 4)
    weight, bias = (p.detach().numpy() for p in linear.parameters())
    nodes = (
        cell_node("gru", gru, "x", "", bias=False),
        Node("tanh", ("h",), ("t",)),
        Node("sigmoid", ("h",), ("s",)),
        Node("concat", ("t", "s"), ("ts",)),
        Node("linear", ("ts",), ("fc",), {"weight": weight, "bias": bias}),
        Node("relu", ("fc",), ("r",)),
        Node("slice", ("r",), ("part",), begin=1),
        Node("slice", ("u",), ("u_part",), begin=0),
        Node("add", ("part", "u_part"), ("sum",)),
    )
    widths = {"x": FEATURES, "u": 3, "h": HIDDEN, "t": HIDDEN, "s": HIDDEN, "ts": 2 * HIDDEN}
    widths |= {"fc": 4, "r": 4, "part": 2, "u_part": 2, "sum": 2}
    outputs = (Output("all", "sum", last=False), Output("one", "sum", last=True))
    graph = Graph(widths, ("x", "u"), outputs, nodes)

    x, u, h = torch.randn(BATCH, STEPS, 5), torch.randn(BATCH, STEPS, 3), torch.randn(BATCH, HIDDEN)
    result = run(graph, {"x": x.numpy(), "u": u.numpy()}, {"sh": h.numpy()})
    y, end = gru(x.swapaxes(0, 1), h[None])
    y = y.swapaxes(0, 1)
    fc = torch.relu(linear(torch.cat([torch.tanh(y), torch.sigmoid(y)], -1)))
    expected = fc[..., 1:3] + u[..., :2]
    close(result["all"], expected)
    close(result["one"], expected[:, -1])
    close(result["state_sh_next"], end[0])


def lstm_graph(*tail: Node, output: Output) -> tuple[Graph, Any]:
    torch.manual_seed(3)
    module = nn.LSTM(FEATURES, HIDDEN)
    sizes = {"x": FEATURES, "h": HIDDEN, "c": HIDDEN, "tc": HIDDEN}
    return Graph(sizes, ("x",), (output,), (cell_node("lstm", module, "x", ""), *tail)), module


def test_layers_on_the_last_cell_state_are_computed_there() -> None:
    graph, module = lstm_graph(Node("tanh", ("c",), ("tc",)), output=Output("y", "tc", last=True))
    x, zeros = torch.randn(BATCH, STEPS, FEATURES), np.zeros((BATCH, HIDDEN), np.float32)
    result = run(graph, {"x": x.numpy()}, {"sh": zeros, "sc": zeros})
    close(result["y"], torch.tanh(module(x.swapaxes(0, 1))[1][1][0]))


def test_a_cell_state_at_every_step_takes_a_scan() -> None:
    graph, module = lstm_graph(output=Output("y", "c", last=False))
    assert operators(graph)["Scan"] == 1
    assert "LSTM" not in operators(graph)
    x = torch.randn(BATCH, STEPS, FEATURES)
    zeros = np.zeros((BATCH, HIDDEN), np.float32)
    result = run(graph, {"x": x.numpy()}, {"sh": zeros, "sc": zeros})
    for t in range(STEPS):
        close(result["y"][:, t], module(x[:, : t + 1].swapaxes(0, 1))[1][1][0])


def test_names_that_collide_and_unknown_kinds_are_refused() -> None:
    graph, _ = lstm_graph(output=Output("state_sh", "h", last=True))
    with pytest.raises(UnsupportedError, match="'state_sh' would name two"):
        float_onnx(graph)
    graph, _ = lstm_graph(Node("maxout", ("h",), ("tc",)), output=Output("y", "tc", last=True))
    with pytest.raises(UnsupportedError, match="no float ONNX form for maxout"):
        float_onnx(graph)


def test_a_step_that_cannot_be_traced_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def step(node: Node, x: Any, states: Any, note: Any) -> Any:
        return [np.sort(x[0])[:, :HIDDEN] + states[0]]

    def narrow(node: Node, x: Any, states: Any, note: Any) -> Any:
        return [x[0][:, :1]]

    def constant(node: Node, x: Any, states: Any, note: Any) -> Any:
        return [np.zeros((1, HIDDEN), np.float32)]

    module = nn.GRU(FEATURES, HIDDEN)
    node = replace(cell_node("gru", module, "x", ""), kind="mgu")
    graph = Graph({"x": FEATURES, "h": HIDDEN}, ("x",), (Output("y", "h", last=True),), (node,))
    for broken, sentence in (
        (step, r"for mgu \(h\): it calls numpy.sort at test_float_onnx.py"),
        (narrow, r"for mgu \(h\): h has shape \(batch, 1\) after a step, not \(batch, 7\)"),
        (constant, r"for mgu \(h\): a result depends on no input"),
    ):
        monkeypatch.setitem(CELLS, "mgu", replace(CELLS["mgu"], step=broken))
        with pytest.raises(UnsupportedError, match=sentence):
            float_onnx(graph)


def test_a_cell_behind_a_pick_is_refused() -> None:
    nodes = (
        cell_node("gru", nn.GRU(FEATURES, HIDDEN), "x", "a"),
        Node("last", ("ah",), ("n",)),
        cell_node("gru", nn.GRU(HIDDEN, HIDDEN), "n", "b"),
    )
    sizes = {"x": FEATURES, "ah": HIDDEN, "n": HIDDEN, "bh": HIDDEN}
    graph = Graph(sizes, ("x",), (Output("y", "bh", last=True),), nodes)
    with pytest.raises(UnsupportedError, match=r"bh \(gru\) reads one step of the window"):
        float_onnx(graph)


def test_arrays_that_do_not_fit_are_refused() -> None:
    graph, _ = lstm_graph(output=Output("y", "h", last=True))
    engine = FloatOnnx(float_onnx(graph))
    x, state = np.zeros((1, 2, FEATURES), np.float32), np.zeros((1, HIDDEN), np.float32)
    with pytest.raises(InputError, match="inputs must be"):
        engine.run({"x": x}, {"sh": state})
    with pytest.raises(InputError, match=r"input x must be \(N, T, 5\) float32"):
        engine.run({"x": x.astype(np.float64)}, {"sh": state, "sc": state})
