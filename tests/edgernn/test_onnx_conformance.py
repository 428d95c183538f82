"""The float cells against ONNX: its own conformance vectors, and its kernels where those stop.

The vectors have constant weights and mostly one step. Random nodes of GRU, LSTM and RNN go further,
computed by ONNX Runtime and by ONNX's reference, neither of which knows our equations.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx.reference
import onnxruntime
import pytest
from onnx import TensorProto, helper

from edgernn.cells import CELLS
from edgernn.float_engine import run_float
from edgernn.graph import Carried, Graph, Node, Output

Arrays = dict[str, np.ndarray]
OPERATORS = ("GRU", "LSTM", "RNN")


def vectors() -> dict[str, Any]:
    """ONNX's node tests of recurrent operators by name; a module makes its own when imported."""
    package = "onnx.backend.test.case.node"
    for op in OPERATORS:
        importlib.import_module(f"{package}.{op.lower()}")
    made = importlib.import_module(package)._NodeTestCases
    return {case.name: case for case in made if case.model.graph.node[0].op_type in OPERATORS}


VECTORS = vectors()


def attributes(node: Any) -> dict[str, Any]:
    values = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return {name: v.decode() if isinstance(v, bytes) else v for name, v in values.items()}


def gru(given: dict[str, Any], w: np.ndarray, r: np.ndarray, b: np.ndarray, p: Any) -> Any:
    arrays = plain(w, r, b, (1, 0, 2))
    if given.get("linear_before_reset", 0):
        return "gru", arrays
    # The bias of U_n is outside the reset as well, so that both biases are one. The update gate of
    # the publication lets the new value in, that of ONNX keeps the old one: 1 - s(a) = s(-a).
    hidden = r.shape[1]
    arrays["bias_ih"] = arrays["bias_ih"] + arrays.pop("bias_hh")
    for array in arrays.values():
        array[hidden : 2 * hidden] *= -1
    recurrent = arrays.pop("weight_hh")
    arrays["weight_hh"], arrays["weight_rh"] = recurrent[: 2 * hidden], recurrent[2 * hidden :]
    return "gru_reset_before", arrays


def lstm(given: dict[str, Any], w: np.ndarray, r: np.ndarray, b: np.ndarray, p: Any) -> Any:
    arrays = plain(w, r, b, (0, 2, 3, 1))
    if p is None:
        return "lstm", arrays
    arrays["bias_ih"] = arrays["bias_ih"] + arrays.pop("bias_hh")
    i, o, f = np.split(p, 3)
    return "lstm_peephole", arrays | {"weight_peephole": np.concatenate([i, f, o])}


def rnn(given: dict[str, Any], w: np.ndarray, r: np.ndarray, b: np.ndarray, p: Any) -> Any:
    kinds = {"Tanh": "rnn_tanh", "Relu": "rnn_relu"}
    names = {name if isinstance(name, str) else name.decode() for name in given["activations"]}
    (name,) = names
    return kinds[name], plain(w, r, b, (0,))


CONVERTERS: dict[str, Callable[..., tuple[str, Arrays]]] = {"GRU": gru, "LSTM": lstm, "RNN": rnn}
"""Operator -> (attributes, W, R, B, P or None), of one direction -> kind of cell, its arrays."""
# A vector with anything else needs a converter of its own, and fails until it has one.
KNOWN = {"activations", "direction", "hidden_size", "layout", "linear_before_reset"}


def plain(w: np.ndarray, r: np.ndarray, b: np.ndarray, order: tuple[int, ...]) -> Arrays:
    """PyTorch's arrays: its gates are ONNX's in this order."""

    def sorted_gates(a: np.ndarray) -> np.ndarray:
        return np.concatenate([np.split(a, len(order))[gate] for gate in order])

    biases = np.split(b, 2)
    parts = {"weight_ih": w, "weight_hh": r, "bias_ih": biases[0], "bias_hh": biases[1]}
    return {name: sorted_gates(a) for name, a in parts.items()}


