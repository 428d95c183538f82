"""The yardstick of the native engine: a GRU in float C++ as one writes it by hand for speed.

`float_step.cpp`, compiled like the library for this very processor: with the exponentials of the C
library, and with a polynomial in their place.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgernn.graph import Graph
from edgernn.native.compiler import Compiler

LOOP: Final = 200
"""Steps in one call, so that what the call costs does not count."""
YARDSTICKS: Final = {"float C++": (), "float C++, polynomial": ("-DPOLYNOMIAL_EXP",)}
SOURCES: Final = [Path(__file__).with_name(name) for name in ("float_step.cpp", "float_loop.cpp")]


def yardsticks(
    graph: Graph, x: NDArray[np.float32], folder: Path
) -> dict[str, Callable[[], object]]:
    """LOOP steps of a graph that is one GRU, each from the same x (F,) float32."""
    return {name: _loop(_library(folder, flags), graph, x) for name, flags in YARDSTICKS.items()}


def _library(folder: Path, flags: tuple[str, ...]) -> ctypes.CDLL:
    target = folder / f"float{len(flags)}.so"
    compiler = Compiler("g++")
    options = ["-O3", *compiler.native_flags(), "-shared", "-fPIC", *flags]
    compiler.run([*options, "-o", str(target), *map(str, SOURCES)])
    return ctypes.CDLL(str(target))


def _loop(library: ctypes.CDLL, graph: Graph, x: NDArray[np.float32]) -> Callable[[], object]:
    (node,) = graph.nodes
    hidden, features = graph.sizes[node.name], len(x)
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    arrays: list[Any] = [np.ascontiguousarray(node.arrays[n], np.float32) for n in names]
    arrays += [np.ascontiguousarray(x), np.zeros(hidden, np.float32)]
    *constants, given, state = [ctypes.c_void_p(a.ctypes.data) for a in arrays]
    library.float_gru_new.restype = ctypes.c_void_p
    gru = ctypes.c_void_p(library.float_gru_new(hidden, features, *constants))
    keep = tuple(arrays)
    return lambda: keep and library.float_gru_run(gru, given, state, LOOP)
