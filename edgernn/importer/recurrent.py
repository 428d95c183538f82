"""nn.GRU, nn.LSTM and nn.RNN: one node per layer, states named after the module."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from edgernn.graph import GATES, Carried, FloatArray
from edgernn.importer.registry import Call, rule
from edgernn.importer.values import Axis, Const, Dim, Flow, sanitize

if TYPE_CHECKING:
    from edgernn.importer.trace import Tracer

_LAYERS: Final = {"gru": "nn.GRU", "lstm": "nn.LSTM", "rnn_tanh": "nn.RNN", "rnn_relu": "nn.RNN"}


@rule("gru.input")
def gru(tracer: Tracer, call: Call) -> list[Flow]:
    """nn.GRU, any number of layers, one direction."""
    return _stack(tracer, call, "gru")


@rule("lstm.input")
def lstm(tracer: Tracer, call: Call) -> list[Flow]:
    """nn.LSTM, any number of layers, one direction, without projection."""
    return _stack(tracer, call, "lstm")


@rule("rnn_tanh.input")
def rnn_tanh(tracer: Tracer, call: Call) -> list[Flow]:
    """nn.RNN with tanh, any number of layers, one direction."""
    return _stack(tracer, call, "rnn_tanh")


@rule("rnn_relu.input")
def rnn_relu(tracer: Tracer, call: Call) -> list[Flow]:
    """nn.RNN with ReLU, any number of layers, one direction."""
    return _stack(tracer, call, "rnn_relu")


def _stack(tracer: Tracer, call: Call, kind: str) -> list[Flow]:
    """All layers of one call: the flows y, h_n and for an LSTM c_n."""
    layers, weights = _weights(tracer, call, kind)
    x = call["input"]
    batch, time = _axes(tracer, call, x)
    hidden = weights[0]["weight_hh"].shape[1]
    prefix = _prefix(call)
    kinds = ("h", "c") if kind == "lstm" else ("h",)
    first = call["hx"] if kind == "lstm" else [call["hx"]]
    read = call.node.args[1]
    sources = list(read) if isinstance(read, (list, tuple)) else [read]
    names = [tracer.names.state(prefix, k, layers) for k in kinds]
    initial = [
        _initial(tracer, call, *parts, batch) for parts in zip(first, sources, names, strict=True)
    ]
    value, outputs = x.values[0], []
    for layer in range(layers):
        # A letter between keeps `<module>_l0` and `<module>_l0_...` of a submodule apart.
        wanted = [f"{prefix}_l{layer}", f"{prefix}_cell{layer}"][: len(kinds)]
        held = tuple(tracer.names.value(sanitize(name)) for name in wanted)
        carried = tuple(
            Carried(names[i][layer], held[i], initial[i][layer]) for i in range(len(kinds))
        )
        tracer.emit_cell(kind, value, held, weights[layer], carried)
        outputs.append(held)
        value = held[0]
    moment = "last" if x.dims[time] else x.moment
    feature = (Axis(hidden, "feature"),)
    states = [
        Flow(tuple(held[i] for held in outputs), ((Axis(layers, "layer"),), x.dims[batch], feature),
             moment, whole=True)
        for i in range(len(kinds))
    ]  # fmt: skip
    return [x.computed((value,), (*x.dims[:2], feature)), *states]


def _weights(tracer: Tracer, call: Call, kind: str) -> tuple[int, list[dict[str, FloatArray]]]:
    layer = _LAYERS[kind]
    if call["bidirectional"]:
        raise call.refuse(
            "has bidirectional=True, and a streaming step has only seen the past",
            "train it with bidirectional=False",
            layer,
        )
    if call["train"] and call["dropout"] > 0:
        raise call.refuse(
            "drops values between its layers at random, because the model was exported in "
            "training mode",
            "call model.eval() first, then export it again",
            layer,
        )
    layers, params = int(call["num_layers"]), list(call["params"])
    per = 4 if call["has_biases"] else 2
    if len(params) == layers * (per + 1):
        raise call.refuse(
            "has proj_size > 0, whose projection is not lowered to integers",
            "train it with proj_size=0, and put an nn.Linear after the layer if needed",
            layer,
        )
    if layers < 1 or len(params) != layers * per:
        raise call.refuse("does not have the weights of its layers", "export the model again")
    stack = []
    for i in range(layers):
        own = [tracer.array(call, p, "weights") for p in params[i * per : (i + 1) * per]]
        zeros = np.zeros(len(own[0]), np.float32)
        own += [] if call["has_biases"] else [zeros, zeros.copy()]
        arrays = dict(zip(("weight_ih", "weight_hh", "bias_ih", "bias_hh"), own, strict=True))
        rows = arrays["weight_hh"].shape[-1] * GATES[kind]
        if [len(a) for a in own] != [rows] * 4 or own[0].ndim != 2 or own[1].ndim != 2:
            raise call.refuse("has weights that do not fit each other", "export the model again")
        stack.append(arrays)
    return layers, stack


def _axes(tracer: Tracer, call: Call, x: Any) -> tuple[int, int]:
    """Bind batch, time and features of the layer's input; the positions of batch and time."""
    if not isinstance(x, Flow) or len(x.values) != 1 or len(x.dims) != 3:
        raise call.refuse("does not read a sequence", "feed it (batch, time, features)")
    if x.moment == "last":
        raise call.refuse(
            "reads the last step of another layer, so it would run once per sequence",
            "feed it the whole sequence of the layer before",
        )
    batch, time = (0, 1) if call["batch_first"] else (1, 0)
    for position, role in ((batch, "batch"), (time, "time")):
        dim = x.dims[position]
        if len(dim) > 1 or not all(axis.bind(role) for axis in dim):
            found = "merged axes" if len(dim) > 1 else dim[0].role
            raise call.refuse(
                f"reads axis {position} as {role}, and that axis is {found}",
                "give every recurrent layer the same batch_first, or transpose batch and time",
            )
    tracer.features(call, x.dims[2])
    return batch, time


