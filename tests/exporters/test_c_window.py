"""The exported C of window programs computes the bits of the slow engine."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from edgernn.exporters.c.window import to_c_window
from edgernn.exporters.c.window_model import WindowModel
from edgernn.runtime.errors import FileFormatError, InputError
from edgernn.runtime.program import Tensor
from edgernn.runtime.window import Source, Stage, Window, validate_window, window_of
from edgernn.runtime.window_runtime import WindowRuntime
from edgernn.window_verify import PlainWindowEngine
from tests.exporters.c_host import (
    CLANG,
    CXX,
    GCC,
    NATIVE,
    WARNINGS,
    Build,
    execute,
    library,
    require,
)
from tests.exporters.c_windows import UNWRITTEN, Arrays, WindowC, write_window, write_windows
from tests.exporters.test_c_names import HOSTILE, hostile
from tests.exporters.test_c_sanitizers import CLANG_ONLY, SANITIZERS
from tests.programs import random_structure
from tests.windows import random_inputs, random_stack, random_window

LENGTHS = (1, 37, 2, 20)
OK, ARGUMENT, BUFFER = 0, 1, 4


@cache
def programs() -> dict[str, Window]:
    """Stacks, stages of any operators, streaming programs; each that ends in a pick, and not."""
    windows = {f"w{seed}": random_window(seed, 24) for seed in range(30)}
    windows |= {f"s{seed}": window_of(random_structure(seed)) for seed in range(6)}
    return windows | {"passed": passed()}


def passed() -> Window:
    """Inputs, ends of sequences and values that there are once, each returned and read twice."""
    program = random_structure(3)
    (first, *_), (inner, *_) = program.inputs, program.outputs
    sizes = [program.tensors[n] for n in program.inputs]
    values = {
        n: Tensor(f"x{i}", t.size, t.scale)
        for i, (n, t) in enumerate(zip(program.inputs, sizes, strict=True))
    }

    def stage(direction: str, prefix: str, at: str) -> Stage:
        named = dataclasses.replace(
            program,
            outputs={f"{prefix}_{n}": t for n, t in program.outputs.items()},
            states=tuple(dataclasses.replace(s, name=f"{prefix}_{s.name}") for s in program.states),
        )
        return Stage(named, direction, {n: Source(values[n].name, at) for n in program.inputs})

    back, single = f"back_{inner}", f"single_{inner}"
    x = values[first].name
    outputs = {"echo": Source(x), "echo_first": Source(x, "first"), "echo_last": Source(x, "last")}
    for n, at in (("a", "first"), ("b", "first"), ("c", "last"), ("d", "last")):
        outputs[n] = Source(back, at)
    outputs |= {"e": Source(f"forth_{inner}"), "f": Source(f"forth_{inner}")}
    outputs |= {"g": Source(f"forth_{inner}", "last"), "h": Source(single), "i": Source(single)}
    stages = (
        stage("forward", "forth", "step"),
        stage("reverse", "back", "step"),
        stage("once", "single", "last"),
    )
    window = Window(tuple(values.values()), stages, outputs)
    validate_window(window)
    return window


@cache
def reference(name: str) -> list[tuple[Arrays, Arrays]]:
    """Windows of a program, and what the slow engine makes of them."""
    window = programs()[name]
    plain = PlainWindowEngine(window)
    given = [random_inputs(window, steps, i) for i, steps in enumerate(LENGTHS)]
    return [(x, dict(plain.run(x))) for x in given]


def same(got: Arrays, wanted: Arrays, where: str) -> None:
    assert set(got) == set(wanted)
    for name, right in wanted.items():
        np.testing.assert_array_equal(got[name], right, err_msg=f"{where}, {name}", strict=True)


def test_the_programs_are_all_that_a_window_may_be() -> None:
    stages = [stage for window in programs().values() for stage in window.stages]
    directions = [stage.direction for stage in stages]
    assert min(directions.count(d) for d in ("forward", "reverse", "once")) > 8
    moves = [r for w in programs().values() for r in WindowModel(w, "w").plan.runs]
    assert sum(bool(run.kept) for run in moves) > 5
    assert sum(bool(run.returned) for run in moves) > 5
    sizes = [WindowModel(w, "w").plan for w in programs().values()]
    assert sum(p.per_step == 0 for p in sizes) > 5
    assert sum(p.per_step > 0 and p.single > 0 for p in sizes) > 5
    assert sum(sum(LENGTHS) for _ in programs()) > 2000


@pytest.mark.parametrize(
    "build",
    [
        GCC,
        Build(GCC.compiler, NATIVE),
        CLANG,
        Build(CLANG.compiler, NATIVE),
        CXX,
        Build((*GCC.compiler, "-O3"), NATIVE),
    ],
    ids=str,
)
def test_every_window_gives_the_bits_of_the_slow_engine(build: Build, tmp_path: Path) -> None:
    require(build.compiler[0])
    loaded = library(write_windows(programs(), tmp_path), tmp_path / "all.so", build)
    for name, window in programs().items():
        model = WindowC(window, loaded, name)
        for x, wanted in reference(name):
            same(model.run(x), wanted, f"{name}, {len(next(iter(x.values())))} steps")


def test_long_windows(tmp_path: Path) -> None:
    windows = {f"w{seed}": random_stack(seed, 12) for seed in range(3)}
    loaded = library(write_windows(windows, tmp_path), tmp_path / "all.so")
    for name, window in windows.items():
        x = random_inputs(window, 5000, 1)
        found = WindowRuntime(window).run_int(*(x[t.name] for t in window.inputs))
        wanted = found if isinstance(found, tuple) else (found,)
        same(
            WindowC(window, loaded, name).run(x),
            dict(zip(window.outputs, wanted, strict=True)),
            name,
        )


@pytest.mark.parametrize(
    "build",
    [GCC, Build(GCC.compiler, NATIVE), Build((*CLANG.compiler, *CLANG_ONLY), NATIVE)],
    ids=str,
)
def test_no_sanitizer_has_anything_to_say(build: Build, tmp_path: Path) -> None:
    """Every array of its own size, in memory of its own."""
    require(build.compiler[0])
    chosen = {name: programs()[name] for name in [*list(programs())[::2], "passed"]}
    sources = [*write_windows(chosen, tmp_path), Path(__file__).parent / "window_driver.c"]
    driver = tmp_path / "driver"
    execute([*build.compiler, *SANITIZERS, *build.flags, "-I", tmp_path, "-o", driver, *sources])
    for name, window in chosen.items():
        content, wanted = b"", b""
        for x, y in reference(name):
            content += len(next(iter(x.values()))).to_bytes(4, "little")
            content += b"".join(x[t.name].tobytes() for t in window.inputs)
            wanted += b"".join(y[n].tobytes() for n in window.outputs)
        (tmp_path / "input").write_bytes(content)
        execute([driver, name, tmp_path / "input", tmp_path / "output"])
        assert (tmp_path / "output").read_bytes() == wanted, name


def test_wrong_arguments_give_a_status_and_write_nothing(tmp_path: Path) -> None:
    names = [n for n, w in programs().items() if WindowModel(w, "w").plan.per_step][:2]
    names += [n for n, w in programs().items() if not WindowModel(w, "w").plan.per_step][:2]
    chosen = {name: programs()[name] for name in (*names, "passed")}
    loaded = library(write_windows(chosen, tmp_path), tmp_path / "all.so")
    for name, window in chosen.items():
        model, steps = WindowC(window, loaded, name), 5
        inputs = random_inputs(window, steps, 1)
        x, y = [inputs[t.name] for t in window.inputs], list(model.outputs(steps).values())
        size = model.buffer_size(steps)
        assert size == WindowModel(window, name).buffer_size(steps)
        buffer = np.full(size, UNWRITTEN, np.int16)
        calls = [
            (x, 0, y, buffer, size),
            (x, steps, y, None, size),
            ([None, *x[1:]], steps, y, buffer, size),
        ]
        calls += [(x, steps, [*y[:i], None, *y[i + 1 :]], buffer, size) for i in range(len(y))]
        calls += [([*x[:-1], None], steps, y, buffer, size)]
        assert [model.call(*arguments) for arguments in calls] == [ARGUMENT] * len(calls)
        short = [(x, steps, y, buffer, n) for n in (0, size - 1)]
        if WindowModel(window, name).plan.per_step:
            # With these the products of sizes and steps leave size_t.
            short += [(x, steps + 1, y, buffer, size)]
            short += [(x, n, y, buffer, size) for n in (1 << 62, 1 << 63, (1 << 64) - 1)]
        assert [model.call(*arguments) for arguments in short] == [BUFFER] * len(short)
        assert (buffer == UNWRITTEN).all()
        assert all((v == UNWRITTEN).all() for v in y)
        assert model.call(x, steps, y, buffer, size) == OK


def test_the_buffer_is_small() -> None:
    """As large as what must be there at once; nothing at all for what is read at an end alone."""
    program = random_structure(3)
    name, tensor = next(iter(program.outputs.items()))
    size = program.tensors[tensor].size
    stages, picks = [], {}
    for number, direction in enumerate(("forward", "reverse") * 3):
        renamed = dataclasses.replace(
            program,
            outputs={f"v{number}": tensor},
            states=tuple(dataclasses.replace(s, name=f"{s.name}{number}") for s in program.states),
        )
        stages.append(Stage(renamed, direction, {n: Source(n) for n in program.inputs}))
        picks[f"v{number}"] = Source(f"v{number}", "first" if number % 3 else "last")
    inputs = tuple(program.tensors[n] for n in program.inputs)
    plan = WindowModel(Window(inputs, tuple(stages), picks), "w").plan
    assert plan.per_step == 0
    assert plan.single <= 2 * size, name
    # Bidirectional layers one on the other: no more than two of them are there at once.
    for seed in (0, 1, 2):
        model = WindowModel(random_stack(seed), "w")
        arrays = [a for a in model.plan.buffer if a.every]
        most = max(
            sum(a.size for a in arrays if a.begin <= n <= a.end) for n in range(len(model.stages))
        )
        assert most <= model.plan.per_step <= 1.5 * most


def test_equal_programs_give_equal_bytes() -> None:
    script = (
        "import hashlib\nfrom edgernn.exporters.c.window import to_c_window\n"
        "from tests.windows import random_window\n"
        "for seed in (0, 1, 5, 6, 9):\n"
        "    files = to_c_window(random_window(seed), 'kws')\n"
        "    print([(f, hashlib.sha256(d).hexdigest()) for f, d in files.items()])\n"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", script],
            cwd=Path(__file__).parents[2],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1")
    }
    assert len(printed) == 1
    assert len(printed.pop()) > 1000


WORDS = [
    *("steps", "buffer", "buffer_size", "status", "stage1", "net_window", "net_stage1", "h"),
    *("net_stage1_step", "net_stage1_state_t", "net_stage2_reset", "h_first", "h_last"),
]


def hostile_window(words: list[str], seed: int) -> Window:
    """Values, inputs and outputs of such names: an output is named as another's value."""
    first = hostile(words[::2], seed)
    again = hostile(words[1::2], seed + 1)
    inputs = tuple(first.tensors[n] for n in first.inputs)
    outputs = dict(zip(words[1::2], first.outputs.values(), strict=False))
    first = dataclasses.replace(
        first,
        outputs=outputs,
        states=tuple(dataclasses.replace(s, name=f"{s.name}_s") for s in first.states),
    )
    given = {n: Source(list(outputs)[i % len(outputs)]) for i, n in enumerate(again.inputs)}
    again = dataclasses.replace(again, outputs={f"{n}_again": t for n, t in again.outputs.items()})
    stages = [
        Stage(first, "forward", {n: Source(n) for n in first.inputs}),
        Stage(again, "reverse", given),
    ]
    values = [*outputs, *again.outputs]
    ends = {
        n: Source(values[-1 - i % len(values)], ("step", "first", "last")[i % 3])
        for i, n in enumerate(words)
    }
    window = Window(inputs, tuple(stages), ends)
    validate_window(window)
    return window


