"""A program as a .tflite file: one subgraph is one step, states are inputs and outputs.

The file runs with the program's bits on ai-edge-litert and on tflite-runtime 2.14.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Final

from edgernn.exporters.tflite_ops import EMITTERS, Emitter, conv_2d, fully_connected
from edgernn.exporters.tflite_writer import ModelWriter
from edgernn.runtime.errors import InputError
from edgernn.runtime.program import Program
from edgernn.runtime.validate import validate

# A convolution takes tensors of four dimensions; the other operators take any.
PRODUCTS: Final[Mapping[str, tuple[Emitter, int]]] = {
    "conv_2d": (conv_2d, 4),
    "fully_connected": (fully_connected, 2),
}
DESCRIPTION: Final = "edgernn step"


def to_tflite(
    program: Program,
    *,
    product: str = "conv_2d",
    float_io: bool = False,
    expose: Collection[str] = (),
) -> bytes:
    """The content of a .tflite file with one signature, `step`.

    Inputs: the program's inputs, and `state_<name>` for every state. Outputs: the program's
    outputs, `state_<name>_next`, and `tensor_<name>` for every tensor named in `expose`. Every one
    is (1, size) int16 with zero point 0; with float_io the program's own inputs and outputs, not
    the states and the exposed tensors, are float32. An initial state that is not zero is kept as
    metadata, `initial_state_<name>`, int16 little-endian. Equal programs give equal bytes.

    product: "conv_2d" rounds as the program does on every runtime. "fully_connected" is faster on
    LiteRT, which from version 2 rounds ties of negative accumulators away from zero: at most two
    accumulator values per row then give one less than the program does.

    Raises InputError for an unknown option or tensor, or a name used twice; FileFormatError for a
    program that is not valid; UnsupportedError for a product of one row that FULLY_CONNECTED cannot
    compute exactly; MissingExtraError without the extra `tflite`.
    """
    if product not in PRODUCTS:
        raise InputError(f"product {product!r} is unknown; choose one of {', '.join(PRODUCTS)}")
    validate(program)
    unknown = sorted(set(expose) - set(program.tensors))
    if unknown:
        raise InputError(
            f"cannot expose {unknown[0]!r}: the program has no such tensor; "
            "its names are the keys of program.tensors"
        )
    linear, rank = PRODUCTS[product]
    inputs = [*program.inputs, *(f"state_{s.name}" for s in program.states)]
    exposed = {f"tensor_{name}": name for name in sorted(set(expose))}
    following = {f"state_{s.name}_next": s.output for s in program.states}
    for names in (inputs, [*program.outputs, *following, *exposed]):
        name, count = Counter(names).most_common(1)[0]
        if count > 1:
            raise InputError(
                f"the signature would have two tensors {name!r}; "
                "rename the input, output or state of the model that has this name"
            )

    step = _Step(program, ModelWriter(rank, {*inputs, *program.outputs, *following, *exposed}))
    for name in program.inputs:
        step.input(name, name, as_float=float_io)
    for state in program.states:
        step.input(f"state_{state.name}", state.input, as_float=False)
    step.constants()
    step.operators({**EMITTERS, "linear": linear})
    # States first: a float output is then read from the state's own tensor.
    for name, source in following.items():
        step.output(name, source, as_float=False)
    for name, source in program.outputs.items():
        step.output(name, source, as_float=float_io)
    for name, source in exposed.items():
        step.output(name, source, as_float=False)

    order = [*program.outputs, *following, *exposed]
    initial = {
        f"initial_state_{s.name}": s.initial.astype("<i2").tobytes()
        for s in program.states
        if s.initial.any()
    }
    outputs = {name: step.outputs[name] for name in order}
    return step.writer.finish(step.inputs, outputs, DESCRIPTION, initial)


class _Step:
    """The subgraph: users' tensors of shape (1, size) around operators of the writer's rank."""

    def __init__(self, program: Program, writer: ModelWriter) -> None:
        self.program, self.writer = program, writer
        self.inputs: dict[str, int] = {}
        self.outputs: dict[str, int] = {}
        # Program tensor -> index, as operators take it and as users see it.
        self._inner: dict[str, int] = {}
        self._flat: dict[str, int] = self._inner if writer.rank == 2 else {}
        self._public: set[int] = set()

    def input(self, name: str, tensor: str, *, as_float: bool) -> None:
        """A signature input that becomes a tensor of the program."""
        w, t = self.writer, self.program.tensors[tensor]
        shape = (1, t.size)
        if as_float:
            index = w.tensor(name, shape, None, "FLOAT32", public=True)
            flat = w.tensor(tensor, shape, t.scale)
            w.operator("QUANTIZE", [index], [flat], w.schema.QuantizeOptionsT())
        else:
            index = flat = w.tensor(name, shape, t.scale, public=True)
            self._public.add(index)
        self.inputs[name] = index
        self._flat[tensor] = flat

    def constants(self) -> None:
        """The tensors that no operator writes."""
        for name, values in self.program.constants.items():
            t = self.program.tensors[name]
            shape = self.writer.inner_shape(t.size)
            index = self.writer.constant(name, values.reshape(shape), [t.scale])
            self._inner[name] = index
            # A constant is no output either: users get a copy.
            self._public.add(index)

    def operators(self, emitters: Mapping[str, Emitter]) -> None:
        """Every operator of the program, in its order."""
        for op in self.program.operators:
            ins = [self._inner_index(name) for name in op.inputs]
            for name in op.outputs:
                t = self.program.tensors[name]
                shape = self.writer.inner_shape(t.size)
                self._inner[name] = self.writer.tensor(name, shape, t.scale)
            outs = [self._inner[name] for name in op.outputs]
            emitters[op.kind](self.writer, self.program, op, ins, outs)

    def output(self, name: str, tensor: str, *, as_float: bool) -> None:
        """A signature output, a tensor of its own, that holds a tensor of the program."""
        w = self.writer
        shape = (1, self.program.tensors[tensor].size)
        if tensor not in self._flat:
            self._flat[tensor] = w.reshape(self._inner[tensor], f"{tensor}_flat", shape)
        index = self._flat[tensor]
        if as_float:
            index = w.tensor(name, shape, None, "FLOAT32", public=True)
            w.operator("DEQUANTIZE", [self._flat[tensor]], [index], w.schema.DequantizeOptionsT())
        elif index in self._public:
            # Interpreters want every output to be a tensor of its own.
            index = w.reshape(index, name, shape, public=True)
        else:
            w.rename(index, name)
        self._public.add(index)
        self.outputs[name] = index

    def _inner_index(self, tensor: str) -> int:
        if tensor not in self._inner:
            shape = self.writer.inner_shape(self.program.tensors[tensor].size)
            self._inner[tensor] = self.writer.reshape(self._flat[tensor], f"{tensor}_inner", shape)
        return self._inner[tensor]
