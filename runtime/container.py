"""The safetensors layout with a checksum, read and written with NumPy alone.

    8 bytes     header length, little-endian
    header      JSON: tensor name -> {dtype, shape, data_offsets}, and __metadata__ (text to text)
    the rest    raw little-endian tensors, one after the other, no gaps

__metadata__ holds `format`, `version`, a description (JSON) and `sha256` over everything else.
Source of the layout: https://github.com/huggingface/safetensors.
A file can hold no code; every number in it is checked before it is used.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgernn.runtime.errors import FileFormatError, InputError
from edgernn.runtime.validate import MAX_NAMES

MAX_HEADER: Final = 16 << 20
DTYPES: Final = {"I8": "<i1", "I16": "<i2", "I32": "<i4", "I64": "<i8", "F32": "<f4"}
_CODES: Final = {np.dtype(v): k for k, v in DTYPES.items()}

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Layout:
    """What a kind of file holds.

    format, version: as its metadata says. description: the metadata's name of the description.
    dtypes, dimensions: which arrays it may have. title, source: what messages call it, and what
    writes one.
    """

    format: str
    version: int
    description: str
    dtypes: tuple[str, ...]
    dimensions: int
    title: str
    source: str


def pack(layout: Layout, description: Any, arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """A file's content; the same parts give the same bytes.

    InputError if the description is not JSON, or too long for a header.
    """
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
        text = _canonical(description)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(
            f"the {layout.description}'s metadata cannot be written as JSON: {error}"
        ) from None
    metadata = {"format": layout.format, "version": str(layout.version), layout.description: text}
    header["__metadata__"] = metadata | {"sha256": checksum(header, metadata, payload)}
    encoded = _canonical(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    if len(encoded) > MAX_HEADER:
        raise InputError(
            f"the {layout.description}'s description is longer than {MAX_HEADER} bytes"
        )
    return len(encoded).to_bytes(8, "little") + encoded + payload


def unpack(layout: Layout, data: NDArray[np.uint8], where: str) -> tuple[Any, Arrays]:
    """The description and the arrays, which are views of data; `where` is what messages call it.

    FileFormatError if a check of the layout fails; ValueError, KeyError, TypeError,
    AttributeError, IndexError, OverflowError or RecursionError for other damage.
    """

    def refuse(reason: str) -> FileFormatError:
        return FileFormatError(f"{where} {reason}")

    if data.size < 8:
        raise refuse("is too short to be a safetensors file; copy or export it again")
    length = int.from_bytes(data[:8].tobytes(), "little")
    if length > min(MAX_HEADER, data.size - 8):
        raise refuse("is truncated, or not a safetensors file; copy or export it again")
    try:
        header = _json(data[8 : 8 + length].tobytes().decode("utf-8"))
    except ValueError:
        raise refuse("is damaged: its header is not JSON; copy or export it again") from None
    metadata = header.pop("__metadata__", None) if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or metadata.get("format") != layout.format:
        raise refuse(f"is not {layout.title}; write one with {layout.source}")
    if metadata.get("version") != str(layout.version):
        raise refuse(
            f"has file version {str(metadata.get('version'))[:16]!r}, and this edgernn reads "
            f"version {layout.version}; export it again, or use the edgernn that wrote it"
        )
    if len(header) > MAX_NAMES:
        raise refuse(f"has more than {MAX_NAMES} tensors")
    payload = data[8 + length :]
    expected = metadata.pop("sha256", None)
    if checksum(header, metadata, payload) != expected:
        raise refuse("is damaged: its checksum does not match; copy or export it again")
    return _json(metadata[layout.description]), _read_arrays(layout, header, payload, refuse)


def format_of(path: str | os.PathLike[str]) -> str:
    """What a file says it is, in the word of `Layout.format`; "" if nothing can be made of it.

    Nothing of the file is checked yet.
    """
    try:
        with open(path, "rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(min(length, MAX_HEADER)))
        return str(header["__metadata__"]["format"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return ""


def _read_arrays(
    layout: Layout, header: Mapping[str, Any], payload: NDArray[np.uint8], refuse: Any
) -> Arrays:
    arrays: Arrays = {}
    end = 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, stop = entry["data_offsets"]
        shape = entry["shape"]
        if entry["dtype"] not in layout.dtypes:
            raise refuse(f"is damaged: tensor {name[:64]!r} has a bad type")
        dtype = np.dtype(DTYPES[entry["dtype"]])
        sizes_sound = all(type(n) is int and 0 < n <= 1 << 31 for n in shape)
        if not sizes_sound or len(shape) > layout.dimensions:
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


def checksum(header: Mapping[str, Any], metadata: Mapping[str, Any], payload: Any) -> str:
    """SHA-256 of everything in a file but itself."""
    digest = hashlib.sha256(
        json.dumps([header, metadata], sort_keys=True, separators=(",", ":")).encode()
    )
    digest.update(payload)
    return digest.hexdigest()
