"""Step latency of the native engine: against NumPy, LiteRT, and a GRU in float C++ by hand.

    python -m benchmarks.native [--json FILE]

One thread, all interleaved in every round, GRU of random weights; the ratios matter. "C alone" is
the same step in a loop in C, without Python; what the Python call adds to it is the overhead.
The yardstick is benchmarks/float_step.cpp, its step in such a loop too, compiled like the library
for this very processor: with libm's expf, and with a polynomial in its place.
"""

from __future__ import annotations

import ctypes
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.latency import litert_step, quantized_gru
from benchmarks.timing import microseconds
from edgernn.building import build
from edgernn.console import table
from edgernn.graph import Graph
from edgernn.native.compiler import Compiler
from edgernn.runtime import Program, StepRuntime, save_program

SHAPES = ((16, 8), (32, 16), (64, 32), (128, 40), (256, 64))
# The goals: step_int, the Python call included, over LiteRT's set, invoke, get; and over float C++.
LITERT, FLOAT = 0.25, 1.0
LOOP = 200
YARDSTICKS = {"float C++": (), "float C++, polynomial": ("-DPOLYNOMIAL_EXP",)}
SOURCES = [Path(__file__).with_name(name) for name in ("float_step.cpp", "float_loop.cpp")]


def native(program: Program, folder: Path) -> tuple[StepRuntime, str]:
    """The program on a library that was built and verified for it, and its kernels."""
    path = folder / "model.safetensors"
    save_program(program, path)
    built = build(folder, verify_steps=200)
    return StepRuntime.load(path, engine="native"), str(built.kernels)


def yardstick(folder: Path, flags: tuple[str, ...]) -> ctypes.CDLL:
    """float_step.cpp as a library."""
    target = folder / f"float{len(flags)}.so"
    compiler = Compiler("g++")
    native = compiler.native_flags()
    command = ["-O3", *native, "-shared", "-fPIC", *flags, "-o", str(target), *map(str, SOURCES)]
    compiler.run(command)
    return ctypes.CDLL(str(target))


def float_loop(library: ctypes.CDLL, graph: Graph, x: NDArray[np.float32]) -> Callable[[], object]:
    """LOOP steps of that GRU in float."""
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


def measured(hidden: int, features: int, folder: Path) -> dict[str, Any]:
    """Microseconds of a step, by engine."""
    graph, program, data, x = quantized_gru(hidden, features)
    runtime, kernels = native(program, folder)
    numpy, out = StepRuntime(program), np.empty(hidden, np.int16)
    window = np.ascontiguousarray(np.broadcast_to(x, (LOOP, features)))
    functions = {
        "native step_int": lambda: runtime.step_int(x),
        "native, out=": lambda: runtime.step_int(x, out=out),
        "C alone": lambda: runtime.run_int(window),
        "NumPy step_int": lambda: numpy.step_int(x),
        "LiteRT": litert_step(program, x),
    }
    for name, flags in YARDSTICKS.items():
        functions[name] = float_loop(yardstick(folder, flags), graph, data[0, 0])
    times = microseconds(functions)
    for name in ("C alone", *YARDSTICKS):
        times[name] /= LOOP
    return {"hidden": hidden, "features": features, "kernels": kernels, "microseconds": times}


@click.command()
@click.option(
    "--json", "path", type=click.Path(path_type=Path), help="Also write the figures here."
)
def main(path: Path | None) -> None:
    """Print microseconds, then the ratios that are the project's goals."""
    records, times_rows, ratio_rows = [], [], []
    for hidden, features in SHAPES:
        with tempfile.TemporaryDirectory() as folder:
            record = measured(hidden, features, Path(folder))
        times = record["microseconds"]
        step, into, alone = (times[n] for n in ("native step_int", "native, out=", "C alone"))
        shape = f"{hidden} / {features}"
        times_rows.append([shape, *(f"{v:.2f}" for v in times.values()), record["kernels"]])
        ratio_rows.append(
            [shape, f"{step - alone:.2f}", f"{into - alone:.2f}", f"{step / times['LiteRT']:.3f}"]
            + [f"{v / times[y]:.2f}" for y in YARDSTICKS for v in (step, into, alone)]
        )
        records.append(record)
    print(table(["H / I", *times, "kernels"], times_rows))
    print("\nwhat the Python call adds, in microseconds; then ratios of step_int, C alone the last")
    header = ["H / I", "call", "with out=", f"/ LiteRT (<= {LITERT})"]
    header += [p for y in YARDSTICKS for p in (f"/ {y} (<= {FLOAT})", "with out=", "C alone")]
    print(table(header, ratio_rows))
    if path:
        path.write_text(json.dumps(records, indent=2) + "\n")


if __name__ == "__main__":
    main()