@pytest.mark.parametrize("build", [GCC, CLANG, CXX], ids=str)
@pytest.mark.parametrize("part", range(3))
def test_any_name_that_a_window_may_have_compiles_and_runs(
    part: int, build: Build, tmp_path: Path
) -> None:
    require(build.compiler[0])
    windows = {"net": hostile_window([*dict.fromkeys([*HOSTILE[part::6], *WORDS[part::3]])], part)}
    loaded = library(write_windows(windows, tmp_path), tmp_path / "net.so", build)
    header = (tmp_path / "net.h").read_text()
    macros = re.findall(r"#define (\w+)", header)
    assert len(set(macros)) == len(macros)
    helpers = re.findall(r"\bnet_(?:de)?quantize_\w+(?=\()", header)
    ports = len(windows["net"].inputs) + len(windows["net"].outputs)
    assert len(set(helpers)) == len(helpers) == ports
    x = random_inputs(windows["net"], 20, part)
    same(
        WindowC(windows["net"], loaded, "net").run(x),
        dict(PlainWindowEngine(windows["net"]).run(x)),
        "net",
    )


@pytest.mark.parametrize("name", ["", "Kws", "int", "edgernn_x", "k" * 49])
def test_a_name_that_cannot_be_one_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="cannot name the model in C"):
        to_c_window(random_window(0), name)


