"""The exported folder: what is in it, and that every compiler at hand takes it as it lies there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgernn.exporters.c import to_c
from edgernn.runtime.program import Program
from edgernn.toml_file import read_toml
from tests.exporters.c_host import WARNINGS, execute, require

ROOT = Path(__file__).parents[2]
FILES = {
    *("kws.h", "kws.c", "edgernn.h", "edgernn.c", "example_main.c"),
    *("CMakeLists.txt", "library.properties", "idf_component.yml", "zephyr/module.yml"),
    "examples/stream/stream.ino",
}


def test_the_folder_has_all_that_is_promised(c_models: dict[str, Program]) -> None:
    files = to_c(c_models["kws"], "kws")
    assert set(files) >= FILES
    engine = {p.name for p in (ROOT / "exporters" / "c" / "engine").iterdir()}
    assert set(files) - FILES == engine - FILES
    for file, content in files.items():
        # Every @word@ of a template was filled in.
        assert not re.search(rb"@\w+@", content), file


def test_every_source_of_the_engine_is_in_the_list_of_cmake(c_folders: dict[str, Path]) -> None:
    text = (c_folders["kws"] / "CMakeLists.txt").read_text()
    listed = re.search(r"set\(engine\n((?:  \w+\.c\n?)+)\)", text)
    assert listed is not None
    present = {p.name for p in c_folders["kws"].glob("*.c")} - {"kws.c", "example_main.c"}
    assert sorted(listed[1].split()) == sorted(present)


@pytest.mark.parametrize(
    "compiler",
    [
        ("gcc",),
        ("clang",),
        ("g++", "-x", "c++", "-std=c++11"),
        ("arm-none-eabi-gcc", "-mcpu=cortex-m0plus", "-mthumb"),
        ("arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mthumb"),
        ("arm-none-eabi-gcc", "-mcpu=cortex-m55", "-mthumb", "-mfloat-abi=hard"),
        ("riscv64-unknown-elf-gcc", "-march=rv32imc", "-mabi=ilp32", "--specs=picolibc.specs"),
    ],
    ids=lambda compiler: "-".join(part.split("=")[-1] for part in compiler[:2]),
)
def test_every_compiler_takes_all_of_the_folder(
    c_folders: dict[str, Path], compiler: tuple[str, ...], tmp_path: Path
) -> None:
    require(compiler[0])
    standard = () if "-x" in compiler else ("-std=c99",)
    for folder in c_folders.values():
        sources = sorted(folder.glob("*.c"))
        execute([*compiler, *standard, "-Os", *WARNINGS, "-c", *sources], tmp_path)


def test_what_the_folder_is_made_from_is_packaged() -> None:
    project = read_toml(ROOT / "pyproject.toml", "the project")
    packaged = project["tool"]["setuptools"]["package-data"]["edgernn.exporters.c"]
    parts = ROOT / "exporters" / "c"
    folders = [f for f in parts.iterdir() if f.is_dir() and not list(f.glob("*.py*"))]
    kept = [f.name for f in folders if f.name != "__pycache__"]
    assert sorted(packaged) == sorted(f"{name}/*" for name in kept)
    assert all(p.is_file() for name in kept for p in (parts / name).iterdir())
