"""TensorFlow Lite operators for the operators of a program, one emitter per kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from edgernn.exporters.tflite_tables import cast, embedding, lookup, rsqrt
from edgernn.exporters.tflite_writer import ModelWriter
from edgernn.runtime.errors import UnsupportedError
from edgernn.runtime.program import Operator, Program, Scale

Emitter = Callable[[ModelWriter, Program, Operator, list[int], list[int]], None]


def conv_2d(
    w: ModelWriter, program: Program, op: Operator, ins: list[int], outs: list[int]
) -> None:
    """A matrix product as a 1x1 convolution over one pixel; its rounding is the program's."""
    s = w.schema
    options = s.Conv2DOptionsT(padding=s.Padding.VALID, strideW=1, strideH=1)
    assert op.matrix is not None
    rows, columns = op.matrix.weight.shape
    _product(w, program, op, ins, outs, "CONV_2D", (rows, 1, 1, columns), options)


def fully_connected(
    w: ModelWriter, program: Program, op: Operator, ins: list[int], outs: list[int]
) -> None:
    """A matrix product as FULLY_CONNECTED with one scale per row."""
    assert op.matrix is not None
    shape = op.matrix.weight.shape
    bias_scale: list[Scale] = []
    if shape[0] == 1:
        # One row takes the kernels' other path: it multiplies the scales in float32 and wants to
        # find the product at the bias.
        scale_in, scale_out = (program.tensors[n].scale for n in (op.inputs[0], op.outputs[0]))
        (row,) = op.matrix.row_scales(scale_in, scale_out)
        try:
            bias_scale = [Scale.of(scale_in.fraction * row.fraction)]
        except ValueError as error:
            raise UnsupportedError(
                f"operator {op.name} has one row, and its scale does not fit a FULLY_CONNECTED "
                f"({error}); export with product='conv_2d'"
            ) from None
    options = w.schema.FullyConnectedOptionsT()
    _product(w, program, op, ins, outs, "FULLY_CONNECTED", shape, options, bias_scale)


def _product(
    w: ModelWriter,
    program: Program,
    op: Operator,
    ins: list[int],
    outs: list[int],
    code: str,
    shape: Sequence[int],
    options: Any,
    bias_scale: Sequence[Scale] = (),
) -> None:
    matrix = op.matrix
    assert matrix is not None
    scale_in, scale_out = (program.tensors[n].scale for n in (op.inputs[0], op.outputs[0]))
    scales = matrix.row_scales(scale_in, scale_out)
    weight = w.constant(f"{op.name}.weight", matrix.weight.reshape(shape), scales)
    # int64: an int32 bias selects kernels that round in three different ways.
    bias = w.constant(f"{op.name}.bias", matrix.bias.astype(np.int64), bias_scale)
    w.operator(code, [ins[0], weight, bias], outs, options)


def _split(w: ModelWriter, program: Program, op: Operator, ins: list[int], outs: list[int]) -> None:
    s = w.schema
    axis = w.constant("axis", np.array(w.rank - 1, np.int32))
    sizes = [program.tensors[name].size for name in op.outputs]
    if len(set(sizes)) == 1:
        w.operator("SPLIT", [axis, ins[0]], outs, s.SplitOptionsT(numSplits=len(sizes)))
    else:
        parts = w.constant(f"{op.name}.sizes", np.array(sizes, np.int32))
        w.operator("SPLIT_V", [ins[0], parts, axis], outs, s.SplitVOptionsT(numSplits=len(sizes)))


def _select(
    w: ModelWriter, program: Program, op: Operator, ins: list[int], outs: list[int]
) -> None:
    # int16 has no comparison in one of the runtimes; everything but 0 becomes true.
    mask = cast(w, ins[0], op.name, "BOOL", w.inner_shape(program.tensors[op.inputs[0]].size))
    w.operator("SELECT_V2", [mask, *ins[1:]], outs, w.schema.SelectV2OptionsT())


def _plain(code: str, options: Callable[[Any, int], Any]) -> Emitter:
    def emit(
        w: ModelWriter, program: Program, op: Operator, ins: list[int], outs: list[int]
    ) -> None:
        w.operator(code, ins, outs, options(w.schema, w.rank))

    return emit


EMITTERS: Final[Mapping[str, Emitter]] = {
    "add": _plain("ADD", lambda s, _: s.AddOptionsT(potScaleInt16=False)),
    "sub": _plain("SUB", lambda s, _: s.SubOptionsT(potScaleInt16=False)),
    "mul": _plain("MUL", lambda s, _: s.MulOptionsT()),
    "logistic": _plain("LOGISTIC", lambda s, _: None),
    "tanh": _plain("TANH", lambda s, _: None),
    "relu": _plain("RELU", lambda s, _: None),
    "rescale": _plain("QUANTIZE", lambda s, _: s.QuantizeOptionsT()),
    "concat": _plain("CONCATENATION", lambda s, rank: s.ConcatenationOptionsT(axis=rank - 1)),
    "split": _split,
    "maximum": _plain("MAXIMUM", lambda s, _: s.MaximumMinimumOptionsT()),
    "select": _select,
    "lookup": lookup,
    "rsqrt": rsqrt,
    "embedding": embedding,
}
