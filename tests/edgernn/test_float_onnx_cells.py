"""Every cell and every layer is carried into the float ONNX: what run_float gives, and PyTorch."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgernn import nn as edge
from edgernn.cells import CELLS
from edgernn.cells.base import Cell, product
from edgernn.float_engine import run_float
from edgernn.float_onnx import float_onnx
from edgernn.graph import Carried, FloatArray, Graph, Node, Output
from edgernn.importer import import_model
from edgernn.layers import LAYERS_FLOAT
from edgernn.runtime.errors import UnsupportedError
from tests.edgernn.cells import Layer
from tests.edgernn.one_cell import F, H, one_cell, random, start
from tests.edgernn.test_float_onnx import close, operators, run

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")


def same_as_numpy(graph: Graph, batch: int, steps: int, seed: int = 0) -> dict[str, FloatArray]:
    """ONNX Runtime and run_float, with random inputs, masks and, if it streams, states."""
    rng = np.random.default_rng(seed)
    x = {name: random(rng, batch, steps, graph.sizes[name], gain=1) for name in graph.inputs}
    for name in set(graph.inputs) & {"observed", "gap"}:
        x[name] = np.maximum(x[name], np.float32(0))
    for name in graph.masks:
        lengths = rng.integers(0, steps + 1, (batch, 1, 1))
        x[name] = (np.arange(steps)[None, :, None] < lengths).astype(np.float32)
        # Gaps as well, and a mask may be any number.
        x[name] *= rng.integers(0, 3, x[name].shape)
    states = (
        {}
        if graph.is_window
        else {s.name: start(rng, s.value, batch, len(s.initial)) for s in graph.states}
    )
    expected, finals = run_float(graph, x, states)
    given = {
        n: v if graph.batch_first else np.ascontiguousarray(v.swapaxes(0, 1)) for n, v in x.items()
    }
    result = run(graph, given, states)
    for output in graph.outputs:
        wanted = expected[output.name]
        if output.last:
            wanted = wanted[:, -1]
        elif not graph.batch_first:
            wanted = wanted.swapaxes(0, 1)
        assert result[output.name].shape == wanted.shape
        near(result[output.name], wanted)
    names = set() if graph.is_window else {f"state_{name}_next" for name in finals}
    assert set(result) == {o.name for o in graph.outputs} | names
    for name in names:
        near(result[name], finals[name[6:-5]])
    return result


def near(ours: FloatArray, theirs: FloatArray) -> None:
    """Within 1e-5 of the largest, which is large where nothing bounds a state."""
    scale = max(1.0, float(np.abs(theirs).max()))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * scale)


@pytest.mark.parametrize("reverse", [False, True], ids=["stream", "window"])
@pytest.mark.parametrize("mask", [False, True], ids=["all steps", "masked"])
@pytest.mark.parametrize("kind", CELLS)
def test_every_cell_gives_what_the_float_engine_gives(kind: str, mask: bool, reverse: bool) -> None:
    for batch_first in (True, False):
        graph = one_cell(kind, mask, reverse, batch_first)
        for batch, steps in ((3, 23), (1, 1)):
            same_as_numpy(graph, batch, steps, seed=steps)


def test_a_masked_step_changes_no_state() -> None:
    graph = one_cell("lstm", mask=True, reverse=False, batch_first=True)
    x = np.random.default_rng(0).standard_normal((2, 9, F)).astype(np.float32)
    mask = np.zeros((2, 9, 1), np.float32)
    mask[0, :4] = 1
    states = {"sh": np.full((2, H), 0.25, np.float32), "sc": np.full((2, H), -0.5, np.float32)}
    result = run(graph, {"x": x, "mask": mask}, states)
    np.testing.assert_array_equal(result["state_sc_next"][1], states["sc"][1])
    np.testing.assert_array_equal(result["every_h"][0, 4:], result["every_h"][0, 3:8])
    assert (result["every_h"][0, 1:4] != result["every_h"][0, :3]).all()


def test_several_inputs_and_outputs_that_are_no_states(monkeypatch: pytest.MonkeyPatch) -> None:
    def step(node: Node, x: Any, states: Any, note: Any) -> Any:
        (gx, u), (a, b) = x, states
        mixed = np.tanh(gx + a[:, :2] @ node.arrays["weight_hh"] + u.mean(-1, keepdims=True))
        return [mixed, b, a * np.float32(0.5) + gx, mixed - u[:, 1:]]

    cell = Cell(
        "mixed", {"weight_ih": (), "weight_hh": ()}, ("y", "b", "a", "z"), ("a", "b"), step,
        CELLS["mgu"].lower, lambda node, x: [product(x[0], node.arrays["weight_ih"]), x[1]],
    )  # fmt: skip
    monkeypatch.setitem(CELLS, "mixed", cell)
    rng = np.random.default_rng(3)
    arrays = {"weight_ih": random(rng, H, F), "weight_hh": random(rng, 2, H)}
    sizes = {"x": F, "u": H + 1, "mask": 1, "y": H, "b": H, "a": H, "z": H, "z1": H}
    carried = (Carried("sa", "a", random(rng, H)), Carried("sb", "b", random(rng, H)))
    for reverse, batch_first in itertools.product((False, True), repeat=2):
        for names in itertools.chain.from_iterable(
            itertools.combinations("yzab", n) for n in (1, 2)
        ):
            node = Node(
                "mixed", ("x", "u"), ("y", "b", "a", "z"), arrays, carried,
                reverse=reverse, mask="mask",
            )  # fmt: skip
            outputs = tuple(Output(f"o{n}", n, last=n in "zb") for n in names)
            outputs += (Output("first", "z1", last=True),)
            nodes = (node, Node("first", ("z",), ("z1",)))
            graph = Graph(sizes, ("x", "u", "mask"), outputs, nodes, batch_first)
            same_as_numpy(graph, 2, 6)


def one_layer(kind: str) -> tuple[Node, int]:
    """A layer of random arrays over h (H), and g (H) if it reads two; and its output size."""
    rng = np.random.default_rng(0)
    vector = {"weight": random(rng, H), "bias": random(rng, H)}
    size, arrays = H, {}
    inputs = ("h", "g") if kind in ("add", "sub", "mul", "maximum", "concat") else ("h",)
    options: dict[str, Any] = {}
    if kind == "linear":
        size, arrays = 3, {"weight": random(rng, 3, H), "bias": random(rng, 3)}
    elif kind == "concat":
        size = 2 * H
    elif kind == "slice":
        size, options = 2, {"begin": 3}
    elif kind in ("affine", "layer_norm"):
        arrays, options = vector, {"numbers": {"eps": 1e-5}}
    elif kind == "embedding":
        size, arrays = 4, {"table": random(rng, 9, 4)}
    return Node(kind, inputs, ("y",), arrays, **options), size


@pytest.mark.parametrize("reverse", [False, True], ids=["stream", "window"])
@pytest.mark.parametrize("kind", LAYERS_FLOAT)
def test_every_layer_gives_what_the_float_engine_gives(kind: str, reverse: bool) -> None:
    cell = one_cell("mgu", mask=False, reverse=reverse, batch_first=True).nodes[0]
    node, size = one_layer(kind)
    nodes = [cell, Node("tanh", ("h",), ("g",)), node]
    sizes = {"x": F, "h": H, "g": H, "y": size}
    outputs = [Output("all", "y", last=False), Output("end", "y", last=True)]
    # The same layer once per window, and a second one on it.
    nodes += [Node("first", (v,), (f"{v}1",)) for v in ("h", "g")]
    once = tuple(f"{v}1" for v in node.inputs)
    nodes += [Node(kind, once, ("y1",), node.arrays, begin=node.begin, numbers=node.numbers)]
    nodes += [Node("sigmoid", ("y1",), ("p1",))]
    sizes |= {"h1": H, "g1": H, "y1": size, "p1": size}
    outputs += [Output("once", "p1", last=True), Output("once_too", "y1", last=False)]
    graph = Graph(sizes, ("x",), tuple(outputs), tuple(nodes))
    same_as_numpy(graph, 3, 11)
    same_as_numpy(graph, 1, 1)


def test_token_ids_are_inputs() -> None:
    table = random(np.random.default_rng(1), 50, F)
    cell = one_cell("mgu", mask=False, reverse=False, batch_first=True).nodes[0]
    nodes = (Node("embedding", ("ids",), ("x",), {"table": table}), cell)
    outputs = (Output("rows", "x", last=False), Output("y", "h", last=False))
    graph = Graph({"ids": 1, "x": F, "h": H}, ("ids",), outputs, nodes)
    ids = np.random.default_rng(2).permutation(60).reshape(3, 20, 1).astype(np.float32) - 5
    result = run(graph, {"ids": ids}, {"sh": np.zeros((3, H), np.float32)})
    np.testing.assert_array_equal(result["rows"], table[np.clip(ids[..., 0].astype(int), 0, 49)])
    near(result["y"], run_float(graph, {"ids": ids}, {"sh": np.zeros((3, H))})[0]["y"])


def test_one_step_of_a_window_joins_every_step() -> None:
    cell = one_cell("gru", mask=False, reverse=True, batch_first=True).nodes[0]
    nodes = (cell, Node("first", ("h",), ("n",)), Node("add", ("h", "n"), ("y",)))
    outputs = (Output("all", "y", last=False), Output("end", "y", last=True))
    graph = Graph({"x": F, "h": H, "n": H, "y": H}, ("x",), outputs, nodes)
    same_as_numpy(graph, 2, 7)
    nodes = (*nodes[:2], Node("concat", ("h", "n"), ("y",)))
    graph = Graph({"x": F, "h": H, "n": H, "y": 2 * H}, ("x",), outputs, nodes)
    with pytest.raises(UnsupportedError, match=r"concat \(y\): it concatenates shapes \(time"):
        float_onnx(graph)


TORCH: dict[str, Any] = {
    "gru": nn.GRU,
    "lstm": nn.LSTM,
    "rnn_tanh": nn.RNN,
    "rnn_relu": lambda *a, **o: nn.RNN(*a, nonlinearity="relu", **o),
    "mgu": edge.MGU,
}
STACKS = [
    (kind, both, layers, bool(first))
    for first, (kind, both, layers) in zip(
        itertools.cycle([1, 0, 0]), itertools.product(TORCH, (True, False), (1, 2, 3)), strict=False
    )
]


@pytest.mark.parametrize(("kind", "both", "layers", "first"), STACKS)
def test_stacks_in_both_directions_give_torchs_numbers(
    kind: str, both: bool, layers: int, first: bool
) -> None:
    torch.manual_seed(layers)
    options = {"bidirectional": both, "num_layers": layers, "batch_first": first}
    module = TORCH[kind](F, H, **options)
    model = StatesToo(module).eval()
    x = torch.randn(3, 400, F)
    example = x[:, :9] if first else x[:, :9].swapaxes(0, 1)
    graph = import_model(model, (example,))
    assert graph.is_window is both
    found = operators(graph)
    operator = {"mgu": "Scan", "gru": "GRU", "lstm": "LSTM"}.get(kind, "RNN")
    assert found[operator] == layers * (1 + both)
    assert {"Scan", "GRU", "LSTM", "RNN"} & set(found) == {operator}
    for steps in (400, 1):
        given = x[:, :steps] if first else x[:, :steps].swapaxes(0, 1)
        zeros = {} if both else {s.name: np.zeros((3, len(s.initial)), "f") for s in graph.states}
        result = run(graph, {"x": given.contiguous().numpy()}, zeros)
        for output, expected in zip(graph.outputs, model(given), strict=True):
            close(result[output.name], expected)


class StatesToo(nn.Module):
    """y, and a mix of the last states of the top layer."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y, states = self.layer(x)
        last = states[-1][-1] if isinstance(states, tuple) else states[-1]
        return y, torch.tanh(last)


@pytest.mark.parametrize("both", [False, True], ids=["stream", "window"])
@pytest.mark.parametrize("first", [False, True], ids=["time first", "batch first"])
def test_lengths_give_torchs_numbers(first: bool, both: bool) -> None:
    torch.manual_seed(5)
    layer = edge.MGU(F, H, num_layers=2, batch_first=first, bidirectional=both)
    model = Layer(layer, head=4).eval()
    lengths, x = torch.tensor([3, 13, 1, 8]), torch.randn(4, 13, F)
    given = x if first else x.swapaxes(0, 1)
    graph = import_model(model, (given, lengths))
    mask = (torch.arange(13)[None, :, None] < lengths[:, None, None]).float()
    mask = mask if first else mask.swapaxes(0, 1)
    zeros = {} if both else {s.name: np.zeros((4, len(s.initial)), "f") for s in graph.states}
    inputs = {"x": given.contiguous().numpy(), "mask": mask.contiguous().numpy()}
    close(run(graph, inputs, zeros)["y"], model(given, lengths))
