"""Step latency: the NumPy engine against LiteRT, ONNX Runtime's float GRU and torch.nn.GRUCell.

    python -m benchmarks.latency [--json FILE]

One thread, engines interleaved in every round, GRU of random weights; the ratios matter.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import onnx
import onnxruntime
import torch
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray
from torch import nn

from benchmarks.timing import microseconds
from edgernn.console import table
from edgernn.exporters.tflite import to_tflite
from edgernn.graph import Graph
from edgernn.importer import import_model
from edgernn.quantization import quantize_graph
from edgernn.runtime import Program, StepRuntime

SHAPES = ((16, 8), (64, 32), (128, 40), (256, 64))
# The goal: ratio to LiteRT's set_tensor + invoke + get_tensor, and to ONNX Runtime's float step.
GOALS = {16: (2.0, 1.0), 64: (1.0, 1.0), 128: (1.0, 1.5), 256: (1.0, 2.0)}


def quantized_gru(
    hidden: int, features: int
) -> tuple[Graph, Program, NDArray[np.float32], NDArray[np.int16]]:
    """A GRU of random weights: float graph, program, data (8, 64, F), and one input."""
    torch.manual_seed(hidden)
    torch.set_num_threads(1)
    data = np.random.default_rng(hidden).standard_normal((8, 64, features)).astype(np.float32)
    gru = nn.GRU(features, hidden, batch_first=True)
    graph = import_model(gru, (torch.from_numpy(data[:2]),))
    program = quantize_graph(graph, data)
    assert isinstance(program, Program)
    return graph, program, data, (data[0, 0] / float(program.tensors["x"].scale)).astype(np.int16)


def steps(hidden: int, features: int) -> dict[str, Callable[[], object]]:
    """One step of a GRU on each engine, ready to be timed."""
    graph, program, data, x = quantized_gru(hidden, features)
    runtime, cell = StepRuntime(program), nn.GRUCell(features, hidden)
    xt, ht = torch.from_numpy(data[:1, 0]), torch.zeros(1, hidden)
    out = np.empty(hidden, np.int16)

    def torch_step() -> None:
        with torch.inference_mode():
            cell(xt, ht)

    return {
        "NumPy step_int": lambda: runtime.step_int(x),
        "NumPy, out=": lambda: runtime.step_int(x, out=out),
        "LiteRT": litert_step(program, x),
        "ONNX Runtime float": onnx_float_step(graph, data[:1, :1]),
        "torch.nn.GRUCell": torch_step,
    }


def litert_step(program: Program, x: NDArray[np.int16]) -> Callable[[], object]:
    """set_tensor, invoke, get_tensor on the exported .tflite, nothing else."""
    interpreter = Interpreter(model_content=to_tflite(program), num_threads=1)
    interpreter.allocate_tensors()
    arrays = {"x": x} | {f"state_{s.name}": s.initial for s in program.states}
    feeds = [(d["index"], arrays[d["name"]][None]) for d in interpreter.get_input_details()]
    fetches = [d["index"] for d in interpreter.get_output_details()]

    def step() -> None:
        for index, array in feeds:
            interpreter.set_tensor(index, array)
        interpreter.invoke()
        for index in fetches:
            interpreter.get_tensor(index)

    return step


def onnx_float_step(graph: Graph, x: NDArray[np.float32]) -> Callable[[], object]:
    """One step of the bare GRU operator, (1, 1, F) and a state in, a state out."""
    (node,) = graph.nodes
    hidden, features = graph.sizes[node.name], x.shape[-1]

    def stacked(name: str) -> NDArray[np.float32]:
        r, z, n = np.split(node.arrays[name], 3)  # ONNX has the update gate first
        return np.concatenate([z, r, n])[None]

    constants = {
        "W": stacked("weight_ih"),
        "R": stacked("weight_hh"),
        "B": np.concatenate([stacked("bias_ih"), stacked("bias_hh")], axis=1),
    }
    gru = onnx.helper.make_node(
        "GRU",
        ["x", *constants, "", "h"],
        ["", "h_next"],
        hidden_size=hidden,
        linear_before_reset=1,
    )
    shapes = {"x": [1, 1, features], "h": [1, 1, hidden], "h_next": [1, 1, hidden]}
    values = {
        n: onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, s)
        for n, s in shapes.items()
    }
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            [gru],
            "step",
            [values["x"], values["h"]],
            [values["h_next"]],
            [onnx.numpy_helper.from_array(v, n) for n, v in constants.items()],
        ),
        opset_imports=[onnx.helper.make_opsetid("", 14)],
        ir_version=8,
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    feeds = {"x": x, "h": np.zeros((1, 1, hidden), np.float32)}
    return lambda: session.run(None, feeds)


@click.command()
@click.option(
    "--json", "path", type=click.Path(path_type=Path), help="Also write the figures here."
)
def main(path: Path | None) -> None:
    """Print the table and the ratios that are the project's goals."""
    rows, records = [], []
    for hidden, features in SHAPES:
        times = microseconds(steps(hidden, features))
        ours = times["NumPy step_int"]
        to_lite, to_float = ours / times["LiteRT"], ours / times["ONNX Runtime float"]
        goal_lite, goal_float = GOALS[hidden]
        rows.append(
            [f"{hidden} / {features}"]
            + [f"{v:.1f}" for v in times.values()]
            + [f"{to_lite:.2f} (<= {goal_lite})", f"{to_float:.2f} (<= {goal_float})"]
        )
        records.append({"hidden": hidden, "features": features, "microseconds": times})
    header = ["H / I", *times, "ratio to LiteRT", "ratio to float ONNX"]
    print(table(header, rows))
    if path:
        path.write_text(json.dumps(records, indent=2) + "\n")


if __name__ == "__main__":
    main()
