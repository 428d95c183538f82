"""The runtime copied to a machine that has nothing but Python and an old NumPy."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgernn.runtime import StepRuntime, save_program
from tests.programs import random_program

ROOT = Path(__file__).parents[2]
# An environment with NumPy 1; the one that tflite-runtime is tested in.
OLD_PYTHON = "EDGERNN_TFLITE_RUNTIME_PYTHON"

SCRIPT = """
import sys
import numpy as np
from edgernn.runtime import StepRuntime
assert not {"torch", "click", "onnx"} & set(sys.modules)
given, model, result, home = sys.argv[1:]
assert sys.modules["edgernn.runtime"].__file__.startswith(home)
runtime = StepRuntime.load(model)
x = np.load(given)
y = np.stack([runtime.step_int(v) for v in x])
runtime.reset()
assert np.array_equal(runtime.run_int(x), y)
np.savez(result, y=y, **runtime.state)
print(np.__version__)
"""


def old_python() -> str:
    """A Python with NumPy 1; skips without it."""
    python = os.environ.get(OLD_PYTHON, "")
    if not python:
        assert os.environ.get("CI") != "true", f"{OLD_PYTHON} is not set, and CI may skip nothing"
        pytest.skip(f"{OLD_PYTHON} names no Python with NumPy 1")
    return python


@pytest.mark.parametrize("old", [False, True], ids=["this NumPy", "NumPy 1"])
def test_the_folder_alone_gives_the_same_bits(tmp_path: Path, old: bool) -> None:
    python = old_python() if old else sys.executable
    home = tmp_path / "edgernn"
    shutil.copytree(ROOT / "runtime", home / "runtime")
    (home / "__init__.py").write_text("")
    program = random_program(["gru", "lstm", "rnn_tanh"], [20, 9, 150], 7, seed=4, head=3)
    save_program(program, tmp_path / "model.safetensors")
    x = np.random.default_rng(1).integers(-32768, 32768, (500, 7)).astype(np.int16)
    np.save(tmp_path / "x.npy", x)
    files = [str(tmp_path / n) for n in ("x.npy", "model.safetensors", "y.npz", "edgernn")]
    found = subprocess.run(
        [python, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{SCRIPT}", *files],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("1.") == old
    runtime = StepRuntime(program)
    with np.load(tmp_path / "y.npz") as results:
        np.testing.assert_array_equal(results["y"], runtime.run_int(x))
        for name, value in runtime.state.items():
            np.testing.assert_array_equal(results[name], value)
