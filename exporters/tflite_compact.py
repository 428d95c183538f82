"""Flatbuffers that hold equal things once: tables, vectors and strings."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def packed_once(table: Any) -> Any:
    """The same object of the schema, written once however many others refer to it."""
    pack = table.Pack
    offsets: list[int] = []

    def once(builder: Any) -> int:
        if not offsets:
            offsets.append(pack(builder))
        return offsets[0]

    table.Pack = once
    return table


def compact_builder(flatbuffers: Any) -> Any:
    """A flatbuffer builder that writes equal vectors and strings once."""

    class Compact(flatbuffers.Builder):  # type: ignore[misc]
        head: int

        def __init__(self) -> None:
            super().__init__(1024)
            self._vectors: dict[tuple[str, bytes], int] = {}

        def CreateNumpyVector(self, x: NDArray[Any]) -> int:
            little = x.astype(x.dtype.newbyteorder("<"), copy=False)
            data = little.tobytes()
            key = (x.dtype.char, data)
            if key not in self._vectors:
                # Buffers hold int64 that kernels read in place: the schema's force_align.
                alignment = 16 if x.dtype == np.uint8 else x.itemsize
                self.StartVector(x.itemsize, x.size, alignment)
                end = self.head
                self.head = begin = end - len(data)
                self.Bytes[begin:end] = data
                self._vectors[key] = self.EndVector()
            return self._vectors[key]

        def CreateString(self, s: str, encoding: str = "utf-8", errors: str = "strict") -> int:
            key = ("text", s.encode(encoding, errors))
            if key not in self._vectors:
                self._vectors[key] = super().CreateString(s, encoding, errors)
            return self._vectors[key]

    return Compact()
