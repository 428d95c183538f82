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
import onnxruntime
import torch
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray
from torch import nn

from benchmarks.timing import microseconds
from edgernn.console import table
from edgernn.exporters.tflite import to_tflite
from edgernn.float_onnx import float_onnx
from edgernn.graph import Graph
from edgernn.importer import import_model
from edgernn.quantization import quantize_graph
from edgernn.runtime import Program, StepRuntime

SHAPES = ((16, 8), (64, 32), (128, 40), (256, 64))
# The goal: ratio to LiteRT's set_tensor + invoke + get_tensor, and to ONNX Runtime's float step.
GOALS = {16: (2.0, 1.0), 64: (1.0, 1.0), 128: (1.0, 1.5), 256: (1.0, 2.0)}


def measure(hidden: int, features: int) -> dict[str, float]:
    """Median microseconds of one step for each engine."""
    torch.manual_seed(hidden)
    torch.set_num_threads(1)
    rng = np.random.default_rng(hidden)
    gru, cell = nn.GRU(features, hidden, batch_first=True), nn.GRUCell(features, hidden)
    data = rng.standard_normal((8, 64, features)).astype(np.float32)
    graph = import_model(gru, (torch.from_numpy(data[:2]),))
    program = quantize_graph(graph, data)
    runtime = StepRuntime(program)
    x = (data[0, 0] / float(program.tensors["x"].scale)).astype(np.int16)
    xt, ht = torch.from_numpy(data[:1, 0]), torch.zeros(1, hidden)
    out = np.empty(hidden, np.int16)

    def torch_step() -> None:
        with torch.inference_mode():
            cell(xt, ht)

    return microseconds(
        {
            "NumPy step_int": lambda: runtime.step_int(x),
            "NumPy, out=": lambda: runtime.step_int(x, out=out),
            "LiteRT": litert_step(program, x),
            "ONNX Runtime float": onnx_float_step(graph, data[:1, :1]),
            "torch.nn.GRUCell": torch_step,
        }
    )


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
    """One step of the float reference, a standard GRU operator."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        float_onnx(graph), options, providers=["CPUExecutionProvider"]
    )
    feeds = {"x": x} | {f"state_{s.name}": s.initial[None] for s in graph.states}
    return lambda: session.run(None, feeds)


@click.command()
@click.option("--json", "path", type=click.Path(path_type=Path), help="Also write the figures here.")
def main(path: Path | None) -> None:
    """Print the table and the ratios that are the project's goals."""
    rows, records = [], []
    for hidden, features in SHAPES:
        times = measure(hidden, features)
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
