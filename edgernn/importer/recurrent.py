"""Recurrent layers of torch.nn and of edgernn.nn: one node per layer and direction.

States are named after the module.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from edgernn.cells import CELLS
from edgernn.graph import Carried, FloatArray, Node
from edgernn.importer.registry import Call, rule
from edgernn.importer.shapes import join_dims
from edgernn.importer.values import Axis, Const, Dim, Flow, dim_size, sanitize

if TYPE_CHECKING:
    from edgernn.importer.trace import Tracer

GATES: Final = {"gru": 3, "lstm": 4, "rnn_tanh": 1, "rnn_relu": 1}
_STANDARD: Final = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
_LAYERS: Final = {"gru": "nn.GRU", "lstm": "nn.LSTM", "rnn_tanh": "nn.RNN", "rnn_relu": "nn.RNN"}


@rule("gru.input")
def gru(tracer: Tracer, call: Call) -> list[Flow]:
    """nn.GRU, any number of layers, one direction or both."""
    return _stack(tracer, call, "gru")


@rule("lstm.input")
def lstm(tracer: Tracer, call: Call) -> list[Flow]:
    """nn.LSTM, any number of layers, one direction or both, with or without projection."""
    return _stack(tracer, call, "lstm")


@rule("rnn_tanh.input")
def rnn_tanh(tracer: Tracer, call: Call) -> list[Flow]:
    """nn.RNN with tanh, any number of layers, one direction or both."""
    return _stack(tracer, call, "rnn_tanh")


@rule("rnn_relu.input")
def rnn_relu(tracer: Tracer, call: Call) -> list[Flow]:
    """nn.RNN with ReLU, any number of layers, one direction or both."""
    return _stack(tracer, call, "rnn_relu")


@rule("recurrent")
def recurrent(tracer: Tracer, call: Call) -> list[Flow]:
    """Layers of edgernn.nn, any number of layers, one direction or both."""
    kind = call["kind"]
    if kind not in CELLS:
        raise call.refuse(
            f"is a cell {kind!r} that this edgernn does not have",
            "install the edgernn that wrote it",
        )
    cell = CELLS[kind]
    rows = call["num_layers"] * (1 + call["bidirectional"])
    params, count = list(call["params"]), len(cell.arrays)
    if rows < 1 or len(params) != rows * count:
        raise call.refuse("does not have the weights of its layers", "export the model again")
    arrays = [
        {
            name: tracer.array(call, param, "weights")
            for name, param in zip(cell.arrays, params[i * count : (i + 1) * count], strict=True)
        }
        for i in range(rows)
    ]
    numbers = dict(zip(cell.numbers, call["numbers"], strict=True))
    if call["reverse"] and call["bidirectional"]:
        raise call.refuse("reads both directions backwards", "leave out one of the two")
    stack = Stack(kind, arrays, call["num_layers"], call["bidirectional"], numbers, call["reverse"])
    mask = call["mask"]
    return build(
        tracer, call, stack, list(call["inputs"]), list(call["hx"]), call.node.args[2],
        None if mask is None else _mask(tracer, call, mask),
    )  # fmt: skip


@rule("padding_mask")
def padding_mask(tracer: Tracer, call: Call) -> Flow:
    """lengths of padded sequences: an input of one number a step, 0 where it is padding."""
    lengths, x = call["lengths"], call["x"]
    if not isinstance(lengths, Flow):
        raise call.refuse(
            "has lengths that are a constant",
            "pass lengths, (N,) integers, as an input, or leave them out where nothing is padding",
        )
    if not isinstance(x, Flow):
        raise call.refuse("masks a constant", "give the layer what depends on the input")
    (name,) = lengths.values
    if name not in tracer.inputs or len(lengths.dims) != 1 or lengths.dims[0] == ():
        raise call.refuse("computes its lengths", "pass lengths, (N,) integers, as an input")
    batch, time = (0, 1) if call["batch_first"] else (1, 0)
    _bind_axis(call, x.dims[batch], "batch", batch)
    _bind_axis(call, x.dims[time], "time", time)
    lengths.dims[0][0].join(x.dims[batch][0])
    mask = Flow((name,), x.dims[:2])
    # The stream has a mask, step by step, where the model has lengths.
    tracer.limits[tracer.inputs[name][0]] = (1, x.shape[time] + 1)
    tracer.inputs[name] = (call.node, mask)
    return mask


@dataclass(frozen=True)
class Stack:
    """A call's layers: arrays and numbers of each layer and direction; reverse: the only
    direction is backwards."""

    kind: str
    arrays: list[dict[str, FloatArray]]
    num_layers: int
    bidirectional: bool
    numbers: dict[str, float]
    reverse: bool = False


def _stack(tracer: Tracer, call: Call, kind: str) -> list[Flow]:
    """All layers of one call of torch.nn: the flows y, h_n and for an LSTM c_n."""
    kind, arrays = _weights(tracer, call, kind)
    stack = Stack(kind, arrays, int(call["num_layers"]), bool(call["bidirectional"]), {})
    several = kind.startswith("lstm")
    first = list(call["hx"]) if several else [call["hx"]]
    read = call.node.args[1]
    return build(tracer, call, stack, [call["input"]], first, read if several else [read], None)


def build(
    tracer: Tracer,
    call: Call,
    stack: Stack,
    inputs: list[Flow],
    first: list[Any],
    sources: Any,
    mask: Flow | None,
) -> list[Flow]:
    """Append the nodes of a stack: the flows y and, for each state, (layers, N, S).

    first: initial states, flows or constants, and the fx nodes they come from.
    """
    cell, x = CELLS[stack.kind], inputs[0]
    batch, time = _axes(tracer, call, x)
    for extra in inputs[1:]:
        if _axes(tracer, call, extra) != (batch, time):
            raise AssertionError
        join_dims(call, [x, extra], skip=2)
    prefix = _prefix(call)
    directions = 1 + stack.bidirectional
    rows = stack.num_layers * directions
    letters = cell.states
    names = [tracer.names.state(prefix, letter, rows) for letter in letters]
    initial = [
        _initial(tracer, call, hx, source, own, x.dims[batch])
        for hx, source, own in zip(first, list(sources), names, strict=True)
    ]
    _check_sizes(call, stack, [flow.dims[2] for flow in inputs], initial)
    values, held, outputs = [flow.values[0] for flow in inputs], [], []
    for row in range(rows):
        layer, reverse = divmod(row, directions)
        ending = f"{layer}r" if reverse else f"{layer}"
        # A letter between keeps `<module>_l0` and `<module>_l0_...` of a submodule apart.
        wanted = [f"{prefix}_l{ending}", f"{prefix}_cell{ending}", f"{prefix}_more{ending}"]
        own = tuple(tracer.names.value(sanitize(name)) for name in wanted[: len(cell.outputs)])
        carried = tuple(
            Carried(names[i][row], own[cell.outputs.index(letter)], initial[i][row])
            for i, letter in enumerate(letters)
        )
        tracer.nodes.append(
            Node(
                stack.kind,
                tuple(values),
                own,
                stack.arrays[row],
                carried,
                reverse=stack.reverse or bool(reverse),
                mask="" if mask is None else mask.values[0],
                numbers=stack.numbers,
            )
        )
        held.append(own)
        outputs.append(own[0])
        if row % directions == directions - 1:
            values = outputs[-directions:]
            if stack.bidirectional:
                values = [tracer.emit("concat", values, f"{prefix}_both{layer}")]
    width = len(initial[cell.states.index(cell.outputs[0])][0])
    flows = [x.computed((values[0],), (*x.dims[:2], (Axis(directions * width, "feature"),)))]
    for i, letter in enumerate(letters):
        finals = []
        for row, own in enumerate(held):
            value = own[cell.outputs.index(letter)]
            # What a layer has seen last: the last step, or backwards the first.
            pick = "first" if stack.reverse or row % directions else "last"
            finals.append(tracer.emit(pick, (value,), f"{value}_n") if x.dims[time] else value)
        feature = (Axis(len(initial[i][0]), "feature"),)
        dims = ((Axis(rows, "layer"),), x.dims[batch], feature)
        flows.append(Flow(tuple(finals), dims, "last" if x.dims[time] else x.moment, whole=True))
    return flows


def _check_sizes(
    call: Call, stack: Stack, features: list[Dim], initial: list[list[FloatArray]]
) -> None:
    """One float step of every layer on zeros: weights and states must fit each other."""
    cell, directions = CELLS[stack.kind], 1 + stack.bidirectional
    widths = [dim_size(dim) for dim in features]
    for row, arrays in enumerate(stack.arrays):
        node = Node(stack.kind, (), ("v",), arrays, numbers=stack.numbers)
        states = [rows[row][None] for rows in initial]
        try:
            x = cell.prepare(node, [np.zeros((1, 1, width), np.float32) for width in widths])
            results = cell.step(node, [v[:, 0] for v in x], states, lambda name, value: None)
        except (ValueError, IndexError, KeyError):
            results = []
        shapes = {name: v.shape for name, v in zip(cell.outputs, results, strict=False)}
        if [shapes.get(name) for name in cell.states] != [s.shape for s in states]:
            raise call.refuse(
                "has weights or states that do not fit each other", "export the model again"
            )
        if row % directions == directions - 1:
            widths = [directions * shapes[cell.outputs[0]][1]]


def _weights(tracer: Tracer, call: Call, kind: str) -> tuple[str, list[dict[str, FloatArray]]]:
    """The cell that the call is, and the arrays of each layer and direction."""
    if call["train"] and call["dropout"] > 0:
        raise call.refuse(
            "drops values between its layers at random, because the model was exported in "
            "training mode",
            "call model.eval() first, then export it again",
            _LAYERS[kind],
        )
    rows, params = int(call["num_layers"]) * (1 + call["bidirectional"]), list(call["params"])
    per = 4 if call["has_biases"] else 2
    names = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"][:per]
    gates = GATES[kind]
    if kind == "lstm" and len(params) == rows * (per + 1):
        kind, names = "lstm_projection", [*names, "weight_hr"]
    if rows < 1 or len(params) != rows * len(names):
        raise call.refuse("does not have the weights of its layers", "export the model again")
    stack = []
    for i in range(rows):
        own = params[i * len(names) : (i + 1) * len(names)]
        arrays = {
            name: tracer.array(call, param, "weights")
            for name, param in zip(names, own, strict=True)
        }
        zeros = np.zeros(len(arrays["weight_ih"]), np.float32)
        arrays = {"bias_ih": zeros, "bias_hh": zeros.copy()} | arrays
        hidden = arrays.get("weight_hr", arrays["weight_hh"])
        size = hidden.shape[1] if "weight_hr" in arrays else arrays["weight_hh"].shape[-1]
        lengths = [len(arrays[name]) for name in _STANDARD]
        if lengths != [size * gates] * 4 or arrays["weight_ih"].ndim != 2 or hidden.ndim != 2:
            raise call.refuse("has weights that do not fit each other", "export the model again")
        stack.append(arrays)
    return kind, stack


def _mask(tracer: Tracer, call: Call, mask: Any) -> Flow:
    """A mask over (N, T): an input, or what lengths were turned into."""
    if not isinstance(mask, Flow) or len(mask.dims) != 2 or len(mask.values) != 1:
        raise call.refuse("has a mask that is not (batch, time)", "pass lengths, or such a mask")
    batch, time = (0, 1) if call["batch_first"] else (1, 0)
    _bind_axis(call, mask.dims[batch], "batch", batch)
    _bind_axis(call, mask.dims[time], "time", time)
    x: Flow = call["inputs"][0]
    mask.dims[batch][0].join(x.dims[batch][0])
    mask.dims[time][0].join(x.dims[time][0])
    return mask


def _bind_axis(call: Call, dim: Dim, role: str, position: int) -> None:
    if len(dim) != 1 or not dim[0].bind(role):
        found = dim[0].role if len(dim) == 1 else "merged axes"
        raise call.refuse(
            f"reads axis {position} as {role}, and that axis is {found}",
            "give every recurrent layer the same batch_first, or transpose batch and time",
        )


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
    paths = [p.path for p in call["params"] if isinstance(p, Const) and p.path]
    names = [path.rpartition(".")[2] for path in paths]
    own = call.operator.startswith("edgernn.")
    if names and (own or re.search(r"_l\d+(_reverse)?$", names[0])):
        return sanitize(paths[0].rpartition(".")[0])
    return sanitize(call.node.name)


def _initial(
    tracer: Tracer, call: Call, hx: Any, source: Any, names: list[str], batch: Dim
) -> list[FloatArray]:
    """The first value of each layer: from a constant, or zeros for an input of the model."""
    from edgernn.importer.trace import StateInput

    if isinstance(hx, Const):
        rows = tracer.array(call, hx, "initial state")
        if rows.ndim != 3 or len(rows) != len(names):
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
    bound = _bind(layer, "layer") and _bind(feature, "feature") and _join(own_batch, batch)
    taken = any(part.flow.values == hx.values for part in tracer.state_inputs)
    if not bound or taken or hx.shape[0] != len(names):
        raise call.refuse(
            "starts from an input that is not the state of this layer alone",
            "pass one state of shape (layers, batch, hidden) per layer as an input",
        )
    tracer.state_inputs.append(StateInput(source, hx, tuple(names)))
    return [np.zeros(hx.shape[2], np.float32) for _ in names]


def _bind(dim: Dim, role: str) -> bool:
    return len(dim) <= 1 and all(axis.bind(role) for axis in dim)


def _join(dim: Dim, other: Dim) -> bool:
    if len(dim) == 1 and len(other) == 1:
        return dim[0].join(other[0])
    return _bind(dim, "batch") and len(other) <= 1
