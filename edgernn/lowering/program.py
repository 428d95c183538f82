"""A calibrated float graph becomes one integer program, node by node."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from edgernn.cells import CELLS
from edgernn.graph import Feedback, Graph, Node
from edgernn.lowering import feedforward
from edgernn.lowering.builder import Builder
from edgernn.lowering.scales import free_scale, input_scale
from edgernn.ranges import Ranges
from edgernn.rounding import Rounding
from edgernn.runtime.errors import FileFormatError, UnsupportedError
from edgernn.runtime.program import Operator, Program, Scale
from edgernn.runtime.validate import validate


def lower(
    graph: Graph,
    ranges: Ranges,
    rounding: Rounding,
    metadata: Mapping[str, Any],
    make: Callable[[Rounding], Builder] = Builder,
) -> Program:
    """Lower a calibrated float graph. UnsupportedError if a number does not fit the scheme.

    make: what builds the program; a builder of one's own sees every number before it is rounded.
    """
    builder = make(rounding)
    tensors: dict[str, str] = {}
    for name in graph.inputs:
        scale = input_scale(graph, name, ranges)
        for f in graph.feedback:
            # What is fed back must fit too.
            while f.input == name and float(scale) < float(free_scale(graph, f.output, ranges)):
                scale = Scale(scale.mantissa, scale.exponent + 1)
        tensors[name] = builder.tensor(name, graph.sizes[name], scale)
    for f in graph.feedback:
        tensors[f.input] = builder.tensor(
            f"{f.input}_or_last", graph.sizes[f.input], builder.scale(f.input)
        )
    for node in graph.nodes:
        lower_node(builder, graph, node, tensors, ranges)
    builder.begin("")
    for f in graph.feedback:
        _close(builder, f, tensors)
    outputs = {output.name: tensors[output.value] for output in graph.outputs}
    return checked(builder.program(graph.inputs, outputs, metadata))


def _close(builder: Builder, feedback: Feedback, tensors: dict[str, str]) -> None:
    """What the step reads is chosen in front of everything else, now that its scale is known."""
    last, chosen = tensors[feedback.output], tensors[feedback.input]
    behind = len(builder.operators)
    zeros = np.zeros(builder.size(last), np.float32)
    state = builder.state(feedback.state, len(zeros), builder.scale(last), zeros)
    builder.mask = ""
    builder.carry(feedback.state, last)
    read = builder.rescale(f"{feedback.state}_read", state, builder.scale(chosen))
    builder.operators.append(Operator("select", (feedback.given, feedback.input, read), (chosen,)))
    builder.operators[:] = builder.operators[behind:] + builder.operators[:behind]


def lower_node(
    builder: Builder, graph: Graph, node: Node, tensors: dict[str, str], ranges: Ranges
) -> None:
    """Append one node; tensors, value -> tensor, gets the values that it writes."""
    inputs = [tensors[name] for name in node.inputs]
    builder.begin(node.name)
    if node.kind in CELLS:
        builder.mask = tensors[node.mask] if node.mask else ""
        results = CELLS[node.kind].lower(builder, node, tuple(inputs), ranges)
        builder.mask = ""
    elif node.kind in feedforward.LAYERS:
        results = (feedforward.LAYERS[node.kind](builder, graph, node, inputs, ranges),)
    else:
        raise UnsupportedError(f"no lowering for {node.kind} ({node.name})")
    tensors.update(zip(node.outputs, results, strict=True))


def checked(program: Program) -> Program:
    """The program, if it is valid; UnsupportedError that says where the numbers do not fit."""
    try:
        validate(program, "the lowered model")
    except FileFormatError as error:
        raise UnsupportedError(
            f"{error}; this comes of values of very different size, so normalise the model's "
            "inputs and train it again"
        ) from None
    return program
