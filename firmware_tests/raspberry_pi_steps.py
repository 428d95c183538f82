"""Steps programs with the runtime alone: what is copied to the Raspberry Pi, beside `edgernn/`.

    python raspberry_pi_steps.py

For every program NAME.safetensors beside it there is a NAME.npz with, for input i, `x<i>` (T, F)
int16, `f<i>` (T, F) float32, `b<i>` (N, T, F) int16, and `state_<name>` (H,) int16, the state to
begin in. It writes NAME.results.npz with, for output i, `step<i>`, `run<i>`, `float_step<i>`,
`float_run<i>` and `batch<i>`, and `after_<way>_<name>` for the state that each of the first four
ways ends in; and the program once more, as NAME.again. Nothing is compared here.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgernn.runtime import Program, StepRuntime, load_program, save_program

Arrays = dict[str, np.ndarray]


def each(step: Callable[..., Any], sequences: list[np.ndarray]) -> Any:
    """The outputs of one step after the other, stacked."""
    rows = [step(*now) for now in zip(*sequences, strict=True)]
    if isinstance(rows[0], tuple):
        return tuple(map(np.stack, zip(*rows, strict=True)))
    return np.stack(rows)


def results(program: Program, given: Arrays) -> Arrays:
    """The content of NAME.results.npz."""
    xs, fs, bs = ([given[f"{kind}{i}"] for i in range(len(program.inputs))] for kind in "xfb")
    begin = {s.name: given[f"state_{s.name}"] for s in program.states}
    runtime = StepRuntime(program)
    ways: dict[str, Callable[[], Any]] = {
        "step": lambda: each(runtime.step_int, xs),
        "run": lambda: runtime.run_int(*xs),
        "float_step": lambda: each(runtime.step, fs),
        "float_run": lambda: runtime.run(*fs),
        "batch": lambda: runtime.run_int(*bs),
    }
    found: Arrays = {}
    for way, outputs in ways.items():
        runtime.reset()
        runtime.state = begin
        value = outputs()
        values = value if isinstance(value, tuple) else (value,)
        found |= {f"{way}{i}": y for i, y in enumerate(values)}
        if way != "batch":
            found |= {f"after_{way}_{k}": v for k, v in runtime.state.items()}
    return found


if __name__ == "__main__":
    for path in sorted(Path(__file__).parent.glob("*.safetensors")):
        loaded = load_program(path)
        with np.load(path.with_suffix(".npz")) as arrays:
            np.savez(path.with_suffix(".results.npz"), **results(loaded, dict(arrays)))
        save_program(loaded, path.with_suffix(".again"))
    print(platform.machine(), platform.python_version(), np.__version__)
