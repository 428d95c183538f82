"""A float graph that needs the whole window becomes a window program: nodes are put into stages.

A stage takes every node whose inputs are there, forwards and backwards in turn; what hangs on one
picked step is computed once, at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from edgernn.graph import Graph, Node
from edgernn.lowering.builder import Builder
from edgernn.lowering.program import checked, lower_node
from edgernn.lowering.scales import input_scale
from edgernn.ranges import Ranges
from edgernn.rounding import Rounding
from edgernn.runtime.errors import UnsupportedError
from edgernn.runtime.program import Tensor
from edgernn.runtime.window import Source, Stage, Window, validate_window

PICKS: Final = ("last", "first")


def lower_window(
    graph: Graph,
    ranges: Ranges,
    rounding: Rounding,
    metadata: Mapping[str, Any],
    make: Callable[[Rounding], Builder] = Builder,
) -> Window:
    """Lower a calibrated graph into stages. UnsupportedError if a number does not fit.

    make: what builds each stage, as in `edgernn.lowering.program.lower`.
    """
    inputs = tuple(
        Tensor(name, graph.sizes[name], input_scale(graph, name, ranges)) for name in graph.inputs
    )
    picks = {node.name: node for node in graph.nodes if node.kind in PICKS}
    plan = stages_of(graph)
    known = {tensor.name: tensor for tensor in inputs}
    stages = []
    for number, (direction, nodes) in enumerate(plan):
        later = [node for _, others in plan[number + 1 :] for node in others]
        wanted = _read_outside(graph, nodes, later, picks)
        stage = _lowered(graph, direction, nodes, wanted, known, picks, ranges, make(rounding))
        for name, tensor in stage.program.outputs.items():
            t = stage.program.tensors[tensor]
            known[name] = Tensor(name, t.size, t.scale)
        stages.append(stage)
    outputs = {output.name: _source(output.value, picks) for output in graph.outputs}
    window = Window(inputs, tuple(stages), outputs, metadata)
    validate_window(window, "the lowered model")
    return window


def stages_of(graph: Graph) -> list[tuple[str, list[Node]]]:
    """The nodes of each stage, picks left out, with the direction of the stage."""
    picks = {node.name for node in graph.nodes if node.kind in PICKS}
    once: set[str] = set(picks)
    at_end: list[Node] = []
    scanned: list[Node] = []
    for node in graph.nodes:
        if node.kind in PICKS:
            continue
        if not once.isdisjoint(node.reads):
            if node.carried or not once.issuperset(node.reads):
                raise UnsupportedError(
                    f"{node.name} ({node.kind}) reads one step of the window at every step; "
                    "give every layer either the whole sequence or one step of it"
                )
            once.update(node.outputs)
            at_end.append(node)
        else:
            scanned.append(node)
    done = set(graph.inputs)
    stages: list[tuple[str, list[Node]]] = []
    direction = "forward"
    while scanned:
        taken: list[Node] = []
        for node in scanned:
            turned = bool(node.carried) and node.reverse != (direction == "reverse")
            if not turned and done.issuperset(node.reads):
                done.update(node.outputs)
                taken.append(node)
        # With nothing to scan forwards, functions are computed along with the next scan.
        if taken and (direction == "reverse" or any(node.carried for node in taken)):
            scanned = [node for node in scanned if node not in taken]
            stages.append((direction, taken))
        direction = "forward" if direction == "reverse" else "reverse"
    if at_end:
        stages.append(("once", at_end))
    return stages


def _source(value: str, picks: Mapping[str, Node]) -> Source:
    if value in picks:
        return Source(picks[value].inputs[0], picks[value].kind)
    return Source(value)


def _read_outside(
    graph: Graph, nodes: Sequence[Node], later: Sequence[Node], picks: Mapping[str, Node]
) -> list[str]:
    """Values of a stage that later stages or the caller read."""
    read = [name for node in later for name in node.reads]
    read += [output.value for output in graph.outputs]
    sources = {_source(name, picks).value for name in read}
    return [name for node in nodes for name in node.outputs if name in sources]


def _lowered(
    graph: Graph,
    direction: str,
    nodes: Sequence[Node],
    wanted: Sequence[str],
    known: Mapping[str, Tensor],
    picks: Mapping[str, Node],
    ranges: Ranges,
    builder: Builder,
) -> Stage:
    own = {name for node in nodes for name in node.outputs}
    read = dict.fromkeys(n for node in nodes for n in node.reads if n not in own)
    sources = {name: _source(name, picks) for name in read}
    tensors = {}
    for name, source in sources.items():
        tensor = known[source.value]
        tensors[name] = builder.tensor(name, tensor.size, tensor.scale)
    for node in nodes:
        lower_node(builder, graph, node, tensors, ranges)
    outputs = {name: tensors[name] for name in wanted}
    program = checked(builder.program(tuple(sources), outputs, {}))
    return Stage(program, direction, sources)
