"""The native engine on an emulated Raspberry Pi: compiled here, loaded by `runtime/` alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from edgernn.building import build
from edgernn.runtime import StepRuntime, save_program
from firmware_tests import raspberry_pi
from firmware_tests.test_raspberry_pi import GCC, RUNTIME, programs, skip
from tests.programs import random_integers

STEPS = 1000
# For each folder: single steps, a window, a batch, and the state they end in; nothing is compared.
SCRIPT = """
import sys
from pathlib import Path
import numpy as np
from edgernn.runtime import StepRuntime
for folder in sorted(p for p in Path(sys.argv[1]).iterdir() if p.is_dir()):
    runtime = StepRuntime.load(folder / "model.safetensors", engine="auto")
    with np.load(folder / "given.npz") as arrays:
        x = [arrays[f"x{i}"] for i in range(len(runtime.program.inputs))]
    steps = [runtime.step_int(*now) for now in zip(*(v[0] for v in x))]
    rows = [y if isinstance(y, tuple) else (y,) for y in steps]
    found = {f"step{i}": np.stack(values) for i, values in enumerate(zip(*rows))}
    found |= {f"state_{name}": value for name, value in runtime.state.items()}
    runtime.reset()
    for way, given in (("run", [v[0] for v in x]), ("batch", x)):
        y = runtime.run_int(*given)
        found |= {f"{way}{i}": v for i, v in enumerate(y if isinstance(y, tuple) else (y,))}
    np.savez(folder / "found.npz", **found)
    print(runtime.engine, runtime._engine.binding, runtime._engine.kernels)
"""


@pytest.fixture(scope="module", autouse=True)
def root() -> Path:
    """The emulated machine, and the cross compiler; skips without them, fails so in CI."""
    if shutil.which(GCC) is None:
        skip(f"{GCC} is not installed: `make toolchain` installs it")
    try:
        return raspberry_pi.root()
    except raspberry_pi.UnavailableError as error:
        skip(f"no emulated Raspberry Pi: {error}")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """What is copied to the machine, as the README says."""
    shutil.copytree(RUNTIME, tmp_path / "edgernn" / "runtime")
    (tmp_path / "edgernn" / "__init__.py").touch()
    return tmp_path


@pytest.mark.parametrize("portable", [False, True], ids=["default", "portable"])
def test_a_cross_compiled_library_gives_the_same_bits(home: Path, portable: bool) -> None:
    made = programs("stacks", "structures")
    for seed, (name, program) in enumerate(made.items()):
        folder = home / "models" / name
        folder.mkdir(parents=True)
        save_program(program, folder / "model.safetensors")
        built = build(folder, GCC, portable=portable)
        assert built.path.name == "model.native-linux-aarch64.so"
        rng = np.random.default_rng(seed)
        sizes = [program.tensors[x].size for x in program.inputs]
        given = {f"x{i}": random_integers(rng, (2, STEPS, n)) for i, n in enumerate(sizes)}
        np.savez(folder / "given.npz", **given)
    (home / "script.py").write_text(SCRIPT)
    lines = raspberry_pi.run_python(home / "script.py", home / "models").splitlines()
    assert len(lines) == len(made)
    for line in lines:
        assert line.startswith("native built-in function")
        assert line.endswith("portable") or not portable
    compared = 0
    for name, program in made.items():
        runtime, folder = StepRuntime(program), home / "models" / name
        with np.load(folder / "given.npz") as arrays:
            x = [arrays[f"x{i}"] for i in range(len(program.inputs))]
        with np.load(folder / "found.npz") as arrays:
            found = dict(arrays)
        one = runtime.run_int(*(v[0] for v in x))
        expected = {f"state_{k}": v for k, v in runtime.state.items()}
        for way, y in (("step", one), ("run", one), ("batch", runtime.run_int(*x))):
            expected |= {f"{way}{i}": v for i, v in enumerate(y if isinstance(y, tuple) else (y,))}
        assert set(found) == set(expected)
        for key, value in expected.items():
            np.testing.assert_array_equal(found[key], value, err_msg=f"{name}, {key}")
            compared += value.size
    assert compared > 100_000
