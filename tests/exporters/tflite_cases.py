"""The two interpreters of .tflite files, and the reference they are held against.

tflite-runtime needs NumPy 1, so it runs in a process of its own: the variable
EDGERNN_TFLITE_RUNTIME_PYTHON names the Python of a virtual environment that has it.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgernn.runtime.operators import evaluate_step
from edgernn.runtime.program import Matrix, Program
from tests.exporters import tflite_runner

Arrays = dict[str, np.ndarray]
Run = Callable[[bytes, Arrays], Arrays]
Jobs = Sequence[tuple[bytes, Arrays]]
RunAll = Callable[[Jobs], list[Arrays]]

INTERPRETERS = ("ai-edge-litert", "tflite-runtime")
VARIABLE = "EDGERNN_TFLITE_RUNTIME_PYTHON"


def runner_of(interpreter: str, folder: Path) -> Run:
    """Runs a model over a sequence on one of INTERPRETERS; skips without it, fails so in CI."""
    run_all = batch_runner_of(interpreter, folder)
    return lambda content, given: run_all([(content, given)])[0]


def batch_runner_of(interpreter: str, folder: Path, script: Any = tflite_runner) -> RunAll:
    """Runs many models in one process; otherwise as runner_of. script: the module that does."""
    if interpreter == "ai-edge-litert":
        return lambda jobs: [script.run(content, given) for content, given in jobs]
    python = os.environ.get(VARIABLE)
    if not python:
        reason = f"{VARIABLE} is not set: nothing was run on tflite-runtime 2.14"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)

    def in_process(jobs: Jobs) -> list[Arrays]:
        paths = []
        for i, (content, given) in enumerate(jobs):
            names = (f"{i}.model.tflite", f"{i}.given.npz", f"{i}.results.npz")
            paths.append([folder / name for name in names])
            paths[i][0].write_bytes(content)
            np.savez(paths[i][1], **given)
        files = [str(path) for three in paths for path in three]
        command = [python, script.__file__, *files]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        results = []
        for _, _, path in paths:
            with np.load(path) as arrays:
                results.append(dict(arrays))
        return results

    return in_process


def given_for(program: Program, inputs: Arrays) -> Arrays:
    return inputs | {f"state_{s.name}": s.initial for s in program.states}


def reference(program: Program, inputs: Arrays) -> Arrays:
    """Every tensor (steps, ..., size) and every `state_<name>_next`, closed loop."""
    states = {s.name: s.initial.astype(np.int64) for s in program.states}
    lead = next(iter(inputs.values())).shape[1:-1]
    states = {k: np.broadcast_to(v, (*lead, v.size)) for k, v in states.items()}
    rows = []
    for t in range(len(next(iter(inputs.values())))):
        step = {name: x[t].astype(np.int64) for name, x in inputs.items()}
        values = evaluate_step(program, step, states)
        states = {s.name: values[s.output] for s in program.states}
        rows.append(values | {f"state_{k}_next": v for k, v in states.items()})
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def assert_same(program: Program, got: Arrays, expected: Arrays) -> None:
    """Outputs, next states and exposed tensors are the reference's."""
    sources = dict(program.outputs) | {f"tensor_{n}": n for n in program.tensors}
    for name, array in got.items():
        np.testing.assert_array_equal(array, expected[sources.get(name, name)], err_msg=name)
    states = {f"state_{s.name}_next" for s in program.states}
    assert states | set(program.outputs) <= set(got)


def assert_only_negative_ties(m: Matrix | None, x: np.ndarray, y: np.ndarray) -> None:
    assert m is not None
    acc = x.astype(np.int64) @ m.weight.T.astype(np.int64) + m.bias
    half = np.int64(1) << (m.shift.astype(np.int64) - 1)
    product = acc * m.multiplier
    exact = (product + half) >> m.shift
    tie = (product < 0) & (product & (2 * half - 1) == half)
    difference = y - np.clip(exact, -32768, 32767)
    assert ((difference == 0) | (tie & (difference == -1))).all()
