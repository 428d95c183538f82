"""A program as JSON and named arrays, and back; what a file holds of it.

An operator gives its tensors by their index, or by name. A window program is its stages, in order;
the arrays of stage i are called `<i>/<name>`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgernn.runtime.container import DTYPES, Arrays
from edgernn.runtime.functions import TABLES
from edgernn.runtime.program import Matrix, Operator, Program, Scale, State, Tensor
from edgernn.runtime.validate import MAX_NAMES, MAX_OPERATORS, MAX_SIZE
from edgernn.runtime.window import MAX_STAGES, Source, Stage, Window

_MATRIX: Final = {"weight": "I8", "bias": "I64", "multiplier": "I32", "shift": "I32"}
_ZEROS: Final = np.zeros(MAX_SIZE, np.int16)
_ZEROS.setflags(write=False)


def arrays_of(program: Program | Window) -> Arrays:
    """Everything but the description: weights, tables, constants, initial states, by name."""
    if isinstance(program, Window):
        return {
            f"{i}/{name}": array
            for i, stage in enumerate(program.stages)
            for name, array in arrays_of(stage.program).items()
        }
    arrays: Arrays = {}
    for op in program.operators:
        if op.matrix is not None:
            for part in _MATRIX:
                arrays[f"{op.name}.{part}"] = getattr(op.matrix, part)
        if op.table is not None:
            arrays[f"{op.name}.table"] = op.table
    for name, values in program.constants.items():
        arrays[f"{name}.constant"] = values
    for state in program.states:
        if state.initial.any():
            arrays[f"{state.name}.initial"] = state.initial
    return arrays


def described(program: Program | Window) -> dict[str, Any]:
    """The description, of what JSON has."""
    return _window_json(program) if isinstance(program, Window) else _program_json(program)


def build(description: Mapping[str, Any], arrays: Arrays) -> Program | Window:
    """The program of a description, still to be validated; arrays is emptied.

    ValueError, KeyError, TypeError, AttributeError or IndexError if it is none.
    """
    if "stages" not in description:
        program = _build(description, arrays)
        _refuse_rest(arrays)
        return program
    if len(description["stages"]) > MAX_STAGES:
        raise ValueError(f"it has more than {MAX_STAGES} stages")
    stages = []
    for i, stage in enumerate(description["stages"]):
        own = {name: arrays.pop(name) for name in list(arrays) if name.startswith(f"{i}/")}
        own = {name.partition("/")[2]: array for name, array in own.items()}
        program = _build(stage["program"], own)
        _refuse_rest(own)
        sources = {name: _source(source) for name, source in stage["sources"].items()}
        stages.append(Stage(program, str(stage["direction"]), sources))
    _refuse_rest(arrays)
    inputs = tuple(
        Tensor(name, _integer(size), Scale(_integer(mantissa), _integer(exponent)))
        for name, size, mantissa, exponent in description["inputs"]
    )
    outputs = {name: _source(source) for name, source in description["outputs"].items()}
    return Window(inputs, tuple(stages), outputs, _metadata(description))


def _source(value: Any) -> Source:
    return Source(*_names(value))


def _refuse_rest(arrays: Arrays) -> None:
    if arrays:
        raise ValueError(f"tensor {next(iter(arrays))[:64]!r} belongs to nothing")


def _metadata(description: Mapping[str, Any]) -> dict[str, Any]:
    metadata = description.get("metadata", {})
    if not isinstance(metadata, dict):
        raise ValueError("its metadata is not a mapping")
    return metadata


def _window_json(window: Window) -> dict[str, Any]:
    return {
        "inputs": [[t.name, t.size, t.scale.mantissa, t.scale.exponent] for t in window.inputs],
        "outputs": {name: [s.value, s.at] for name, s in window.outputs.items()},
        "stages": [
            {
                "direction": stage.direction,
                "sources": {name: [s.value, s.at] for name, s in stage.sources.items()},
                "program": _program_json(stage.program),
            }
            for stage in window.stages
        ],
        "metadata": dict(window.metadata),
    }


def _program_json(program: Program) -> dict[str, Any]:
    index = {name: i for i, name in enumerate(program.tensors)}
    return {
        "tensors": {
            t.name: [t.size, t.scale.mantissa, t.scale.exponent] for t in program.tensors.values()
        },
        "inputs": list(program.inputs),
        "outputs": dict(program.outputs),
        "states": [[s.name, s.input, s.output] for s in program.states],
        "operators": [
            [o.kind, [index[n] for n in o.inputs], [index[n] for n in o.outputs]]
            for o in program.operators
        ],
        "metadata": dict(program.metadata),
    }


def _build(description: Mapping[str, Any], arrays: Arrays) -> Program:
    limits = {"tensors": MAX_NAMES, "states": MAX_NAMES, "operators": MAX_OPERATORS}
    for part, limit in limits.items():
        if len(description[part]) > limit:
            raise ValueError(f"it has more than {limit} {part}")
    tensors = {
        name: Tensor(name, _integer(size), Scale(_integer(mantissa), _integer(exponent)))
        for name, (size, mantissa, exponent) in description["tensors"].items()
    }

    def take(name: str, code: str) -> NDArray[Any]:
        array = arrays.pop(name)
        if array.dtype != np.dtype(DTYPES[code]):
            raise ValueError(f"tensor {name[:64]!r} is not {code}")
        return array

    order = list(tensors)

    def resolved(operands: Any) -> tuple[str, ...]:
        if not isinstance(operands, list):
            raise ValueError("a list of operands is none")
        return _names([_at(order, o) if type(o) is int else o for o in operands])

    operators = []
    for kind, *operands in description["operators"]:
        reads, writes = map(resolved, operands)
        matrix = None
        if kind == "linear":
            parts = {part: take(f"{writes[0]}.{part}", code) for part, code in _MATRIX.items()}
            matrix = Matrix(**parts)
        table = take(f"{writes[0]}.table", TABLES[kind]) if kind in TABLES else None
        operators.append(Operator(str(kind), reads, writes, matrix, table))
    states = []
    for name, before, after in description["states"]:
        key = f"{name}.initial"
        zeros = tensors[before].size if before in tensors else 0
        initial = take(key, "I16") if key in arrays else _ZEROS[:zeros]
        state_name, state_input, state_output = _names([name, before, after])
        states.append(State(state_name, state_input, state_output, initial))
    constants = {name: take(f"{name}.constant", "I16") for name in tensors
                 if f"{name}.constant" in arrays}  # fmt: skip
    results = description["outputs"]
    outputs = dict(zip(results, _names(list(results.values())), strict=True))
    return Program(
        tensors,
        _names(description["inputs"]),
        outputs,
        tuple(states),
        tuple(operators),
        _metadata(description),
        constants,
    )


def _names(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(name, str) for name in values):
        raise ValueError("a list of names is none")
    return tuple(values)


def _at(names: list[str], index: int) -> str:
    if not 0 <= index < len(names):
        raise ValueError(f"it has no tensor {index}")
    return names[index]


def _integer(value: Any) -> int:
    if type(value) is not int or abs(value) > 1 << 40:
        raise ValueError("a number is not a sound integer")
    return value
