"""A state as bytes: what the C step keeps in its struct, so that states move between engines.

4 bytes     tag, little-endian: the first 32 bits of the sha256 of the program's file
per state   int16 little-endian, in the program's order, a 0 after an odd number of them
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from edgernn.runtime.errors import InputError
from edgernn.runtime.file import to_bytes
from edgernn.runtime.program import Program

Int16Array = NDArray[np.int16]


# A program is immutable: its file is written and hashed once, not for every state.
_TAGS: WeakKeyDictionary[Program, int] = WeakKeyDictionary()


def state_tag(program: Program) -> int:
    """What marks a state as this program's: 32 bits, never 0, which is what empty memory holds."""
    tag = _TAGS.get(program)
    if tag is None:
        tag = int.from_bytes(hashlib.sha256(to_bytes(program)).digest()[:4], "little") or 1
        _TAGS[program] = tag
    return tag


def stored_size(size: int) -> int:
    """Elements that a state of `size` takes: an even number."""
    return size + size % 2


def state_to_bytes(program: Program, state: Mapping[str, Int16Array]) -> bytes:
    """The bytes of a state, name -> (size,) int16, as `StepRuntime.state` gives it.

    InputError if a state is missing, unknown or of another size or dtype.
    """
    if set(state) != {s.name for s in program.states}:
        raise InputError(
            f"the states given are {sorted(state)}, not {sorted(s.name for s in program.states)}"
        )
    parts = [state_tag(program).to_bytes(4, "little")]
    for s in program.states:
        value = np.asarray(state[s.name])
        if value.shape != s.initial.shape or value.dtype != np.int16:
            raise InputError(
                f"state {s.name} is {value.dtype}{value.shape}, not int16{s.initial.shape}"
            )
        parts.append(value.astype("<i2").tobytes() + bytes(2 * (len(value) % 2)))
    return b"".join(parts)


def state_from_bytes(program: Program, data: bytes) -> dict[str, Int16Array]:
    """The state in such bytes, name -> (size,) int16, for `StepRuntime.state`.

    InputError if the bytes are another program's state, or of another length.
    """
    length = 4 + 2 * sum(stored_size(len(s.initial)) for s in program.states)
    if len(data) != length:
        raise InputError(f"a state of this program has {length} bytes, not {len(data)}")
    if int.from_bytes(data[:4], "little") != state_tag(program):
        raise InputError("the bytes are the state of another program; reset, and start anew")
    result, begin = {}, 4
    for s in program.states:
        values = np.frombuffer(data, "<i2", len(s.initial), begin)
        result[s.name] = values.astype(np.int16)
        begin += 2 * stored_size(len(s.initial))
    return result