def run_ours(node: Any, given: Arrays) -> list[np.ndarray]:
    """Y, Y_h and Y_c, as far as the operator has them, by the float engine.

    given: the inputs of the node by the standard's names, those that are there.
    """
    settings = {"activations": ["Tanh"], "layout": 0, "direction": "forward"} | attributes(node)
    assert set(settings) <= KNOWN, settings
    assert node.op_type == "RNN" or "activations" not in attributes(node)
    states = ["h", "c"] if node.op_type == "LSTM" else ["h"]
    batchwise = settings["layout"] == 1
    x = given["X"] if batchwise else given["X"].swapaxes(0, 1)
    batch, length, features = x.shape
    directions, hidden = given["R"].shape[0], given["R"].shape[2]
    rows = given["W"].shape[1]
    bias = given.get("B", np.zeros((directions, 2 * rows), np.float32))
    lengths = given.get("sequence_lens", np.full(batch, length))
    masked = "sequence_lens" in given
    sizes, inputs = {"x": features, "mask": 1}, {"x": x}
    steps = np.arange(length)
    if masked:
        inputs["mask"] = (steps < lengths[:, None]).astype(np.float32)[:, :, None]
    nodes, first = [], {}
    for d in range(directions):
        peepholes = given["P"][d] if "P" in given else None
        kind, arrays = CONVERTERS[node.op_type](
            settings, given["W"][d], given["R"][d], bias[d], peepholes
        )
        assert set(arrays) == set(CELLS[kind].arrays), kind
        zeros = np.zeros(hidden, np.float32)
        carried = tuple(Carried(f"s{d}_{s}", f"{s}{d}", zeros) for s in states)
        outputs = tuple(f"{s}{d}" for s in states)
        reverse = settings["direction"] == "reverse" or d == 1
        mask = "mask" if masked else ""
        nodes.append(Node(kind, ("x",), outputs, arrays, carried, reverse=reverse, mask=mask))
        sizes |= dict.fromkeys(outputs, hidden)
        for s in states:
            initial = given.get(f"initial_{s}")
            if initial is not None:
                first[f"s{d}_{s}"] = initial[:, d] if batchwise else initial[d]
    results = tuple(Output(f"y{d}", f"h{d}", last=False) for d in range(directions))
    graph = Graph(sizes, tuple(inputs), results, tuple(nodes))
    values, final = run_float(graph, inputs, first)
    y = np.stack([values[f"y{d}"] for d in range(directions)])
    # The standard fills what lies beyond a sequence with zeros; here states stand still.
    y = np.where((steps < lengths[:, None])[None, :, :, None], y, np.float32(0))
    last = [np.stack([final[f"s{d}_{s}"] for d in range(directions)]) for s in states]
    if batchwise:
        return [y.transpose(1, 2, 0, 3), *(state.swapaxes(0, 1) for state in last)]
    return [y.transpose(2, 0, 1, 3), *last]


def by_standard(node: Any, arrays: list[np.ndarray]) -> Arrays:
    """The inputs of a node by the standard's names, whatever its own names are."""
    names = ["X", "W", "R", "B", "sequence_lens", "initial_h"]
    names += ["initial_c", "P"] if node.op_type == "LSTM" else []
    present = [name for name, own in zip(names, node.input, strict=False) if own]
    return dict(zip(present, arrays, strict=True))


def test_the_vectors_are_there() -> None:
    counts = dict.fromkeys(OPERATORS, 0)
    for case in VECTORS.values():
        counts[case.model.graph.node[0].op_type] += 1
    assert min(counts.values()) >= 4, counts


