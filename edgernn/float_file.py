"""The float network in a file: what a program was made from, read with NumPy alone.

`edgernn export` writes it beside the program, as model.float.safetensors. It holds the graph, the
float32 weights and how far each value reached in calibration, which is enough to lower the network
again, in other sizes too, and to say where the integer program differs from it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgernn.cells import CELLS
from edgernn.float_engine import run_float
from edgernn.graph import Carried, Feedback, Graph, Node, Output
from edgernn.layers import LAYERS_FLOAT
from edgernn.runtime.container import Arrays, Layout, pack, unpack
from edgernn.runtime.errors import EdgernnError, FileFormatError
from edgernn.runtime.program import Program
from edgernn.runtime.validate import MAX_NAMES, MAX_OPERATORS, MAX_SIZE
from edgernn.runtime.window import Window

FLOAT_FILE: Final = "model.float.safetensors"
LAYOUT: Final = Layout(
    format="edgernn-float",
    version=1,
    description="network",
    dtypes=("F32",),
    dimensions=3,
    title="the float network of an edgernn program",
    source="`edgernn export --int8`",
)
_PICKS: Final = ("last", "first")


@dataclass(frozen=True, eq=False)
class FloatModel:
    """A float network, and value name -> how far it reached in calibration, as `Ranges` has it."""

    graph: Graph
    amplitudes: Mapping[str, float]

    def __post_init__(self) -> None:
        object.__setattr__(self, "amplitudes", MappingProxyType(dict(self.amplitudes)))


def float_to_bytes(model: FloatModel) -> bytes:
    """The file's content; the same model gives the same bytes."""
    graph = model.graph
    arrays: Arrays = {}
    for i, node in enumerate(graph.nodes):
        arrays |= {f"{i}.{name}": array for name, array in node.arrays.items()}
        arrays |= {f"{i}.state.{j}": state.initial for j, state in enumerate(node.carried)}
    description = {
        "sizes": dict(graph.sizes),
        "inputs": graph.inputs,
        "outputs": [asdict(output) for output in graph.outputs],
        "nodes": [_described(node) for node in graph.nodes],
        "batch_first": graph.batch_first,
        "feedback": [asdict(feedback) for feedback in graph.feedback],
        "unreturned": graph.unreturned,
        "amplitudes": {name: float(value) for name, value in model.amplitudes.items()},
    }
    return pack(LAYOUT, description, arrays)


def _described(node: Node) -> dict[str, Any]:
    return {
        "kind": node.kind,
        "inputs": node.inputs,
        "outputs": node.outputs,
        "arrays": list(node.arrays),
        "carried": [[state.name, state.value] for state in node.carried],
        "begin": node.begin,
        "reverse": node.reverse,
        "mask": node.mask,
        "numbers": dict(node.numbers),
    }


def load_float(path: str | os.PathLike[str]) -> FloatModel:
    """Read a float network. FileFormatError if it is not sound."""
    name = os.fspath(path)
    try:
        data = np.frombuffer(Path(name).read_bytes(), np.uint8)
    except OSError as error:
        raise FileFormatError(f"cannot read {name}: {error.strerror or error}") from None
    return float_from_bytes(data, name)


def float_model_of(program: Program | Window, path: str | os.PathLike[str]) -> FloatModel:
    """`load_float` of the network that a program was made from; FileFormatError if it is another's:
    as `require_same_network` sees it, or by the layers that the program says it was made from."""
    model, where = load_float(path), os.fspath(path)
    require_same_network(program, model.graph, where)
    layers = [[node.kind, list(node.reads), list(node.outputs)] for node in model.graph.nodes]
    network: Any = program.metadata.get("network", [])
    try:
        made_from = [[node["kind"], node["reads"], node["writes"]] for node in network]
    except (TypeError, KeyError):
        made_from = []
    if made_from and made_from != layers:
        raise _of_another(where, "layers")
    return model


def require_same_network(program: Program | Window, graph: Graph, where: str) -> None:
    """FileFormatError unless a graph has the inputs, outputs and states of a program, by name and
    size. where: what the message calls the graph."""
    found = {
        "inputs": {name: graph.sizes[name] for name in graph.inputs},
        "outputs": {output.name: graph.sizes[output.value] for output in graph.outputs},
    }
    if isinstance(program, Window):
        tensors = program.tensors()
        own = {s.name: len(s.initial) for stage in program.stages for s in stage.program.states}
        found["states"] = {s.name: len(s.initial) for s in graph.states if s.name in own}
        wanted = {
            "states": {name: own[name] for name in found["states"]},
            "inputs": {tensor.name: tensor.size for tensor in program.inputs},
            "outputs": {n: tensors[s.value].size for n, s in program.outputs.items()},
        }
    else:
        sizes = {name: tensor.size for name, tensor in program.tensors.items()}
        found["states"] = {state.name: len(state.initial) for state in graph.states}
        wanted = {
            "inputs": {name: sizes[name] for name in program.inputs},
            "outputs": {name: sizes[tensor] for name, tensor in program.outputs.items()},
            "states": {state.name: sizes[state.input] for state in program.states},
        }
    for what, expected in wanted.items():
        if found[what] != expected:
            raise _of_another(where, what)


