"""The walk over a torch.export graph: every node becomes a flow, a constant, a number or an error.

Rules live in `rules`, `shapes` and `recurrent`; here is what they share, and the dispatch.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from edgernn.cells import CELLS
from edgernn.graph import FloatArray, Node
from edgernn.importer import (  # noqa: F401  (they register rules)
    activations,
    arithmetic,
    batch_norm,
    convolution,
    embedding,
    heads,
    normalization,
    pooling,
    recurrent,
    rules,
    shapes,
)
from edgernn.importer.constants import fold, is_foldable
from edgernn.importer.convolution import TAKE_OVERHANG, TAKE_PADDED
from edgernn.importer.refusals import (
    CONTEXTS,
    LAYERS,
    OTHERWISE,
    PADDED,
    REFUSALS,
    SINGLE_CELLS,
    TOKENS,
)
from edgernn.importer.registry import RULES, Call, find, layer_of, sentence
from edgernn.importer.symbols import concrete_shape, symbol_values
from edgernn.importer.values import Axis, Const, Dim, Flow, Names, sanitize
from edgernn.runtime.errors import UnsupportedError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram
    from torch.fx import Node as FxNode

_IGNORED: Final = frozenset(
    [
        "_assert_tensor_metadata",
        "_assert_scalar",
        "_assert_async",
        "sym_constrain_range",
        "sym_constrain_range_for_size",
        "_functional_assert_async",
    ]
)
_TAKE_INTEGERS: Final = shapes.SIZE_OPERATORS.union(
    ["recurrent", "padding_mask", "embedding", "to", "_to_copy", "contiguous", "clone", "detach"],
    ["alias", "select", "slice", "squeeze", "unsqueeze", "transpose", "permute"],
)


@dataclass
class StateInput:
    """An input of the model that is a layer's initial state: the node read, and state names."""

    node: FxNode
    flow: Flow
    states: tuple[str, ...]


