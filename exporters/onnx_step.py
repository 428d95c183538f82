"""A program as an integer ONNX model: one step, or the step scanned over a sequence.

Inputs are the program's inputs and `state_<name>` per state; outputs its public outputs and
`state_<name>_next`. Batch N (and time T) are dynamic, each stream with states of its own. The model
holds int8 weights and no float operator, unless float inputs and outputs are asked for.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import numpy as np

from edgernn.exporters.onnx_graph import OnnxGraph, Shape, refuse_repeated
from edgernn.exporters.onnx_ops import Emitter
from edgernn.exporters.onnx_scan import scan
from edgernn.exporters.onnx_tables import Tables
from edgernn.runtime.errors import InputError
from edgernn.runtime.fixedpoint import INT16_MAX, INT16_MIN
from edgernn.runtime.program import Program, Scale
from edgernn.runtime.validate import validate

_STEP: Final[Shape] = ("N",)
_SEQUENCE: Final[Shape] = ("T", "N")


def to_onnx(program: Program, *, float_io: bool = False, expose: Collection[str] = ()) -> bytes:
    """One time step.

    Inputs x (N, size) int16, state_<name> (N, size) int16; outputs y (N, size) int16,
    state_<name>_next (N, size) int16; x and y by the program's own names.
    float_io: x and y are float32; x is divided by its scale, rounded half away from zero and
    clamped, as QUANTIZE does; NaN is for the caller to refuse. States stay int16.
    expose: internal tensors to return as well, as tensor_<name> (N, size) int16.
    Errors: UnsupportedError for names that collide, InputError for an unknown tensor,
    MissingExtraError without the package onnx.
    """
    outputs, names = _interface(program, expose)
    graph = OnnxGraph(names)
    visible = {*outputs.values(), *(s.output for s in program.states)}
    emitter = Emitter(program, graph, visible)
    for name in program.inputs:
        emitter.values[name] = _read(graph, program, name, float_io, _STEP)
    for state in program.states:
        shape = (*_STEP, program.tensors[state.input].size)
        given = graph.input(f"state_{state.name}", np.int16, shape)
        emitter.values[state.input] = graph.cast(given, np.int32)
    emitter.run()
    for name, tensor in outputs.items():
        as_float = float_io and name in program.outputs
        _write(graph, program, name, tensor, emitter.value(tensor), as_float, _STEP)
    for state in program.states:
        name, value = f"state_{state.name}_next", emitter.value(state.output)
        _write(graph, program, name, state.output, value, False, _STEP)
    return graph.model()


def to_onnx_sequence(
    program: Program, *, float_io: bool = False, expose: Collection[str] = ()
) -> bytes:
    """The same step scanned over time, the same bits.

    Inputs x (T, N, size) int16, time first, and state_<name> (N, size) int16; outputs
    y (T, N, size) int16 and state_<name>_next (N, size) int16, the states after the last step.
    float_io, expose and errors as for `to_onnx`; exposed tensors are (T, N, size).
    """
    outputs, names = _interface(program, expose)
    graph = OnnxGraph(names)
    # Inside the loop everything is int32 already: the casts to and from int16 stay outside.
    initial, sequences = [], []
    for name in program.inputs:
        sequences.append(_read(graph, program, name, float_io, _SEQUENCE))
    for state in program.states:
        size = program.tensors[state.input].size
        given = graph.input(f"state_{state.name}", np.int16, (*_STEP, size))
        initial.append(graph.cast(given, np.int32))
    collected = list(outputs.values())
    finals, stacked = scan(graph, program, Tables(graph), initial, sequences, collected)
    for (name, tensor), value in zip(outputs.items(), stacked, strict=True):
        as_float = float_io and name in program.outputs
        _write(graph, program, name, tensor, value, as_float, _SEQUENCE)
    for state, value in zip(program.states, finals, strict=True):
        _write(graph, program, f"state_{state.name}_next", state.output, value, False, _STEP)
    return graph.model()


def _interface(program: Program, expose: Collection[str]) -> tuple[dict[str, str], list[str]]:
    """Output name -> tensor name, the exposed ones last; and all public names, checked."""
    validate(program)
    unknown = sorted(set(expose) - set(program.tensors))
    if unknown:
        raise InputError(
            f"cannot expose {unknown[0]!r}: the program has no such tensor; "
            f"it has {', '.join(sorted(program.tensors)[:8])}, ..."
        )
    # In the program's order, so that the same request gives the same bytes.
    exposed = {f"tensor_{name}": name for name in program.tensors if name in set(expose)}
    names = [*program.inputs, *program.outputs, *exposed]
    for state in program.states:
        names += [f"state_{state.name}", f"state_{state.name}_next"]
    refuse_repeated(names, "program")
    return {**program.outputs, **exposed}, names


def _read(graph: OnnxGraph, program: Program, name: str, as_float: bool, leading: Shape) -> str:
    """Declare a program input; returns its int32 value."""
    tensor = program.tensors[name]
    shape = (*leading, tensor.size)
    if as_float:
        return _quantized(graph, graph.input(name, np.float32, shape), tensor.scale)
    return graph.cast(graph.input(name, np.int16, shape), np.int32)


def _quantized(graph: OnnxGraph, x: str, scale: Scale) -> str:
    """Round x / scale half away from zero; QuantizeLinear would round halves to even.

    The fraction is exact in float32, and twice a fraction from one half up truncates to one.
    """
    value = graph.node("Div", [x, graph.scalar(float(scale), np.float32)])
    limits = [graph.scalar(limit, np.float32) for limit in (INT16_MIN, INT16_MAX)]
    value = graph.node("Clip", [value, *limits])
    whole = graph.cast(value, np.int32)
    fraction = graph.node("Sub", [value, graph.cast(whole, np.float32)])
    away = graph.cast(graph.node("Add", [fraction, fraction]), np.int32)
    return graph.node("Add", [whole, away])


def _write(
    graph: OnnxGraph,
    program: Program,
    name: str,
    tensor: str,
    value: str,
    as_float: bool,
    leading: Shape,
) -> None:
    """Declare an output, int16 or float32, of an int32 value."""
    shape = (*leading, program.tensors[tensor].size)
    if as_float:
        graph.output(name, np.float32, shape)
        scale = graph.scalar(float(program.tensors[tensor].scale), np.float32)
        graph.node("Mul", [graph.cast(value, np.float32), scale], name)
    else:
        graph.output(name, np.int16, shape)
        graph.cast(value, np.int16, name)