def _of_another(where: str, what: str) -> FileFormatError:
    return FileFormatError(
        f"{where} is of another model: its {what} are not those of the program; "
        "export the model again"
    )


def float_from_bytes(data: NDArray[np.uint8], where: str) -> FloatModel:
    """Parse and check a file's content; `where` is what messages call it."""
    try:
        description, arrays = unpack(LAYOUT, data, where)
        model = _build(description, arrays)
        _try(model)
    except EdgernnError as error:
        if isinstance(error, FileFormatError):
            raise
        raise FileFormatError(f"{where} is not a valid float network: {error}") from None
    except RecursionError:
        raise FileFormatError(f"{where} is not a valid float network: nested too deep") from None
    except Exception as error:
        # What does not fit together fails somewhere in a step, in as many ways as there are.
        reason = f"{type(error).__name__}: {str(error)[:200]}"
        raise FileFormatError(f"{where} is not a valid float network: {reason}") from None
    return model


def _build(description: Mapping[str, Any], arrays: Arrays) -> FloatModel:
    if len(description["nodes"]) > MAX_OPERATORS or len(description["sizes"]) > MAX_NAMES:
        raise ValueError("it has too many layers")
    sizes = {_text(name): _size(size) for name, size in description["sizes"].items()}
    for array in arrays.values():
        if not np.isfinite(array).all():
            raise ValueError("a weight is not finite")
    nodes = [_node(i, entry, arrays) for i, entry in enumerate(description["nodes"])]
    if arrays:
        raise ValueError(f"no layer has an array {next(iter(arrays))[:64]!r}")
    graph = Graph(
        sizes,
        _texts(description["inputs"]),
        tuple(
            Output(_text(o["name"]), _text(o["value"]), _flag(o["last"]), _text(o["head"]))
            for o in description["outputs"]
        ),
        tuple(nodes),
        _flag(description["batch_first"]),
        tuple(
            Feedback(*(_text(f[part]) for part in ("output", "input", "given", "state")))
            for f in description["feedback"]
        ),
        _size(description["unreturned"], least=0),
    )
    amplitudes = {_text(k): _number(v) for k, v in description["amplitudes"].items()}
    if any(value < 0 for value in amplitudes.values()):
        raise ValueError("an amplitude is negative")
    return FloatModel(graph, amplitudes)


def _node(index: int, entry: Mapping[str, Any], arrays: Arrays) -> Node:
    kind = entry["kind"]
    if kind not in CELLS and kind not in LAYERS_FLOAT and kind not in _PICKS:
        raise ValueError(f"there is no layer {str(kind)[:64]!r}")
    names = _texts(entry["arrays"])
    if kind in CELLS and sorted(names) != sorted(CELLS[kind].arrays):
        raise ValueError(f"layer {index} has not the arrays of its kind")
    carried = tuple(
        Carried(_text(name), _text(value), _vector(arrays.pop(f"{index}.state.{j}")))
        for j, (name, value) in enumerate(entry["carried"])
    )
    return Node(
        kind,
        _texts(entry["inputs"]),
        _texts(entry["outputs"]),
        {name: arrays.pop(f"{index}.{name}") for name in names},
        carried,
        _size(entry["begin"], least=0),
        _flag(entry["reverse"]),
        _text(entry["mask"]),
        {_text(k): _number(v) for k, v in entry["numbers"].items()},
    )


def _try(model: FloatModel) -> None:
    """A step of zeros: every value must have the size that the file says, and an amplitude."""
    graph, found = model.graph, dict[str, int]()

    def observe(name: str, value: NDArray[np.float32]) -> None:
        found[name] = value.shape[-1]

    with np.errstate(all="ignore"):
        zeros = {name: np.zeros((1, 1, graph.sizes[name]), np.float32) for name in graph.inputs}
        run_float(graph, zeros, observe=observe)
    written = [*graph.inputs, *(name for node in graph.nodes for name in node.outputs)]
    if sorted(written) != sorted(graph.sizes):
        raise ValueError("the values of its layers are not those it lists")
    for name in written:
        if found[name] != graph.sizes[name]:
            raise ValueError(f"{name[:64]} has {found[name]} features")
    missing = found.keys() - model.amplitudes
    if missing:
        raise ValueError(f"it does not say how far {min(missing)[:64]} reached")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("a name is no text")
    return value


def _texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list):
        raise TypeError("names are no list")
    return tuple(_text(value) for value in values)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("a flag is neither true nor false")
    return value


def _size(value: Any, least: int = 1) -> int:
    if type(value) is not int or not least <= value <= MAX_SIZE:
        raise ValueError("a size is no whole number in range")
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not np.isfinite(value):
        raise ValueError("a number is not finite")
    number: float = value
    return number


def _vector(array: NDArray[np.float32]) -> NDArray[np.float32]:
    if array.ndim != 1:
        raise ValueError("an initial state is no vector")
    return array
