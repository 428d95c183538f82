"""The program file: the safetensors layout, read and written with NumPy alone.

    8 bytes     header length, little-endian
    header      JSON: tensor name -> {dtype, shape, data_offsets}, and __metadata__ (text to text)
    the rest    raw little-endian tensors, one after the other, no gaps

__metadata__ holds `format` ("edgernn"), `version`, `program` (JSON: tensors, operators, states) and
`sha256` over everything else. An operator gives its tensors by their index, or by name.
Source of the layout: https://github.com/huggingface/safetensors.
A file can hold no code; every number in it is checked before it is used.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgernn.runtime.errors import EdgernnError, FileFormatError, InputError
from edgernn.runtime.functions import TABLES
from edgernn.runtime.program import Matrix, Operator, Program, Scale, State, Tensor
from edgernn.runtime.validate import MAX_NAMES, MAX_OPERATORS, MAX_SIZE, validate

FORMAT: Final = "edgernn"
VERSION: Final = 1
MAX_HEADER: Final = 16 << 20
_DTYPES: Final = {"I8": "<i1", "I16": "<i2", "I32": "<i4", "I64": "<i8"}
_CODES: Final = {np.dtype(v): k for k, v in _DTYPES.items()}
_MATRIX: Final = {"weight": "I8", "bias": "I64", "multiplier": "I32", "shift": "I32"}
_ZEROS: Final = np.zeros(MAX_SIZE, np.int16)
_ZEROS.setflags(write=False)

Arrays = dict[str, NDArray[Any]]


def save_program(program: Program, path: str | os.PathLike[str]) -> None:
    """Write a program; the file appears whole or not at all. EdgernnError if it cannot."""
    validate(program)
    write_atomically(path, to_bytes(program))


def load_program(path: str | os.PathLike[str]) -> Program:
    """Read a program, int8 weights mapped, not copied. FileFormatError if it is not sound."""
    name = os.fspath(path)
    try:
        data = np.memmap(name, dtype=np.uint8, mode="r")
    except (OSError, ValueError) as error:
        raise FileFormatError(f"cannot read {name}: {error}") from None
    return from_bytes(data, name)


def to_bytes(program: Program) -> bytes:
    """The file's content; the same program gives the same bytes.

    InputError if the metadata is not JSON, or too long for a header.
    """
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
    header: dict[str, Any] = {}
    blobs: list[bytes] = []
    offset = 0
    # Widest first, as safetensors does, so that every tensor is aligned.
    for name in sorted(arrays, key=lambda n: (-arrays[n].dtype.itemsize, n)):
        array = arrays[name]
        blob = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        header[name] = {
            "dtype": _CODES[array.dtype.newbyteorder("<")],
            "shape": list(array.shape),
            "data_offsets": [offset, offset + len(blob)],
        }
        blobs.append(blob)
        offset += len(blob)
    payload = b"".join(blobs)
    try:
        description = _program_json(program)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"the program's metadata cannot be written as JSON: {error}") from None
    metadata = {"format": FORMAT, "version": str(VERSION), "program": description}
    header["__metadata__"] = metadata | {"sha256": _checksum(header, metadata, payload)}
    text = _canonical(header).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER:
        raise InputError(f"the program's description is longer than {MAX_HEADER} bytes")
    return len(text).to_bytes(8, "little") + text + payload


def from_bytes(data: NDArray[np.uint8], where: str) -> Program:
    """Parse and check a file's content; `where` is what messages call it."""
    try:
        return _parse(data, where)
    except EdgernnError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
        reason = f"{type(error).__name__}: {str(error)[:200]}"
        raise FileFormatError(f"{where} is not a valid edgernn program: {reason}") from None
    except RecursionError:
        raise FileFormatError(f"{where} is not a valid edgernn program: nested too deep") from None


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Write to a temporary name beside the target, then rename; nothing half-written stays."""
    target = Path(path)
    temporary = None
    try:
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        # mkstemp makes the file private; give it the mode that open() would have.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, target)
        temporary = None
    except OSError as error:
        raise EdgernnError(f"cannot write {target}: {error.strerror or error}") from None
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def _parse(data: NDArray[np.uint8], where: str) -> Program:
    def refuse(reason: str) -> FileFormatError:
        return FileFormatError(f"{where} {reason}")

    if data.size < 8:
        raise refuse("is too short to be a safetensors file")
    length = int.from_bytes(data[:8].tobytes(), "little")
    if length > min(MAX_HEADER, data.size - 8):
        raise refuse("is truncated, or not a safetensors file")
    try:
        header = _json(data[8 : 8 + length].tobytes().decode("utf-8"))
    except ValueError:
        raise refuse("is damaged: its header is not JSON") from None
    metadata = header.pop("__metadata__", None) if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise refuse("is not an edgernn program; write one with `edgernn export --int8`")
    if metadata.get("version") != str(VERSION):
        raise refuse(
            f"has file version {str(metadata.get('version'))[:16]!r}, and this edgernn reads "
            f"version {VERSION}; export it again, or use the edgernn that wrote it"
        )
    if len(header) > MAX_NAMES:
        raise refuse(f"has more than {MAX_NAMES} tensors")
    payload = data[8 + length :]
    expected = metadata.pop("sha256", None)
    if _checksum(header, metadata, payload) != expected:
        raise refuse("is damaged: its checksum does not match; copy or export it again")
    program = _build(_json(metadata["program"]), _read_arrays(header, payload, refuse))
    validate(program, where)
    return program


def _read_arrays(header: Mapping[str, Any], payload: NDArray[np.uint8], refuse: Any) -> Arrays:
    arrays: Arrays = {}
    end = 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, stop = entry["data_offsets"]
        shape = entry["shape"]
        dtype = np.dtype(_DTYPES[entry["dtype"]])
        if not all(type(n) is int and 0 < n <= 1 << 31 for n in shape) or len(shape) > 2:
            raise refuse(f"is damaged: tensor {name[:64]!r} has a bad shape")
        count = 1
        for n in shape:
            count *= n
        if begin != end or stop - begin != count * dtype.itemsize or stop > payload.size:
            raise refuse(f"is damaged: tensor {name[:64]!r} does not lie where it should")
        end = stop
        arrays[name] = np.asarray(payload[begin:stop]).view(dtype).reshape(shape)
    if end != payload.size:
        raise refuse("is damaged: it is longer than its tensors")
    return arrays


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
        if array.dtype != np.dtype(_DTYPES[code]):
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
    if arrays:
        raise ValueError(f"tensor {next(iter(arrays))[:64]!r} belongs to nothing")
    results = description["outputs"]
    outputs = dict(zip(results, _names(list(results.values())), strict=True))
    metadata = description.get("metadata", {})
    if not isinstance(metadata, dict):
        raise ValueError("its metadata is not a mapping")
    return Program(
        tensors,
        _names(description["inputs"]),
        outputs,
        tuple(states),
        tuple(operators),
        metadata,
        constants,
    )


def _program_json(program: Program) -> str:
    index = {name: i for i, name in enumerate(program.tensors)}
    return _canonical(
        {
            "tensors": {
                t.name: [t.size, t.scale.mantissa, t.scale.exponent]
                for t in program.tensors.values()
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
    )


def _json(text: str) -> Any:
    """Plain JSON: a name may appear once, and NaN is no number."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        mapping = dict(pairs)
        if len(mapping) != len(pairs):
            raise ValueError("a name appears twice")
        return mapping

    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is not JSON")

    return json.loads(text, object_pairs_hook=once, parse_constant=refuse)


def _canonical(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _checksum(header: Mapping[str, Any], metadata: Mapping[str, Any], payload: Any) -> str:
    digest = hashlib.sha256(
        json.dumps([header, metadata], sort_keys=True, separators=(",", ":")).encode()
    )
    digest.update(payload)
    return digest.hexdigest()


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
