"""The exported folder of a window program in CMake, ESP-IDF, Zephyr and Arduino."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from edgernn.exporters.c.window import to_c_window
from edgernn.runtime.window import Window
from edgernn.runtime.window_runtime import WindowRuntime
from tests.exporters.c_host import WARNINGS, execute, require, write
from tests.exporters.c_windows import outputs_of, write_window
from tests.exporters.test_c_arduino import arduino_build
from tests.exporters.test_c_cmake import EARLY, ESP, ZEPHYR, cmake, yaml
from tests.programs import random_program
from tests.windows import random_stack

FILES = {
    *("kws.h", "kws.c", "kws_stage1.h", "kws_stage1.c", "kws_stage2.h", "kws_stage2.c"),
    *("edgernn.h", "edgernn.c", "example_main.c", "examples/window/window.ino"),
    *("CMakeLists.txt", "library.properties", "idf_component.yml", "zephyr/module.yml"),
}
MAIN = """#include "kws.h"
#include "wake.h"
static int16_t x[3 * 64], y[4][3 * 64], buffer[KWS_BUFFER_SIZE(3)];
int main(void)
{{
    wake_state_t wake;
    wake_reset(&wake);
    return (int)kws_window({arguments}) + (int)wake_check(&wake);
}}
"""


@pytest.fixture(scope="module")
def window() -> Window:
    """With outputs for every step, and one."""
    return next(
        w
        for w in (random_stack(seed, 12) for seed in range(60))
        if {every for _, every in outputs_of(w).values()} == {True, False} and len(w.stages) > 2
    )


@pytest.fixture(scope="module")
def folders(window: Window, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A window program beside one that streams."""
    base = tmp_path_factory.mktemp("exported")
    write_window(window, base / "kws", "kws")
    write(random_program(["gru"], [4], 2, 0), base / "wake", "wake")
    return {name: base / name for name in ("kws", "wake")}


def example(window: Window) -> tuple[list[str], str]:
    """What the example prints in each step, and once, computed by the NumPy engine."""
    ramp = 500 * np.arange(10, dtype=np.int16)[:, None]
    x = [np.repeat(ramp, t.size, axis=1) for t in window.inputs]
    found = WindowRuntime(window).run_int(*x)
    values = found if isinstance(found, tuple) else (found,)
    steps, once = [""] * 10, ""
    for value in values:
        if value.ndim == 2:
            steps = [
                line + "".join(f" {v}" for v in row[:8])
                for line, row in zip(steps, value, strict=True)
            ]
        else:
            once += "".join(f" {v}" for v in value[:8])
    return steps, once


def main_program(window: Window, folder: Path) -> None:
    inputs, outputs = len(window.inputs), len(window.outputs)
    assert outputs <= 4
    assert max(t.size for t in window.tensors().values()) <= 64
    arguments = ["x"] * inputs + ["3"] + [f"y[{i}]" for i in range(outputs)]
    arguments += ["buffer", "KWS_BUFFER_SIZE(3)"]
    (folder / "main.c").write_text(MAIN.format(arguments=", ".join(arguments)))


def test_the_folder_has_all_that_is_promised(window: Window) -> None:
    files = to_c_window(window, "kws")
    assert set(files) >= FILES
    for file, content in files.items():
        # Every @word@ of a template was filled in.
        assert not re.search(rb"@\w+@", content), file


def test_cmake_builds_the_example_and_it_prints_the_programs_outputs(
    window: Window, folders: dict[str, Path], tmp_path: Path
) -> None:
    log = cmake(folders["kws"], tmp_path, "-DCMAKE_C_FLAGS=-Werror")
    assert all(flag in log for flag in WARNINGS)
    printed = execute([tmp_path / "kws_example"]).splitlines()
    steps, once = example(window)
    assert printed == [*(f"step {t}:{line}" for t, line in enumerate(steps)), f"once:{once}"]


def test_a_window_program_and_one_that_streams_are_components_of_esp_idf(
    window: Window, folders: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "early.cmake").write_text(EARLY)
    definitions = ("-DESP_PLATFORM=1", f"-DFOLDER={folders['kws']}")
    execute(["cmake", *definitions, "-P", tmp_path / "early.cmake"], tmp_path)
    main_program(window, tmp_path)
    text = ESP.replace("@kws@", str(folders["kws"])).replace("@wake@", str(folders["wake"]))
    (tmp_path / "CMakeLists.txt").write_text(text)
    assert "example_main" not in cmake(tmp_path, tmp_path / "build")
    execute([tmp_path / "build" / "app"])
    manifest = yaml((folders["kws"] / "idf_component.yml").read_text())
    assert str(manifest["description"]).endswith("that is run over whole windows")


def test_both_are_modules_of_zephyr(
    window: Window, folders: dict[str, Path], tmp_path: Path
) -> None:
    main_program(window, tmp_path)
    text = ZEPHYR.replace("@base@", str(tmp_path))
    text = text.replace("@kws@", str(folders["kws"])).replace("@wake@", str(folders["wake"]))
    (tmp_path / "CMakeLists.txt").write_text(text)
    log = cmake(tmp_path, tmp_path / "build")
    assert len(re.findall(r" -c \S*edgernn\.c", log)) == 1
    execute([tmp_path / "build" / "app"])


def test_arduinos_builder_takes_it_as_a_library_and_its_sketch_runs(
    window: Window, folders: dict[str, Path], tmp_path: Path
) -> None:
    sketch = folders["kws"] / "examples" / "window" / "window.ino"
    log = arduino_build(sketch, folders["kws"].parent, tmp_path)
    assert "Using library kws at version" in log
    printed = execute([tmp_path / "build" / "sketch.elf"]).splitlines()
    steps, once = example(window)
    # The loop of the stand-in for a board has nine turns.
    assert printed == 9 * [*steps, once]


@pytest.mark.parametrize(
    "compiler",
    [
        ("clang",),
        ("g++", "-x", "c++", "-std=c++11"),
        ("arm-none-eabi-gcc", "-mcpu=cortex-m0plus", "-mthumb"),
        ("arm-none-eabi-gcc", "-mcpu=cortex-m55", "-mthumb", "-mfloat-abi=hard"),
        ("riscv64-unknown-elf-gcc", "-march=rv32imc", "-mabi=ilp32", "--specs=picolibc.specs"),
    ],
    ids=lambda compiler: "-".join(part.split("=")[-1] for part in compiler[:2]),
)
def test_every_compiler_takes_all_of_the_folder(
    folders: dict[str, Path], compiler: tuple[str, ...], tmp_path: Path
) -> None:
    require(compiler[0])
    standard = () if "-x" in compiler else ("-std=c99",)
    sources = sorted(folders["kws"].glob("*.c"))
    execute([*compiler, *standard, "-Os", *WARNINGS, "-c", *sources], tmp_path)
