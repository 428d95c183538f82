"""ONNX Runtime's own GRU and LSTM, which we did not write, over sequences."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]


def run_onnx(
    operator: str,
    x: Float32,
    weight: Float32,
    recurrent: Float32,
    bias: Float32,
    peephole: Float32 | None = None,
    **attributes: Any,
) -> Float32:
    """Outputs (N, T, H) for x (N, T, F), from zeros; weights in the order of ONNX's gates.

    Source: https://onnx.ai/onnx/operators/ (GRU, LSTM).
    """
    from onnx import TensorProto, helper, numpy_helper

    from edgernn.engines.onnx import _session

    given = {"W": weight[None], "R": recurrent[None], "B": bias[None]}
    names = ["x", "W", "R", "B"]
    if peephole is not None:
        given["P"] = peephole[None]
        names += ["", "", "", "P"]
    size = recurrent.shape[1]
    node = helper.make_node(operator, names, ["y"], hidden_size=size, **attributes)
    graph = helper.make_graph(
        [node],
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["T", "N", x.shape[2]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["T", 1, "N", size])],
        [numpy_helper.from_array(v.astype(np.float32), k) for k, v in given.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    session = _session(model.SerializeToString())
    (y,) = session.run(None, {"x": np.ascontiguousarray(x.swapaxes(0, 1))})
    result: Float32 = y[:, 0].swapaxes(0, 1)
    return result
