"""The float peer at its leanest: one recurrent operator of ONNX and nothing around it."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgernn.graph import Graph

OPERATORS: Final[dict[str, tuple[str, str, dict[str, Any]]]] = {
    "GRU": ("GRU", "rzn", {"linear_before_reset": 1}),
    "LSTM": ("LSTM", "ifgo", {}),
    "Elman": ("RNN", "h", {}),
}
"""Cell -> operator, PyTorch's order of the gates, attributes."""
ORDERS: Final = {"GRU": "zrn", "LSTM": "iofg", "RNN": "h"}
"""ONNX's order of the gates."""


def bare_operator(cell: str, graph: Graph, every_step: bool) -> bytes:
    """x (T, N, F), h and for an LSTM c (1, N, H) -> the states after the last step, and with
    every_step the outputs y (T, 1, N, H) too. graph: one layer of PyTorch's."""
    operator, order, attributes = OPERATORS[cell]
    (node,) = graph.nodes
    hidden = graph.sizes[node.name]
    (name,) = graph.inputs

    def stacked(array: str) -> NDArray[np.float32]:
        parts = dict(zip(order, np.split(node.arrays[array], len(order)), strict=True))
        return np.concatenate([parts[gate] for gate in ORDERS[operator]])[None]

    constants = {
        "W": stacked("weight_ih"),
        "R": stacked("weight_hh"),
        "B": np.concatenate([stacked("bias_ih"), stacked("bias_hh")], axis=1),
    }
    states = ["h", "c"] if operator == "LSTM" else ["h"]
    outputs = ["y" if every_step else "", *(f"{s}_next" for s in states)]
    recurrent = helper.make_node(
        operator, ["x", *constants, "", *states], outputs, hidden_size=hidden, **attributes
    )
    shapes: dict[str, list[Any]] = {"x": ["T", "N", graph.sizes[name]], "y": ["T", 1, "N", hidden]}
    model = helper.make_model(
        helper.make_graph(
            [recurrent],
            "bare",
            [_value(v, shapes.get(v, [1, "N", hidden])) for v in ("x", *states)],
            [_value(v, shapes.get(v, [1, "N", hidden])) for v in outputs if v],
            [numpy_helper.from_array(v, n) for n, v in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 14)],
        ir_version=8,
    )
    return bytes(model.SerializeToString())


def bare_feeds(cell: str, hidden: int, x: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Inputs of that model for x (T, N, F), the states at 0."""
    zeros = np.zeros((1, x.shape[1], hidden), np.float32)
    return {"x": x, "h": zeros} | ({"c": zeros} if cell == "LSTM" else {})


def _value(name: str, shape: list[Any]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
