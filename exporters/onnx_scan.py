"""A program run over time inside an ONNX graph: one Scan whose body is a step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgernn.exporters.onnx_graph import OnnxGraph
from edgernn.exporters.onnx_ops import Emitter
from edgernn.exporters.onnx_tables import Tables
from edgernn.runtime.program import Program


def scan(
    graph: OnnxGraph,
    program: Program,
    tables: Tables,
    initial: Sequence[str],
    sequences: Sequence[str],
    outputs: Sequence[str],
    *,
    reverse: bool = False,
) -> tuple[list[str], list[str]]:
    """Append a Scan; returns the states after it, (N, size), and the outputs, (T, N, size).

    initial: per state (N, size). sequences: per program input (T, N, size). outputs: tensors to
    collect at every step. Everything is int32 and time comes first; reverse runs from the last step
    to the first, and what comes out lies in the order of what went in.
    """
    body = OnnxGraph(parent=graph)
    following = [state.output for state in program.states]
    emitter = Emitter(program, body, {*outputs, *following}, tables)
    for name in (*(state.input for state in program.states), *program.inputs):
        shape = ("N", program.tensors[name].size)
        emitter.values[name] = body.input(body.name(), np.int32, shape)
    emitter.run()
    results = []
    for name in (*following, *outputs):
        # One value may leave the loop several times, or pass through it untouched.
        result = body.node("Identity", [emitter.value(name)])
        body.output(result, np.int32, ("N", program.tensors[name].size))
        results.append(graph.name())
    backwards = {
        "scan_input_directions": [1] * len(sequences),
        "scan_output_directions": [1] * len(outputs),
    }
    graph.nodes(
        "Scan",
        [*initial, *sequences],
        results,
        body=body.proto(),
        num_scan_inputs=len(sequences),
        **(backwards if reverse else {}),
    )
    return results[: len(following)], results[len(following) :]