def _prefix(call: Call) -> str:
    first = call["params"][0]
    if isinstance(first, Const) and first.path.rpartition(".")[2].startswith("weight_"):
        return sanitize(first.path.rpartition(".")[0])
    return sanitize(call.node.name)


def _initial(
    tracer: Tracer, call: Call, hx: Any, source: Any, names: list[str], batch: int
) -> list[FloatArray]:
    """The first value of each layer: from a constant, or zeros for an input of the model."""
    from edgernn.importer.trace import StateInput

    x: Flow = call["input"]
    hidden = call["params"][1].tensor.shape[1]
    if isinstance(hx, Const):
        rows = tracer.array(call, hx, "initial state")
        if rows.shape[::2] != (len(names), hidden) or rows.ndim != 3:
            raise call.refuse("has an initial state of another shape", "export the model again")
        if not (rows == rows[:, :1]).all():
            raise call.refuse(
                "starts each sequence of the batch from a state of its own",
                "start from zeros, from one learned vector, or from a state that is an input",
            )
        return [row[0].copy() for row in rows]
    if not isinstance(hx, Flow) or hx.values[0] not in tracer.inputs or len(hx.values) != 1:
        raise call.refuse(
            "starts from a state that the model computes",
            "start from zeros, a parameter, or a state that is an input of the model",
        )
    layer, own_batch, feature = hx.dims
    bound = _bind(layer, "layer") and _bind(feature, "feature") and _join(own_batch, x.dims[batch])
    taken = any(part.flow.values == hx.values for part in tracer.state_inputs)
    if not bound or taken or hx.shape[::2] != (len(names), hidden):
        raise call.refuse(
            "starts from an input that is not the state of this layer alone",
            "pass one state of shape (layers, batch, hidden) per layer as an input",
        )
    tracer.state_inputs.append(StateInput(source, hx, tuple(names)))
    return [np.zeros(hidden, np.float32) for _ in names]


def _bind(dim: Dim, role: str) -> bool:
    return len(dim) <= 1 and all(axis.bind(role) for axis in dim)


def _join(dim: Dim, other: Dim) -> bool:
    if len(dim) == 1 and len(other) == 1:
        return dim[0].join(other[0])
    return _bind(dim, "batch") and len(other) <= 1
