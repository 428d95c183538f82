"""The imported graph held against torch, node by node: the guard against a wrong gate order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from edgernn.float_engine import run_float
from edgernn.graph import FloatArray, Graph
from edgernn.importer.extras import require_torch
from edgernn.importer.pt2 import first_line, quiet
from edgernn.importer.registry import sentence
from edgernn.importer.trace import Tracer
from edgernn.importer.values import Const, Flow
from edgernn.runtime.errors import UnsupportedError

if TYPE_CHECKING:
    from torch.fx import Node as FxNode

TOLERANCE: Final = 1e-4


def check(tracer: Tracer, graph: Graph, renamed: Mapping[str, str]) -> None:
    """Run both on the example input, if the program has one, and on random data.

    UnsupportedError names the first node whose value differs by more than 1e-4 relative.
    """
    for tensors in _batches(tracer):
        results = _run_torch(tracer, tensors)
        _compare(tracer, graph, renamed, results)


def _batches(tracer: Tracer) -> Iterator[dict[FxNode, Any]]:
    torch = require_torch()
    users = tracer.placeholders
    example = tracer.program.example_inputs
    if example is not None:
        leaves = [t for t in torch.utils._pytree.tree_leaves(example) if torch.is_tensor(t)]
        shapes = [tuple(t.shape) for t in leaves]
        if shapes == [flow.shape for flow in users.values()]:
            yield dict(zip(users, leaves, strict=True))
    generator = torch.Generator().manual_seed(1)

    def drawn(node: FxNode, flow: Flow) -> Any:
        dtype = node.meta["val"].dtype
        if flow.integer:
            low, high = tracer.limits.get(node, (0, 1 + (dtype == torch.bool)))
            return torch.randint(low, high, flow.shape, generator=generator).to(dtype)
        # States of GRU and LSTM lie within +-1.
        return torch.rand(flow.shape, generator=generator) * 2 - 1

    yield {node: drawn(node, flow) for node, flow in users.items()}


def _run_torch(tracer: Tracer, tensors: Mapping[FxNode, Any]) -> dict[FxNode, FloatArray]:
    """Every tensor torch computes, in float32 on the CPU."""
    torch = require_torch()
    recorded: dict[FxNode, FloatArray] = {}

    def plain(value: Any) -> Any:
        if isinstance(value, torch.dtype):
            return torch.float32 if value.is_floating_point else value
        return torch.device("cpu") if isinstance(value, torch.device) else value

    class Recorder(torch.fx.Interpreter):  # type: ignore[misc,name-defined,unused-ignore]
        def run_node(self, n: Any) -> Any:
            if "_assert" in str(n.target):
                return None
            result = super().run_node(n)
            if isinstance(tracer.env.get(n), Flow) and torch.is_tensor(result):
                # In-place operators change what was recorded before.
                recorded[n] = result.detach().float().clone().numpy()
            return result

        def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
            return super().call_function(
                target,
                tuple(plain(a) for a in args),
                {key: plain(value) for key, value in kwargs.items()},
            )

    arguments = []
    for node in tracer.program.graph.nodes:
        if node.op == "placeholder":
            value = tracer.env[node]
            if isinstance(value, Const):
                arguments.append(value.tensor.clone())
            elif node in tensors:
                tensor = tensors[node].detach().cpu()
                arguments.append(tensor.float() if tensor.is_floating_point() else tensor.clone())
            else:
                arguments.append(value)
    try:
        with quiet(), torch.no_grad():
            Recorder(tracer.program.graph_module).run(*arguments, enable_io_processing=False)
    except Exception as error:
        raise UnsupportedError(
            f"torch cannot run the exported graph ({first_line(error)}); export the model again "
            "with this version of torch"
        ) from None
    return recorded


def _compare(
    tracer: Tracer, graph: Graph, renamed: Mapping[str, str], results: Mapping[Any, FloatArray]
) -> None:
    inputs = {
        renamed[name]: _steps(results[node], flow)[0]
        for name, (node, flow) in tracer.inputs.items()
        if name in renamed
    }
    batch = len(next(iter(inputs.values())))
    length = max(value.shape[1] for value in inputs.values())
    for name, value in inputs.items():
        if value.shape[1] not in (1, length):
            raise UnsupportedError(
                f"inputs of {value.shape[1]} and of {length} steps ({name} and another) cannot "
                "advance together; give every input one value per step, of the same steps"
            )
    inputs = {
        name: np.broadcast_to(value, (batch, length, value.shape[2]))
        for name, value in inputs.items()
    }
    states: dict[str, FloatArray] = {}
    known = {state.name for state in graph.states}
    for part in tracer.state_inputs:
        layers = _steps(results[part.node], part.flow)[:, :, 0]
        pairs = zip(part.states, layers, strict=True)
        states.update((name, value) for name, value in pairs if name in known)
    seen: dict[str, FloatArray] = {}
    run_float(graph, inputs, states, lambda name, value: seen.__setitem__(name, value))
    for node, theirs in results.items():
        flow: Flow = tracer.env[node]
        names = [renamed.get(name, name) for name in flow.values]
        if node.op != "call_function" or not all(name in seen for name in names):
            continue
        for name, expected in zip(names, _steps(theirs, flow), strict=True):
            ours = seen[name][:, -1:] if flow.moment == "last" else seen[name]
            if not np.isfinite(expected).all():
                raise UnsupportedError(
                    sentence(node, str(node.target), "gives NaN or infinity in torch itself",
                             "train the model again, or normalise its input")
                )  # fmt: skip
            error = float(np.abs(ours - expected).max(initial=0.0))
            if error > TOLERANCE * max(1.0, float(np.abs(expected).max(initial=0.0))):
                raise UnsupportedError(
                    sentence(node, str(node.target), f"differs from torch by {error:.3g} after "
                             "import", "export the model again with torch.export.export")
                )  # fmt: skip


def _steps(array: FloatArray, flow: Flow) -> FloatArray:
    """A tensor of torch as (layers, N, T, size), by the roles of its axes."""
    axes = [axis for dim in flow.dims for axis in dim]
    split = array.reshape([axis.size for axis in axes])
    roles = [axis.role for axis in axes]
    wanted = ("layer", "batch", "time", "feature")
    # Of layers there may be several axes.
    order = [i for role in wanted for i, own in enumerate(roles) if own == role]
    shape = [
        prod(axis.size for axis in axes if axis.role == role) if role in roles else 1
        for role in wanted
    ]
    steps: FloatArray = split.transpose(order).reshape(shape)
    if flow.padding is not None:
        begin = flow.padding.before
        steps = steps[:, :, begin : begin + flow.padding.time.size]
    return steps
