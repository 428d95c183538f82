"""The native engine behind a StepRuntime: the step in C, from a library beside the program."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgernn.runtime.library import Library
from edgernn.runtime.products import aligned
from edgernn.runtime.program import Program
from edgernn.runtime.state import stored_size

Int16Array = NDArray[np.int16]
_TAG: Final = 4
"""Bytes at the beginning of a state, before the states themselves; see `edgernn.runtime.state`."""


class _Stream(ctypes.Structure):
    """library_stream_t: where the step function finds the state, and how it makes an output."""

    _fields_ = (
        ("state", ctypes.c_void_p),
        ("array", ctypes.py_object),
        ("empty", ctypes.py_object),
        ("shapes", ctypes.py_object),
        ("out", ctypes.py_object),
        ("checked", ctypes.py_object),
    )


class NativeEngine:
    """See `edgernn.runtime.engine.Engine`. states: int16 views of what is the state in C.

    path: of the library. FileFormatError if it is not this program's, or not for this machine.
    kernels: the family that was compiled, for instance "avx2". binding: how a step is called: as a
    "built-in function", or, in a Python that is not CPython, through "ctypes", which is slower.
    """

    name = "native"

    def __init__(self, program: Program, path: str | os.PathLike[str]) -> None:
        self.program = program
        self._library = library = Library(path, program)
        self.path, self.kernels = library.path, library.kernels
        self._in_sizes = [program.tensors[name].size for name in program.inputs]
        self._out_sizes = [program.tensors[name].size for name in program.outputs.values()]
        self._memory = aligned((library.state_bytes,), np.uint8)
        self._address = _address(self._memory)
        library.reset(self._address)
        self.states = {}
        begin = _TAG
        for state in program.states:
            end = begin + 2 * len(state.initial)
            self.states[state.name] = self._memory[begin:end].view(np.int16)
            begin += 2 * stored_size(len(state.initial))
        # Only CPython has the interface that the step function is written for.
        cpython = sys.implementation.name == "cpython"
        self.binding = "built-in function" if cpython else "ctypes"

    def recipe(self) -> tuple[Callable[..., NativeEngine], tuple[Any, ...]]:
        """What makes another such engine."""
        return NativeEngine, (self.path,)

    def step_function(self, checked: Callable[..., Any]) -> Callable[..., Any]:
        """`step_int` for plain arrays; `checked` is called with anything else."""
        if self.binding == "ctypes":
            return checked
        shapes = tuple((size, np.dtype(np.int16)) for size in self._out_sizes)
        stream = _Stream(self._address, np.ndarray, np.empty, shapes, sys.intern("out"), checked)
        # The function keeps the stream, and so it must keep the state.
        stream.memory = self._memory
        function: Callable[..., Any] = self._library.step_function(stream)
        return function

    def window(self, x: Sequence[Int16Array]) -> tuple[Int16Array, ...]:
        """(T, F) per input -> (T, O) per output; the state moves on. One call into C."""
        (length, _), given = x[0].shape, [_plain(v) for v in x]
        results = tuple(np.empty((length, size), np.int16) for size in self._out_sizes)
        self._library.run(self._address, [*map(_address, given)], [*map(_address, results)], length)
        return results

    def batch(self, x: Sequence[Int16Array]) -> tuple[Int16Array, ...]:
        """(N, T, F) per input -> (N, T, O) per output, each stream from the initial state."""
        (streams, length, _), given = x[0].shape, [_plain(v) for v in x]
        results = tuple(np.empty((streams, length, size), np.int16) for size in self._out_sizes)
        # A state of its own: other threads may run batches too.
        state = aligned(self._memory.shape, np.uint8)
        self._library.run_batch(
            _address(state), [*map(_address, given)], [*map(_address, results)], streams, length
        )
        return results


def _plain(array: Int16Array) -> Int16Array:
    """The array without gaps and on even addresses, copied if need be."""
    return np.require(array, requirements=["C", "A"])


def _address(array: NDArray[Any]) -> int:
    return int(array.ctypes.data)
