"""The same bits on an emulated Raspberry Pi: NumPy runtime, tflite-runtime and C for aarch64."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

from edgernn.exporters.c import to_c
from edgernn.exporters.tflite import to_tflite
from edgernn.runtime import Program, StepRuntime, save_program
from edgernn.runtime.state import state_from_bytes, state_to_bytes, stored_size
from edgernn.runtime.tokens import token_limits
from firmware_tests import raspberry_pi, raspberry_pi_steps
from firmware_tests.build import WARNINGS, Model
from firmware_tests.toolchain import execute
from tests.exporters import tflite_runner
from tests.programs import random_integers, random_program, random_structure

RUNTIME = Path(__file__).parents[1] / "runtime"
STEPS, FLOAT_STEPS, STREAMS = 1000, 200, 3
STACKS = {
    "gru": (["gru"], [17], 5, 0),
    "lstm_gru_head": (["lstm", "gru"], [6, 5], 3, 4),
    "rnn_tanh_rnn_relu": (["rnn_tanh", "rnn_relu"], [1, 16], 1, 1),
    "three_lstm": (["lstm"] * 3, [33, 8, 20], 12, 10),
    "all_cells": (["rnn_relu", "lstm", "rnn_tanh", "gru"], [9, 24, 7, 31], 6, 5),
    # So large that the NumPy engine takes the product in two halves.
    "large_gru": (["gru"], [256], 40, 12),
}
STRUCTURES = {f"structure{seed}": seed for seed in range(100, 112)}

Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="module", autouse=True)
def root() -> Path:
    """The emulated machine; skips without it, fails so in CI."""
    try:
        return raspberry_pi.root()
    except raspberry_pi.UnavailableError as error:
        skip(f"no emulated Raspberry Pi: {error}")


def skip(reason: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def programs(*kinds: str) -> dict[str, Program]:
    made = {}
    if "stacks" in kinds:
        for seed, (name, (cells, hidden, features, head)) in enumerate(STACKS.items()):
            made[name] = random_program(cells, hidden, features, seed, head)
    if "structures" in kinds:
        made |= {name: random_structure(seed) for name, seed in STRUCTURES.items()}
    return made


def listed(value: Any) -> list[np.ndarray]:
    return list(value) if isinstance(value, tuple) else [value]


class Comparison:
    """Counts the values it finds equal, to the bit."""

    def __init__(self) -> None:
        self.values = 0

    def same(self, got: np.ndarray, expected: np.ndarray, where: str) -> None:
        assert (got.dtype, got.shape) == (expected.dtype, expected.shape), where
        # The bits of floats: 0.0 and -0.0 differ.
        bits = np.dtype(f"i{got.dtype.itemsize}")
        np.testing.assert_array_equal(got.view(bits), expected.view(bits), err_msg=where)
        self.values += got.size


@pytest.fixture
def compared(record_property: Any) -> Any:
    comparison = Comparison()
    yield comparison
    record_property("values compared", comparison.values)
    print(f"{comparison.values:,} values compared, no bit differs")


@pytest.mark.parametrize("blas", raspberry_pi.BLAS)
def test_everything_that_is_loaded_comes_from_the_root(root: Path, blas: str) -> None:
    code = """
