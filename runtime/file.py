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

from edgernn.runtime.description import DTYPES, Arrays, arrays_of, build, described
from edgernn.runtime.errors import EdgernnError, FileFormatError, InputError
from edgernn.runtime.program import Program
from edgernn.runtime.validate import MAX_NAMES, validate
from edgernn.runtime.window import Window, validate_window

FORMAT: Final = "edgernn"
VERSION: Final = 1
MAX_HEADER: Final = 16 << 20
_CODES: Final = {np.dtype(v): k for k, v in DTYPES.items()}


def save_program(program: Program | Window, path: str | os.PathLike[str]) -> None:
    """Write a program; the file appears whole or not at all. EdgernnError if it cannot."""
    if isinstance(program, Window):
        validate_window(program)
    else:
        validate(program)
    write_atomically(path, to_bytes(program))


def load_program(path: str | os.PathLike[str]) -> Program:
    """Read a program, int8 weights mapped, not copied. FileFormatError if it is not sound, or of a
    window program, which `load_any` reads."""
    return _streaming(load_any(path), os.fspath(path))


def load_any(path: str | os.PathLike[str]) -> Program | Window:
    """Read a program or a window program. FileFormatError if it is not sound."""
    name = os.fspath(path)
    try:
        data = np.memmap(name, dtype=np.uint8, mode="r")
    except (OSError, ValueError) as error:
        raise FileFormatError(f"cannot read {name}: {error}") from None
    return any_from_bytes(data, name)


def to_bytes(program: Program | Window) -> bytes:
    """The file's content; the same program gives the same bytes.

    InputError if the metadata is not JSON, or too long for a header.
    """
    arrays = arrays_of(program)
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
        description = _canonical(described(program))
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
    return _streaming(any_from_bytes(data, where), where)


def _streaming(program: Program | Window, where: str) -> Program:
    if isinstance(program, Window):
        raise FileFormatError(
            f"{where} is a window program, which reads its input backwards too and cannot stream; "
            "give WindowRuntime.load whole windows"
        )
    return program


def any_from_bytes(data: NDArray[np.uint8], where: str) -> Program | Window:
    """`from_bytes` for a program of either kind."""
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


def _parse(data: NDArray[np.uint8], where: str) -> Program | Window:
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
    program = build(_json(metadata["program"]), _read_arrays(header, payload, refuse))
    if isinstance(program, Window):
        validate_window(program, where)
    else:
        validate(program, where)
    return program


def _read_arrays(header: Mapping[str, Any], payload: NDArray[np.uint8], refuse: Any) -> Arrays:
    arrays: Arrays = {}
    end = 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, stop = entry["data_offsets"]
        shape = entry["shape"]
        dtype = np.dtype(DTYPES[entry["dtype"]])
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