def test_a_window_that_is_not_valid_is_refused() -> None:
    window = random_window(0)
    with pytest.raises(FileFormatError, match="not a valid edgernn window program"):
        to_c_window(dataclasses.replace(window, outputs={"y": Source("nothing")}))


def test_the_longest_name_fits(tmp_path: Path) -> None:
    windows = {"k" * 48: random_window(0)}
    loaded = library(write_windows(windows, tmp_path), tmp_path / "net.so")
    x = random_inputs(windows["k" * 48], 9, 1)
    wanted = dict(PlainWindowEngine(windows["k" * 48]).run(x))
    same(WindowC(windows["k" * 48], loaded, "k" * 48).run(x), wanted, "k")


HELPERS = """
#include "net.h"
#ifdef __cplusplus
extern "C" {
#endif
int in(const float *values, int16_t *integers, size_t steps);
void each(const int16_t *integers, float *values, size_t steps);
void once(const int16_t *integers, float *values);
#ifdef __cplusplus
}
#endif
int in(const float *values, int16_t *integers, size_t steps)
{
    return (int)net_quantize_input_x(values, integers, steps);
}
void each(const int16_t *integers, float *values, size_t steps)
{
    net_dequantize_output_each(integers, values, steps);
}
void once(const int16_t *integers, float *values)
{
    net_dequantize_output_once(integers, values);
}
"""


