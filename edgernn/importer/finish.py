"""From the walked graph to the frozen one: outputs chosen, inputs named, dead nodes dropped."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from edgernn.graph import Graph, Node, Output
from edgernn.importer.heads import Heads, without_heads
from edgernn.importer.parts import without_joints
from edgernn.importer.shapes import refuse_first_step
from edgernn.importer.trace import Tracer
from edgernn.importer.values import Flow
from edgernn.runtime.errors import UnsupportedError


def finish(tracer: Tracer, heads: Heads = "logits") -> tuple[Graph, dict[str, str]]:
    """The graph, and the names its inputs had while it was read -> their public names.

    heads: `logits` leaves what an output ends with, such as softmax, out and records it.
    """
    outputs, states = _outputs(tracer)
    widths = {name: _width(flow) for name, (_, flow) in tracer.inputs.items()}
    sizes = tracer.sizes(tracer.nodes, widths)
    made, same = without_joints(tracer.nodes, sizes, tracer.first_steps)
    outputs, states = ([_renamed(flow, same) for flow in flows] for flows in (outputs, states))
    live, nodes = _live_nodes(made, outputs, states)
    if not any(node.carried for node in nodes):
        raise UnsupportedError(
            "the model has no recurrent layer that its outputs depend on; edgernn takes models "
            "with layers such as nn.GRU, nn.LSTM, nn.RNN or those of edgernn.nn, and other "
            "exporters serve feedforward models better"
        )
    inputs = _inputs(tracer, live, {node.mask for node in nodes})
    renamed = _input_names(inputs, {node.mask for node in nodes})
    if not any(node.reverse for node in nodes):
        nodes = _without_picks(tracer, nodes, renamed)
    elif tracer.state_inputs:
        raise UnsupportedError(
            "the model starts from a state that is an input and reads its window backwards; start "
            "from zeros or from a constant, a window carries no state over"
        )
    nodes = [
        replace(
            node,
            inputs=tuple(renamed.get(name, name) for name in node.inputs),
            mask=renamed.get(node.mask, node.mask),
        )
        for node in nodes
    ]
    values = [renamed.get(flow.values[0], flow.values[0]) for flow in outputs]
    left_out = [""] * len(values)
    if heads == "logits":
        nodes, values, left_out = without_heads(tracer, nodes, values)
    widths = {renamed[name]: _width(flow) for name, flow in inputs.items()}
    sizes = tracer.sizes(nodes, widths)
    renamed |= {name: renamed.get(value, value) for name, value in same.items()}
    graph = Graph(
        sizes,
        tuple(renamed[name] for name in inputs),
        tuple(
            Output("y" if len(outputs) == 1 else f"y{i}", value, flow.moment == "last", head)
            for i, (value, flow, head) in enumerate(zip(values, outputs, left_out, strict=True))
        ),
        tuple(nodes),
        _batch_first(inputs),
        unreturned=len(states) if any(node.reverse for node in nodes) else 0,
    )
    return graph, renamed


def _renamed(flow: Flow, same: dict[str, str]) -> Flow:
    return flow.view(flow.dims, values=tuple(same.get(name, name) for name in flow.values))


def _input_names(inputs: Iterable[str], masks: set[str]) -> dict[str, str]:
    """Names in the graph -> x, or x0 and x1; mask, for one that only masks."""
    data = [name for name in inputs if name not in masks]
    padding = [name for name in inputs if name in masks]
    names = {old: "x" if len(data) == 1 else f"x{i}" for i, old in enumerate(data)}
    names |= {old: "mask" if len(padding) == 1 else f"mask{i}" for i, old in enumerate(padding)}
    return {old: names[old] for old in inputs}


def _without_picks(tracer: Tracer, nodes: list[Node], renamed: dict[str, str]) -> list[Node]:
    """A stream has each step once: its last step is the one that is there."""
    kept = []
    for node in nodes:
        if node.kind == "first":
            raise refuse_first_step(tracer.first_steps[node.name])
        if node.kind == "last":
            renamed[node.name] = renamed.get(node.inputs[0], node.inputs[0])
        else:
            kept.append(node)
    return kept


def _outputs(tracer: Tracer) -> tuple[list[Flow], list[Flow]]:
    """What the model returns, and the states it returns whole."""
    flows: list[Flow] = []
    specs = tracer.program.graph_signature.output_specs
    for i, (spec, value) in enumerate(zip(specs, tracer.returned, strict=True)):
        if spec.kind.name != "USER_OUTPUT":
            raise UnsupportedError(
                f"forward changes {spec.target or spec.arg.name} of the model in place; return "
                "the state and take it as an input, or leave it to the layer's own state"
            )
        if value is None:
            continue
        if not isinstance(value, Flow):
            raise UnsupportedError(
                f"output {i} of the model is a constant; return only what depends on the input"
            )
        flows.append(value)
    states = [flow for flow in flows if flow.whole]
    chosen = [flow for flow in flows if not flow.whole]
    if not chosen:
        chosen = states
    if not chosen:
        raise UnsupportedError("the model returns nothing; return the output of a layer")
    for i, flow in enumerate(chosen):
        if flow.padding is not None:
            raise UnsupportedError(
                f"output {i} of the model has steps that only padding made; cut them off, "
                "y[..., :-P], or use edgernn.nn.CausalConv1d"
            )
        _check_output(i, flow)
    return chosen, states


def _check_output(position: int, flow: Flow) -> None:
    if len(flow.values) > 1:
        raise UnsupportedError(
            f"output {position} of the model holds {len(flow.values)} layers or directions at "
            "once; return the state of one, such as h[-1], or of both directions side by side, "
            "torch.cat([h[-2], h[-1]], dim=1)"
        )
    features = [i for i, dim in enumerate(flow.dims) if any(axis.role == "feature" for axis in dim)]
    if any(len(flow.dims[i]) > 1 for i in features):
        raise UnsupportedError(
            f"output {position} of the model merges time or batch into its features; return "
            "(batch, time, features)"
        )
    if features and features[0] != len(flow.dims) - 1:
        raise UnsupportedError(
            f"output {position} of the model does not have its features in the last axis; return "
            "(batch, time, features), and transpose outside the model"
        )


def _live_nodes(
    made: list[Node], outputs: list[Flow], states: list[Flow]
) -> tuple[set[str], list[Node]]:
    """Names that outputs and returned states depend on, and the nodes that compute them."""
    live = {value for flow in (*outputs, *states) for value in flow.values}
    kept = []
    for node in reversed(made):
        if live.intersection(node.outputs):
            live.update(node.reads)
            kept.append(node)
    return live, kept[::-1]


def _inputs(tracer: Tracer, live: set[str], masks: set[str]) -> dict[str, Flow]:
    states = {part.flow.values[0] for part in tracer.state_inputs}
    used = {name: entry for name, entry in tracer.inputs.items() if name in live}
    if not used:
        raise UnsupportedError(
            "the outputs do not depend on an input of the model; feed the layer the sequence"
        )
    for name, (node, flow) in used.items():
        if name in states:
            raise UnsupportedError(
                f"input {node.name} is both a state and data; pass it as two inputs"
            )
        if flow.integer and node not in tracer.limits and name not in masks:
            raise UnsupportedError(
                f"input {node.name} holds integers that no nn.Embedding reads; feed what is a "
                "quantity as floating point"
            )
    first = [flow for _, flow in used.values()]
    for node, flow in used.values():
        _bind_rest(first, flow)
        roles = [axis.role for dim in flow.dims for axis in dim]
        known = [role for role in roles if role is not None]
        if len(known) != len(roles) or len(set(known)) != len(known) or "layer" in known:
            raise UnsupportedError(
                f"input {node.name} has axes edgernn cannot tell apart {flow.shape}; feed "
                "(batch, time, features)"
            )
    return {name: flow for name, (_, flow) in used.items()}


def _bind_rest(flows: list[Flow], flow: Flow) -> None:
    """An input that no recurrent layer reads is laid out like one that does."""
    for other in flows:
        roles = [dim[0].role for dim in other.dims]
        if len(other.dims) == len(flow.dims) and None not in roles:
            for (axis,), role in zip(flow.dims, roles, strict=True):
                if axis.role is None and role is not None:
                    axis.bind(role)


def _width(flow: Flow) -> int:
    sizes = [axis.size for dim in flow.dims for axis in dim if axis.role == "feature"]
    return sizes[0] if sizes else 1


def _batch_first(inputs: dict[str, Flow]) -> bool:
    for flow in inputs.values():
        roles = [axis.role for dim in flow.dims for axis in dim]
        if "batch" in roles and "time" in roles:
            return roles.index("batch") < roles.index("time")
    return True