@pytest.mark.parametrize("name", VECTORS)
def test_conformance_vector(name: str) -> None:
    case = VECTORS[name]
    (node,), ((inputs, outputs),) = case.model.graph.node, case.data_sets
    results = run_ours(node, by_standard(node, inputs))
    wanted = [result for result, own in zip(results, node.output, strict=False) if own]
    for ours, theirs in zip(wanted, outputs, strict=True):
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def random_node(rng: np.random.Generator, op: str, direction: str, lengths: bool) -> Any:
    """A node and its inputs: any weights, 2 to 15 steps, with or without biases and states."""
    gates, directions = {"GRU": 3, "LSTM": 4, "RNN": 1}[op], 1 + (direction == "bidirectional")
    hidden, features, batch, steps = (int(n) for n in rng.integers([1, 1, 1, 2], [21, 9, 5, 16]))
    settings: dict[str, Any] = {"hidden_size": hidden, "direction": direction}
    gain = 2.0
    if op == "GRU":
        settings["linear_before_reset"] = int(rng.integers(2))
    elif op == "RNN":
        kind = str(rng.choice(["Tanh", "Relu"]))
        # What has no bound must not grow.
        gain = 2.0 if kind == "Tanh" else 0.7
        settings["activations"] = [kind] * directions

    def normal(*shape: int, scale: float = 1.0) -> np.ndarray:
        return (scale * rng.standard_normal(shape)).astype(np.float32)

    given = {
        "X": normal(steps, batch, features),
        "W": normal(directions, gates * hidden, features, scale=gain / np.sqrt(features)),
        "R": normal(directions, gates * hidden, hidden, scale=gain / np.sqrt(hidden)),
    }
    if rng.random() < 0.8:
        given["B"] = normal(directions, 2 * gates * hidden)
    if lengths:
        given["sequence_lens"] = rng.integers(1, steps + 1, batch).astype(np.int32)
    if rng.random() < 0.8:
        given["initial_h"] = normal(directions, batch, hidden, scale=0.5)
    if op == "LSTM" and rng.random() < 0.8:
        given["initial_c"] = normal(directions, batch, hidden)
    if op == "LSTM" and rng.random() < 0.5:
        given["P"] = normal(directions, 3 * hidden)
    return node_of(op, given, settings), given


def node_of(op: str, given: Arrays, settings: dict[str, Any]) -> Any:
    states = ["h", "c"] if op == "LSTM" else ["h"]
    names = ["X", "W", "R", "B", "sequence_lens", *(f"initial_{s}" for s in states), "P"]
    inputs = [name if name in given else "" for name in names]
    while not inputs[-1]:
        inputs.pop()
    return helper.make_node(op, inputs, ["Y", *(f"Y_{s}" for s in states)], **settings)


def model_of(node: Any, given: Arrays) -> Any:
    def info(name: str, dtype: int) -> Any:
        return helper.make_tensor_value_info(name, dtype, None)

    inputs = [info(n, helper.np_dtype_to_tensor_dtype(a.dtype)) for n, a in given.items()]
    outputs = [info(name, TensorProto.FLOAT) for name in node.output]
    graph = helper.make_graph([node], "node", inputs, outputs)
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 14)])


def run_runtime(node: Any, given: Arrays) -> list[np.ndarray]:
    content = model_of(node, given).SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return list(session.run(None, given))


@pytest.mark.parametrize("lengths", [False, True])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("op", OPERATORS)
def test_random_nodes_give_what_the_kernels_of_onnx_runtime_give(
    op: str, direction: str, lengths: bool
) -> None:
    rng = np.random.default_rng([len(op), len(direction), lengths])
    for _ in range(25):
        node, given = random_node(rng, op, direction, lengths)
        for ours, theirs in zip(run_ours(node, given), run_runtime(node, given), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("layout", [0, 1])
@pytest.mark.parametrize("op", OPERATORS)
def test_random_nodes_give_what_the_reference_gives(op: str, layout: int) -> None:
    rng = np.random.default_rng([len(op), layout])
    for _ in range(25):
        node, given = random_node(rng, op, "forward", lengths=False)
        if op == "RNN":
            # The reference has no other function than this.
            given_settings = attributes(node) | {"activations": ["Tanh"], "layout": layout}
        else:
            given_settings = attributes(node) | {"layout": layout}
        node = node_of(op, given, given_settings)
        if layout:
            batched = {"X", "initial_h", "initial_c"}
            given = {n: a.swapaxes(0, 1) if n in batched else a for n, a in given.items()}
        expected = onnx.reference.ReferenceEvaluator(model_of(node, given)).run(None, given)
        for ours, theirs in zip(run_ours(node, given), expected, strict=True):
            assert ours.shape == np.shape(theirs)
            np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=2e-5)