@pytest.mark.parametrize("build", [GCC, CXX], ids=str)
def test_helpers_convert_whole_windows(build: Build, tmp_path: Path) -> None:
    require(build.compiler[0])
    window = next(
        w
        for w in map(random_stack, range(40))
        if {"each", "once"} <= set(w.outputs) and len(w.inputs) == 2
    )
    sources = write_window(window, tmp_path, "net")
    (tmp_path / "helpers.c").write_text(HELPERS)
    loaded = library([*sources, tmp_path / "helpers.c"], tmp_path / "net.so", build)
    rng, steps, tensors = np.random.default_rng(0), 6, window.tensors()
    x = tensors["x"]
    values = rng.normal(0, 20000 * float(x.scale), (steps, x.size)).astype(np.float32)
    integers = np.full((steps + 1, x.size), UNWRITTEN, np.int16)
    assert loaded["in"](*_addresses(values, integers), steps) == OK
    from edgernn.runtime.engine import quantize

    np.testing.assert_array_equal(integers[:-1], quantize(values, x))
    assert (integers[-1] == UNWRITTEN).all()
    values[-1, -1] = np.nan
    assert loaded["in"](*_addresses(values, integers), steps) == 3
    for name, rows in (("each", steps), ("once", 1)):
        tensor = tensors[window.outputs[name].value]
        given = rng.integers(-32768, 32768, (rows, tensor.size)).astype(np.int16)
        floats = np.full((rows + 1, tensor.size), 7, np.float32)
        loaded[name](*_addresses(given, floats), *([steps] if name == "each" else []))
        np.testing.assert_array_equal(floats[:-1], given * np.float32(float(tensor.scale)))
        assert (floats[-1] == 7).all()


def _addresses(*arrays: np.ndarray) -> list[object]:
    import ctypes

    return [ctypes.c_void_p(array.ctypes.data) for array in arrays]


def test_several_windows_and_a_program_share_the_engine(tmp_path: Path) -> None:
    """No symbol twice, and none without the prefix of its model, but the engine's."""
    require("nm")
    windows = {"one": random_window(0), "two": random_window(5)}
    sources = write_windows(windows, tmp_path)
    execute(["gcc", "-std=c99", *WARNINGS, "-c", *sources], tmp_path)
    symbols = execute(["nm", "-g", "--defined-only", *tmp_path.glob("*.o")])
    names = re.findall(r" [A-TV-Z] (\w+)$", symbols, re.MULTILINE)
    assert len(names) == len(set(names))
    assert {n.split("_")[0] for n in names} == {"one", "two", "edgernn", "run", "buffer", "windows"}