import sys, numpy, tflite_runtime.interpreter
maps = [line.split(None, 5)[5].strip() for line in open("/proc/self/maps") if "/" in line]
print(*sys.path[1:], *maps, sep="\\n")
"""
    files = raspberry_pi.run_python("-c", code, blas=blas).splitlines()
    assert len(files) > 20
    assert {file for file in files if not Path(file).is_relative_to(root)} == set()
    for name in raspberry_pi.BLAS:
        folder = f"/{raspberry_pi.BLAS[name][0]}/"
        assert any(folder in file for file in files) == (name == blas)


def test_a_program_that_fails_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="ValueError: here"):
        raspberry_pi.run_python("-c", "raise ValueError('here')")


@pytest.mark.parametrize(
    ("blas", "kinds"), [("reference", ("stacks", "structures")), ("openblas", ("stacks",))]
)
def test_the_numpy_runtime_alone_gives_the_same_bits(
    tmp_path: Path, compared: Comparison, blas: str, kinds: Sequence[str]
) -> None:
    # As the README says.
    shutil.copytree(RUNTIME, tmp_path / "edgernn" / "runtime")
    (tmp_path / "edgernn" / "__init__.py").touch()
    script = shutil.copy(raspberry_pi_steps.__file__, tmp_path)
    runtimes = {name: StepRuntime(program) for name, program in programs(*kinds).items()}
    given, last = {}, {}
    for seed, (name, runtime) in enumerate(runtimes.items()):
        rng = np.random.default_rng(seed)
        tensors = [runtime.program.tensors[x] for x in runtime.program.inputs]
        # A third on this machine, a third on the other, a third here again.
        first, middle, last[name] = (
            [random_integers(rng, (STEPS, t.size)) for t in tensors] for _ in range(3)
        )
        runtime.run_int(*first)
        given[name] = {f"state_{k}": v for k, v in runtime.state.items()}
        for i, (x, t) in enumerate(zip(middle, tensors, strict=True)):
            # Beyond the range as well, and between two integers.
            f = rng.uniform(-40_000, 40_000, (FLOAT_STEPS, t.size)) * float(t.scale)
            if (limits := token_limits(runtime.program).get(t.name)) is not None:
                # Of ids a step on floats takes only those that the table has.
                f = np.where(limits > 0, rng.integers(0, np.maximum(limits, 1), f.shape), f)
            b = random_integers(rng, (STREAMS, FLOAT_STEPS, t.size))
            given[name] |= {f"x{i}": x, f"f{i}": f.astype(np.float32), f"b{i}": b}
        save_program(runtime.program, tmp_path / f"{name}.safetensors")
        np.savez(tmp_path / f"{name}.npz", **given[name])

    versions = raspberry_pi.run_python(script, blas=blas)
    assert versions.split() == ["aarch64", "3.11.2", "1.24.2"]

    for name, runtime in runtimes.items():
        expected = raspberry_pi_steps.results(runtime.program, given[name])
        with np.load(tmp_path / f"{name}.results.npz") as arrays:
            got = dict(arrays)
        assert set(got) == set(expected)
        for key, value in expected.items():
            compared.same(got[key], value, f"{name}, {key}")
        # What began here and went on there ends here, as if it had never left.
        runtime.run_int(*[given[name][f"x{i}"] for i in range(len(last[name]))])
        resumed = StepRuntime(runtime.program)
        resumed.state = {k: got[f"after_step_{k}"] for k in runtime.state}
        ends = [listed(r.run_int(*last[name])) for r in (resumed, runtime)]
        for y, value in zip(*ends, strict=True):
            compared.same(y, value, f"{name}, resumed")
        written = [tmp_path / f"{name}.{kind}" for kind in ("again", "safetensors")]
        assert written[0].read_bytes() == written[1].read_bytes()


def closed_loop(runtime: StepRuntime, inputs: Sequence[np.ndarray]) -> tuple[Arrays, Arrays]:
    """Outputs (T, O) and states after each step (T, H), by name, of the NumPy engine here."""
    outputs, states = [], []
    for now in zip(*inputs, strict=True):
        outputs.append(listed(runtime.step_int(*now)))
        states.append(runtime.state)
    stacked = [np.stack(y) for y in zip(*outputs, strict=True)]
    return (
        dict(zip(runtime.program.outputs, stacked, strict=True)),
        {k: np.stack([s[k] for s in states]) for k in runtime.state},
    )


def test_tflite_runtime_gives_the_same_bits(tmp_path: Path, compared: Comparison) -> None:
    for seed, (name, program) in enumerate(programs("stacks", "structures").items()):
        rng = np.random.default_rng(seed)
        inputs = {x: random_integers(rng, (STEPS, program.tensors[x].size)) for x in program.inputs}
        initial = {f"state_{s.name}": s.initial for s in program.states}
        model, given, results = (tmp_path / f"{name}.{k}" for k in ("tflite", "npz", "results.npz"))
        model.write_bytes(to_tflite(program))
        np.savez(given, **inputs, **initial)
        raspberry_pi.run_python(tflite_runner.__file__, model, given, results)
        outputs, states = closed_loop(StepRuntime(program), list(inputs.values()))
        expected = outputs | {f"state_{k}_next": v for k, v in states.items()}
        with np.load(results) as got:
            assert set(got) == set(expected)
            for key, value in expected.items():
                compared.same(got[key], value, f"{name}, {key}")


GCC = "aarch64-linux-gnu-gcc"
C_STEPS = 2000


def compiled(models: Sequence[Model], folder: Path, *flags: str) -> Path:
    """One aarch64 program, raspberry_pi_steps.c, with all the models in it."""
    if shutil.which(GCC) is None:
        skip(f"{GCC} is not installed: `make toolchain` installs it")
    header, entries = [], []
    for model in models:
        for name, content in model.sources.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        name, state = model.name, f"({model.name}_state_t *)state"
        step = model.call(f"{name}_step", state, "x", "y")
        header += [
            f'#include "{name}.h"',
            f"static void reset_{name}(void *state) {{ {name}_reset({state}); }}",
            f"static int step_{name}(void *state, const int16_t *x, int16_t *y)",
            f"{{ return (int){step}; }}",
        ]
        sizes = f"{name.upper()}_STATE_BYTES, {sum(model.inputs)}, {sum(model.outputs)}"
        entries.append(f'{{"{name}", {sizes}, reset_{name}, step_{name}}},')
    header += ["static const model_t models[] = {", *entries, "};", ""]
    (folder / "models.h").write_text("\n".join(header))
    sources = {name for model in models for name in model.sources if name.endswith(".c")}
    own = sorted(name for name in sources if not name.startswith("example"))
    harness = Path(__file__).with_name("raspberry_pi_steps.c")
    command = [GCC, "-std=c99", "-O2", *WARNINGS, *flags, "-I", ".", harness, *own, "-o", "steps"]
    execute(command, folder, timeout=300)
    return folder / "steps"


def row_of(program: Program) -> np.dtype:
    """All outputs of a step, one after the other."""
    return np.dtype([(k, "<i2", program.tensors[t].size) for k, t in program.outputs.items()])


def state_of(program: Program) -> np.dtype:
    """A state in C."""
    members = [(s.name, "<i2", stored_size(len(s.initial))) for s in program.states]
    return np.dtype([("tag", "<u4"), *members])


@pytest.mark.parametrize("flags", [(), ("-DEDGERNN_PORTABLE",)], ids=["default", "portable"])
def test_c_gives_the_same_bits(
    tmp_path: Path, compared: Comparison, flags: tuple[str, ...]
) -> None:
    made = programs("stacks", "structures")
    models = {name: Model.of(p, name, to_c(p, name)) for name, p in made.items()}
    executable = compiled(list(models.values()), tmp_path, *flags)
    # Once the engine has kernels for NEON, they are what a Raspberry Pi gets.
    neon = any(b'EDGERNN_KERNELS "neon"' in c for m in models.values() for c in m.sources.values())
    x, begin, y = (tmp_path / f"{name}.bin" for name in ("x", "begin", "y"))
    for seed, (name, program) in enumerate(made.items()):
        rng = np.random.default_rng(seed)
        inputs = [random_integers(rng, (3 * C_STEPS, n)) for n in models[name].inputs]
        runtime = StepRuntime(program)
        outputs, states = closed_loop(runtime, inputs)
        # From the start, and on from where this machine is after a third.
        for first in (0, C_STEPS):
            part = slice(first, first + C_STEPS)
            np.concatenate([v[part] for v in inputs], axis=1).tofile(x)
            before = {k: v[first - 1] for k, v in states.items()}
            begin.write_bytes(state_to_bytes(program, before) if first else b"")
            kernels = raspberry_pi.run([executable, name, x, begin, y]).strip()
            assert kernels == ("neon" if neon and not flags else "portable")
            rows = np.fromfile(y, [("y", row_of(program)), ("state", state_of(program))])
            for key, value in outputs.items():
                compared.same(rows["y"][key], value[part], f"{name}, {key}")
            for key, value in states.items():
                size = value.shape[1]
                compared.same(rows["state"][key][:, :size], value[part], f"{name}, {key}")
                assert not rows["state"][key][:, size:].any()
        # And here again.
        runtime.state = state_from_bytes(program, rows["state"][-1].tobytes())
        for got, key in zip(
            listed(runtime.run_int(*(v[2 * C_STEPS :] for v in inputs))), outputs, strict=True
        ):
            compared.same(got, outputs[key][2 * C_STEPS :], f"{name}, {key}")
