"""The exported folder as an Arduino library: its properties, and Arduino's own builder.

The board is this machine; what builds is what builds for every other board.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from edgernn.runtime.program import Program
from edgernn.version import __version__
from tests.exporters.c_host import WARNINGS, execute, require
from tests.exporters.c_programs import ramp

REQUIRED = "name version author maintainer sentence paragraph category url architectures"
OPTIONAL = {"depends", "dot_a_linkage", "includes", "precompiled", "ldflags"}
CATEGORIES = (
    "Display;Communication;Signal Input/Output;Sensors;Device Control;Timing;Data Storage;"
    "Data Processing;Other"
)


def test_the_properties_of_the_arduino_library_are_those_that_are_asked_for(
    c_folders: dict[str, Path],
) -> None:
    for name, folder in c_folders.items():
        lines = (folder / "library.properties").read_text().splitlines()
        properties = dict(line.split("=", 1) for line in lines)
        assert len(properties) == len(lines)
        assert set(REQUIRED.split()) <= set(properties) <= set(REQUIRED.split()) | OPTIONAL
        assert all(value.strip() for value in properties.values())
        assert properties["name"] == name
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 _.-]*", name)
        assert re.fullmatch(r"\d+\.\d+\.\d+", properties["version"])
        assert properties["category"] in CATEGORIES.split(";")
        assert properties["url"].startswith("https://")
        assert (folder / properties["includes"]).is_file()
        # The old layout, all in the root: a folder src would hide the sources beside it.
        assert not (folder / "src").exists()
        sketches = list((folder / "examples").rglob("*.ino"))
        assert [sketch.stem for sketch in sketches] == [sketch.parent.name for sketch in sketches]


PLATFORM = """name=Host
version=1.0.0
flags=-DARDUINO={runtime.ide.version} -DARDUINO_ARCH_HOST -Wall -Wextra -Werror {includes}
recipe.c.o.pattern=gcc -c -Os -std=gnu11 {flags} "{source_file}" -o "{object_file}"
recipe.cpp.o.pattern=g++ -c -Os -std=gnu++11 {flags} "{source_file}" -o "{object_file}"
recipe.ar.pattern=ar rcs "{archive_file_path}" "{object_file}"
elf={build.path}/sketch.elf
recipe.c.combine.pattern=g++ -o "{elf}" {object_files} "{build.path}/{archive_file}"
recipe.preproc.macros=g++ -E -CC -x c++ {flags} "{source_file}" -o "{preprocessed_file_path}"
recipe.size.pattern=size "{elf}"
recipe.size.regex=^\\S+\\s+([0-9]+).*
"""
BOARDS = """host.name=Host
host.build.board=HOST
host.build.core=host
host.build.mcu=host
host.upload.maximum_size=100000000
"""
ARDUINO_H = """#pragma once
#include <stdint.h>
struct Console {
    void begin(long);
    void print(const char *);
    void print(int);
    void println(const char *);
    void println();
};
extern Console Serial;
void delay(unsigned long);
void setup();
void loop();
"""
ARDUINO_CPP = """#include <Arduino.h>
#include <stdio.h>
Console Serial;
void Console::begin(long) {}
void Console::print(const char *text) { fputs(text, stdout); }
void Console::print(int value) { printf("%d", value); }
void Console::println(const char *text) { puts(text); }
void Console::println() { puts(""); }
void delay(unsigned long) {}
int main()
{
    setup();
    for (int i = 0; i < 9; ++i) {
        loop();
    }
}
"""


def arduino_build(sketch: Path, libraries: Path, folder: Path) -> str:
    """Build a sketch into folder/build/sketch.elf; what the builder says."""
    require("arduino-builder", "arduino-ctags")
    platform = folder / "hardware" / "test" / "host"
    core = platform / "cores" / "host"
    core.mkdir(parents=True)
    for path, text in (
        (platform / "platform.txt", PLATFORM),
        (platform / "boards.txt", BOARDS),
        (core / "Arduino.h", ARDUINO_H),
        (core / "main.cpp", ARDUINO_CPP),
    ):
        path.write_text(text)
    (folder / "build").mkdir()
    (folder / "tools").mkdir()
    options = {
        "hardware": platform.parents[1],
        "tools": folder / "tools",
        "libraries": libraries,
        "fqbn": "test:host:host",
        "build-path": folder / "build",
        "warnings": "all",
    }
    command = ["arduino-builder", "-compile", "-verbose", "-hardware", "/usr/share/arduino-builder"]
    for option, value in options.items():
        command += [f"-{option}", str(value)]
    log = execute([*command, sketch])
    assert "invalid" not in log.lower()
    return log


@pytest.mark.parametrize("name", ["kws", "wake"])
def test_arduinos_builder_takes_the_folder_as_a_library_and_its_sketch_runs(
    c_models: dict[str, Program], c_folders: dict[str, Path], name: str, tmp_path: Path
) -> None:
    sketch = c_folders[name] / "examples" / "stream" / "stream.ino"
    log = arduino_build(sketch, c_folders[name].parent, tmp_path)
    assert f"Using library {name} at version {__version__}" in log
    # Every source of the root is compiled, the guarded example too.
    for source in c_folders[name].glob("*.c"):
        assert f"{source.name}.o" in log
    printed = execute([tmp_path / "build" / "sketch.elf"]).splitlines()
    # A loop without an end begins its ramp anew, and here with 1.
    assert printed == ramp(c_models[name], 1)


def test_two_models_in_one_sketch_share_a_folder(
    c_models: dict[str, Program], c_folders: dict[str, Path], tmp_path: Path
) -> None:
    """Arduino links every source of a library, so that the engine must be there once."""
    library = Path(shutil.copytree(c_folders["kws"], tmp_path / "libraries" / "kws"))
    for file in ("wake.h", "wake.c"):
        shutil.copy(c_folders["wake"] / file, library)
    sketch = tmp_path / "both" / "both.ino"
    sketch.parent.mkdir()
    text = (c_folders["kws"] / "examples" / "stream" / "stream.ino").read_text()
    text = text.replace("#include <kws.h>", "#include <kws.h>\n#include <wake.h>")
    text = text.replace("    kws_reset(&state);", "    kws_reset(&state);\n    wake_reset(&wake);")
    sketch.write_text(text.replace("static kws", "static wake_state_t wake;\nstatic kws"))
    arduino_build(sketch, tmp_path / "libraries", tmp_path)
    printed = execute([tmp_path / "build" / "sketch.elf"]).splitlines()
    assert printed == ramp(c_models["kws"], 1)


def test_all_sources_of_the_root_link_beside_a_sketch(
    c_folders: dict[str, Path], tmp_path: Path
) -> None:
    """As Arduino compiles a library, without its builder: no second main."""
    (tmp_path / "main.c").write_text("int main(void)\n{\n    return 0;\n}\n")
    for folder in c_folders.values():
        sources = sorted(folder.glob("*.c"))
        assert "example_main.c" in [source.name for source in sources]
        command = ["gcc", "-std=c99", *WARNINGS, "-DARDUINO=10819", "-o", tmp_path / "sketch"]
        execute([*command, *sources, tmp_path / "main.c"])
