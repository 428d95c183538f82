"""Everything that must hold before a program is executed, whatever file it came from."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import numpy as np

from edgernn.runtime.errors import FileFormatError
from edgernn.runtime.functions import TABLES
from edgernn.runtime.operators import KINDS
from edgernn.runtime.program import Operator, Program

MAX_SIZE: Final = 65536
MAX_OPERATORS: Final = 4096
MAX_NAMES: Final = 32768
"""Tensors, and operands of all operators together: what a few bytes of a file can ask for."""
MAX_ELEMENTS: Final = 1 << 23
"""Sizes of all tensors together; an engine holds each in memory, once per stream."""
NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,127}")


def validate(program: Program, where: str = "the program") -> None:
    """Raise FileFormatError, naming the operator or tensor, unless the program can be executed.

    where: what the message calls the program, for instance the file it was read from.
    """

    def refuse(reason: str) -> FileFormatError:
        return FileFormatError(f"{where} is not a valid edgernn program: {reason}")

    if not 1 <= len(program.operators) <= MAX_OPERATORS:
        raise refuse(f"it has {len(program.operators)} operators, not 1 to {MAX_OPERATORS}")
    operands = sum(len(op.inputs) + len(op.outputs) for op in program.operators)
    if max(operands, len(program.tensors), len(program.states)) > MAX_NAMES:
        raise refuse(f"it has more than {MAX_NAMES} tensors or operands")
    for key, tensor in program.tensors.items():
        if key != tensor.name or not NAME.fullmatch(key):
            raise refuse(f"{key[:64]!r} is not a tensor name")
        if not 1 <= tensor.size <= MAX_SIZE:
            raise refuse(f"tensor {key} has size {tensor.size}, not 1 to {MAX_SIZE}")
    elements = sum(tensor.size for tensor in program.tensors.values())
    if elements > MAX_ELEMENTS:
        raise refuse(f"its tensors hold {elements} elements, more than {MAX_ELEMENTS}")

    written = set(program.inputs)
    for state in program.states:
        written.add(state.input)
    if len(written) != len(program.inputs) + len(program.states) or not program.inputs:
        raise refuse("its inputs and states are missing or not distinct")
    for name, values in program.constants.items():
        if name in written or name not in program.tensors:
            raise refuse(f"constant {name[:64]!r} is an input, or none of its tensors")
        if values.shape != (program.tensors[name].size,) or values.dtype != np.int16:
            raise refuse(f"constant {name} is not {program.tensors[name].size} int16")
        written.add(name)
    unknown = sorted(written - set(program.tensors))
    if unknown:
        raise refuse(f"input {unknown[0][:64]!r} is not one of its tensors")

    for op in program.operators:
        _check_operator(op, program, written, refuse)
        written.update(op.outputs)
    idle = next((name for name in program.tensors if name not in written), None)
    if idle is not None:
        raise refuse(f"tensor {idle} is not computed")

    if not program.outputs:
        raise refuse("it has no output")
    for name, source in program.outputs.items():
        if not NAME.fullmatch(name) or source not in written:
            raise refuse(f"output {name[:64]!r} is not computed")
    if len({state.name for state in program.states}) != len(program.states):
        raise refuse("two states have one name")
    for state in program.states:
        if not NAME.fullmatch(state.name):
            raise refuse(f"{state.name[:64]!r} is not a state name")
        if state.output not in written:
            raise refuse(f"the next value of state {state.name} is not computed")
        before, after = program.tensors[state.input], program.tensors[state.output]
        if (before.size, before.scale) != (after.size, after.scale):
            raise refuse(f"state {state.name} changes its size or scale")
        if state.initial.shape != (before.size,) or state.initial.dtype != np.int16:
            raise refuse(f"the initial value of state {state.name} is not {before.size} int16")


def _check_operator(
    op: Operator, program: Program, written: set[str], refuse: Callable[[str], FileFormatError]
) -> None:
    kind = KINDS.get(op.kind)
    if kind is None:
        raise refuse(f"operator kind {op.kind[:64]!r} is not known to this version")
    if not op.outputs:
        raise refuse(f"an operator {op.kind} has no output")
    repeated = len(set(op.outputs)) != len(op.outputs)
    for name in op.outputs:
        if name not in program.tensors or name in written or repeated:
            raise refuse(f"operator {op.name[:64]!r} ({op.kind}) writes {name[:64]!r} wrongly")
    for name in op.inputs:
        if name not in written:
            raise refuse(f"operator {op.name} ({op.kind}) reads {name[:64]!r} too early")
    for count, expected in ((len(op.inputs), kind.inputs), (len(op.outputs), kind.outputs)):
        if count != expected and (expected is not None or count < 1):
            raise refuse(f"operator {op.name} ({op.kind}) has {count} operands, not {expected}")
    if (op.matrix is not None) != (op.kind == "linear"):
        raise refuse(f"operator {op.name} ({op.kind}) has a matrix where none belongs, or none")
    if (op.table is not None) != (op.kind in TABLES):
        raise refuse(f"operator {op.name} ({op.kind}) has a table where none belongs, or none")
    try:
        kind.check(
            op, [program.tensors[n] for n in op.inputs], [program.tensors[n] for n in op.outputs]
        )
    except ValueError as error:
        raise refuse(f"operator {op.name} ({op.kind}): {error}") from None
