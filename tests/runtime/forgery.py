"""Program files taken apart, changed and signed again: what an attacker would send."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgernn.runtime.container import checksum
from edgernn.runtime.errors import FileFormatError
from edgernn.runtime.file import from_bytes, to_bytes
from edgernn.runtime.program import Program, Scale
from tests.programs import random_program
from tests.runtime.sketches import Sketch, completed

Json = dict[str, Any]


def genuine() -> Program:
    """A small program with every part a file has."""
    return random_program(["gru"], [2], 2, seed=0, head=2)


def with_tables() -> Program:
    """A small program with a constant, a table of rows and a table of a function.

    Its operators: row = embedding(token), f = lookup(row), s = f + k.
    """
    b = Sketch()
    b.embedding("row", b.tensor("token", 1, Scale(1, 0)), np.arange(-6, 6, dtype=np.int8)
                .reshape(4, 3), Scale(1, -3))  # fmt: skip
    b.lookup("f", "row", np.sin, Scale(1, -14))
    b.add("s", "f", b.constant("k", np.array([0.5, -1.0, 0.25]), Scale(1, -14)), Scale(1, -14))
    return completed(b, {"y": "s"})


def parts(data: bytes) -> tuple[Json, Json, bytes]:
    """(header without metadata, description, payload) of a file."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    return header, json.loads(header.pop("__metadata__")["program"]), data[8 + length :]


def signed(header: Json, description: Any, payload: bytes, **metadata: Any) -> bytes:
    """A file of these parts with a valid checksum; description: JSON, or text put in as it is."""
    text = description if isinstance(description, str) else json.dumps(description)
    notes = {"format": "edgernn", "version": "1", "program": text} | metadata
    return with_header(
        header | {"__metadata__": notes | {"sha256": checksum(header, notes, payload)}}, payload
    )


def with_header(header: Any, payload: bytes = b"") -> bytes:
    """A file with this header: JSON, or bytes put in as they are."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + payload


def forged(edit: Callable[[Json], object], program: Program | None = None) -> bytes:
    """A genuine file whose description went through `edit`."""
    header, description, payload = parts(to_bytes(program or genuine()))
    edit(description)
    return signed(header, description, payload)


def reforged(
    edit: Callable[[Json], object],
    payload_edit: Any = lambda p: p,
    program: Program | None = None,
) -> bytes:
    """A genuine file whose header and payload were edited."""
    header, description, payload = parts(to_bytes(program or genuine()))
    edit(header)
    return signed(header, description, payload_edit(payload))


def refusal(data: bytes) -> str:
    """The message with which a file is refused: one short line that names it, and soon."""
    begin = time.process_time()
    with pytest.raises(FileFormatError) as caught:
        from_bytes(np.frombuffer(data, np.uint8), "m.safetensors")
    assert time.process_time() - begin < 2.0
    message = str(caught.value)
    assert message.startswith("m.safetensors ")
    assert message.isprintable()
    assert len(message) < 400
    return message


def chain(count: int, size: int, kind: str = "relu") -> Json:
    """A description of so many operators in a row."""
    names = ["x", *(f"t{i}" for i in range(count))]
    return {
        "tensors": {n: [size, 1, -15] for n in names},
        "inputs": ["x"],
        "outputs": {"y": names[-1]},
        "states": [],
        "operators": [[kind, [a], [b]] for a, b in itertools.pairwise(names)],
    }
