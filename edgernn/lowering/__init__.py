"""From the float graph to the integer program: each cell is lowered once, into operators.

A new cell is a module here with `lower(builder, node, x, ranges)` and an entry in CELLS; no
exporter and no engine knows of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from edgernn.graph import Graph, Node
from edgernn.lowering import feedforward, gru, lstm, rnn
from edgernn.lowering.builder import Builder
from edgernn.ranges import Ranges
from edgernn.rounding import Rounding
from edgernn.runtime.errors import FileFormatError, UnsupportedError
from edgernn.runtime.program import Program
from edgernn.runtime.validate import validate

CELLS: Final[dict[str, Callable[[Builder, Node, str, Ranges], tuple[str, ...]]]] = {
    "gru": gru.lower,
    "lstm": lstm.lower,
    "rnn_tanh": rnn.lower,
    "rnn_relu": rnn.lower,
}


def lower(graph: Graph, ranges: Ranges, rounding: Rounding, metadata: Mapping[str, Any]) -> Program:
    """Lower a calibrated float graph. UnsupportedError if a number does not fit the scheme."""
    builder = Builder(rounding)
    tensors: dict[str, str] = {}
    for name in graph.inputs:
        scale = feedforward.free_scale(graph, name, ranges)
        tensors[name] = builder.tensor(name, graph.sizes[name], scale)
    for node in graph.nodes:
        inputs = [tensors[name] for name in node.inputs]
        if node.kind in CELLS:
            results = CELLS[node.kind](builder, node, inputs[0], ranges)
        elif node.kind in feedforward.LAYERS:
            results = (feedforward.LAYERS[node.kind](builder, graph, node, inputs, ranges),)
        else:
            raise UnsupportedError(f"no lowering for {node.kind} ({node.name})")
        tensors.update(zip(node.outputs, results, strict=True))
    outputs = {output.name: tensors[output.value] for output in graph.outputs}
    program = builder.program(tuple(tensors[n] for n in graph.inputs), outputs, metadata)
    try:
        validate(program, "the lowered model")
    except FileFormatError as error:
        raise UnsupportedError(
            f"{error}; this comes of values of very different size, so normalise the model's "
            "inputs and train it again"
        ) from None
    return program