@dataclass
class Tracer:
    """The graph under construction, and what each node of the exported graph stands for."""

    program: ExportedProgram
    env: dict[FxNode, Any] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    slices: dict[str, int] = field(default_factory=dict)
    inputs: dict[str, tuple[FxNode, Flow]] = field(default_factory=dict)
    state_inputs: list[StateInput] = field(default_factory=list)
    names: Names = field(default_factory=Names)
    returned: list[Any] = field(default_factory=list)
    # Placeholder of integers -> the least, and one more than the largest, that it may hold.
    limits: dict[FxNode, tuple[int, int]] = field(default_factory=dict)
    placeholders: dict[FxNode, Flow] = field(default_factory=dict)
    # Values that are the first step of others, which only a model that reads backwards may take.
    first_steps: dict[str, Call] = field(default_factory=dict)

    def run(self) -> None:
        """Read every node; UnsupportedError at the first that cannot be taken."""
        self._order = {node: i for i, node in enumerate(self.program.graph.nodes)}
        symbols = symbol_values(self.program)
        placeholders = iter(self.program.graph_signature.input_specs)
        self._reserve()
        self._refuse_cells()
        for node in self.program.graph.nodes:
            if node.op == "placeholder":
                self.env[node] = self._placeholder(node, next(placeholders), symbols)
            elif node.op == "call_function":
                self.env[node] = self._call(node)
            elif node.op == "output":
                self.returned = list(self.resolve(node.args[0]))
            else:
                self.env[node] = None

    def resolve(self, argument: Any) -> Any:
        """An argument of a node with every node replaced by what it stands for."""
        if isinstance(argument, (list, tuple)):
            return [self.resolve(item) for item in argument]
        if hasattr(argument, "op") and argument in self.env:
            return self.env[argument]
        return argument

    def emit(
        self,
        kind: str,
        inputs: Sequence[str],
        wanted: str,
        arrays: Mapping[str, FloatArray] | None = None,
        begin: int = 0,
        numbers: Mapping[str, float] | None = None,
    ) -> str:
        """Append a layer without state; returns the name of its value."""
        name = self.names.value(sanitize(wanted))
        self.nodes.append(
            Node(kind, tuple(inputs), (name,), arrays or {}, begin=begin, numbers=numbers or {})
        )
        return name

    def emit_slice(self, x: str, wanted: str, begin: int, size: int) -> str:
        """Append a run of features."""
        name = self.emit("slice", (x,), wanted, begin=begin)
        self.slices[name] = size
        return name

    def features(self, call: Call, dim: Dim) -> int:
        """Bind a dimension as the features of a step and return its size."""
        if len(dim) > 1 or not all(axis.bind("feature") for axis in dim):
            raise call.refuse(
                "mixes time, batch or layers into the features of a step",
                "keep the features of one step in the last axis, (batch, time, features)",
            )
        return dim[0].size if dim else 1

    def array(self, call: Call, const: Any, what: str) -> FloatArray:
        """The float32 copy of a weight; UnsupportedError if it is computed or not finite."""
        if not isinstance(const, Const):
            raise call.refuse(
                f"computes its {what} from the input", "make it a parameter of the layer"
            )
        array = np.array(const.tensor.numpy(), dtype=np.float32, order="C")
        if not np.isfinite(array).all():
            raise call.refuse(
                f"has NaN or infinity in its {what} ({const.path or 'a constant'})",
                "train the model again, or load an earlier checkpoint",
            )
        return array

    def sizes(self, order: Sequence[Node], inputs: Mapping[str, int]) -> dict[str, int]:
        """Value name -> features, for nodes in execution order."""
        sizes = dict(inputs)
        for node in order:
            if node.kind in CELLS:
                sizes.update((c.value, len(c.initial)) for c in node.carried)
                own = node.arrays.get("weight")
                size = sizes[node.inputs[0]] if own is None else len(own)
                sizes.update((n, size) for n in node.outputs if n not in sizes)
                continue
            if node.kind == "linear":
                size = len(node.arrays["weight"])
            elif node.kind == "concat":
                size = sum(sizes[name] for name in node.inputs)
            elif node.kind == "slice":
                size = self.slices[node.name]
            elif node.kind == "embedding":
                size = node.arrays["table"].shape[1]
            else:
                size = sizes[node.inputs[0]]
            sizes.update(dict.fromkeys(node.outputs, size))
        return sizes

    def _refuse_cells(self) -> None:
        """A loop over single cells is told as such, not by the step it takes out of the input; so
        is training mode, not by what it counts."""
        for node in self.program.graph.nodes:
            batch_norm.refuse_training(node)
            refusal = SINGLE_CELLS.get(str(node.target).removeprefix("aten.").partition(".")[0])
            if refusal is not None:
                raise UnsupportedError(
                    sentence(node, str(node.target), refusal.reason, refusal.way_out, refusal.layer)
                )

    def _reserve(self) -> None:
        count = sum(spec.kind.name == "USER_INPUT" for spec in self._specs)
        for name in ("x", *(f"x{i}" for i in range(count))):
            self.names.reserve(name)

    @property
    def _specs(self) -> list[Any]:
        return list(self.program.graph_signature.input_specs)

    def _placeholder(self, node: FxNode, spec: Any, symbols: Mapping[Any, int]) -> Any:
        if spec.kind.name in ("PARAMETER", "BUFFER", "CONSTANT_TENSOR"):
            tensor: Any = self.program.state_dict.get(spec.target)
            if tensor is None:
                tensor = self.program.constants.get(spec.target)
            if tensor is None:
                raise UnsupportedError(
                    f"{spec.target} has no value in the exported program; export the model again"
                )
            return Const(_float32(tensor), spec.target)
        value: Any = node.meta.get("val")
        if spec.kind.name != "USER_INPUT" or not hasattr(value, "shape"):
            if hasattr(spec.arg, "value"):
                return spec.arg.value
            raise UnsupportedError(
                f"input {node.name} is not a tensor; fix its value in forward and export again"
            )
        if value.is_complex():
            raise UnsupportedError(
                f"input {node.name} is complex; feed its real and imaginary parts as features"
            )
        dims = tuple((Axis(size),) for size in concrete_shape(value.shape, symbols))
        name = f"@{len(self.inputs)}"
        flow = Flow((name,), dims, integer=not value.is_floating_point())
        self.inputs[name] = (node, flow)
        self.placeholders[node] = flow
        return flow

    def _call(self, node: FxNode) -> Any:
        target: Any = node.target
        if target is operator.getitem:
            return self.resolve(node.args[0])[node.args[1]]
        namespace = getattr(target, "namespace", None)
        if namespace is None:
            arguments = self.resolve(list(node.args))
            if all(isinstance(a, (int, float)) for a in arguments):
                return target(*arguments)
        if namespace not in ("aten", "edgernn"):
            refusal = CONTEXTS.get(getattr(target, "__name__", ""), OTHERWISE)
            name = str(target)
            raise UnsupportedError(
                sentence(node, name, refusal.reason, refusal.way_out, refusal.layer)
            )
        call = Call(node, str(target), _bind(target, self.resolve(list(node.args)), {
            key: self.resolve(value) for key, value in node.kwargs.items()
        }))  # fmt: skip
        return self._aten(call)

    def _aten(self, call: Call) -> Any:
        packet = call.operator.split(".")[1]
        if packet in _IGNORED:
            return None
        flows = list(_flows(call.args.values()))
        if not flows and is_foldable(call.operator):
            return fold(call)
        handler = find(RULES, call.operator)
        refusal = LAYERS.get(layer_of(call.node)) or find(REFUSALS, call.operator)
        if handler is None or not (flows or packet == "dropout"):
            refusal = refusal or OTHERWISE
        elif any(flow.integer for flow in flows) and packet not in _TAKE_INTEGERS:
            refusal = TOKENS
        elif any(
            flow.padding and packet not in (TAKE_PADDED if flow.padding.before else TAKE_OVERHANG)
            for flow in flows
        ):
            refusal = PADDED
        if refusal is not None:
            raise call.refuse(refusal.reason, refusal.way_out, refusal.layer)
        try:
            result = handler(self, call)
        except (LookupError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
            raise call.refuse(
                f"has arguments edgernn does not understand ({type(error).__name__})",
                "write it in one of the forms of the documentation",
            ) from error
        if packet.endswith("_") and isinstance(result, Flow):
            result = self._replace(call, flows[0], result)
        return result

    def _replace(self, call: Call, before: Flow, after: Flow) -> Flow:
        """After an in-place operator, every view of its operand shows the new numbers."""
        after = after.view(after.dims, storage=before.storage)
        here = self._order[call.node]
        for node, value in list(self.env.items()):
            shared = [f for f in _flows([value]) if f.storage is before.storage]
            read_later = any(self._order[user] > here for user in node.users)
            if not shared or not read_later or before.storage is None:
                continue
            whole = isinstance(value, Flow) and value.values == before.values
            if not whole or value.moment != before.moment:
                raise call.refuse(
                    f"changes a part of {node.name} in place, which is read later",
                    "use the form that returns a new tensor, without the underscore",
                )
            self.env[node] = value.view(value.dims, values=after.values)
        return after


def _bind(target: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by the names in the operator's schema, defaults filled in."""
    bound: dict[str, Any] = {}
    for i, argument in enumerate(target._schema.arguments):
        if i < len(args) and not argument.kwarg_only:
            bound[argument.name] = args[i]
        elif argument.name in kwargs:
            bound[argument.name] = kwargs[argument.name]
        elif argument.has_default_value():
            bound[argument.name] = argument.default_value
    return bound


def _flows(values: Any) -> Iterator[Flow]:
    for value in values:
        if isinstance(value, Flow):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _flows(value)


def _float32(tensor: Tensor) -> Tensor:
    tensor = tensor.detach().cpu()
    return tensor.float() if tensor.is_floating_point() else tensor
