"""What the exported C promises beside its bits: no warnings, no heap, no float, same text again."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

from edgernn.exporters.c import to_c
from edgernn.runtime.program import Program
from edgernn.runtime.state import state_tag
from edgernn.version import __version__
from tests.exporters import c_programs
from tests.exporters.c_host import (
    CLANG,
    CXX,
    GCC,
    NATIVE,
    PORTABLE,
    WARNINGS,
    Build,
    execute,
    require,
    write_all,
)
from tests.programs import random_program

ROOT = Path(__file__).parents[2]
# What a project with rules of its own may have switched on.
STRICT = """
    -Wvla -Wcast-qual -Wcast-align -Wundef -Wpointer-arith -Wwrite-strings -Wswitch-enum
    -Wswitch-default -Wdouble-promotion -Wfloat-equal -Wformat=2 -Wsign-conversion
    -Warith-conversion -Wduplicated-cond -Wduplicated-branches -Wlogical-op -Wnull-dereference
    -Wunused-macros -Wredundant-decls -Wdisabled-optimization -Wuninitialized -Walloca
    -Wstack-usage=8192
"""
STRICT_C = """
    -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition -Wnested-externs
    -Wc++-compat -Wunsuffixed-float-constants
"""
STRICT_CLANG = """
    -Wvla -Wcast-qual -Wcast-align -Wundef -Wpointer-arith -Wswitch-enum -Wdouble-promotion
    -Wsign-conversion -Wimplicit-fallthrough -Wmissing-prototypes -Wstrict-prototypes
    -Wmissing-variable-declarations -Wcomma -Wextra-semi -Wshorten-64-to-32 -Wassign-enum
    -Wloop-analysis -Wunreachable-code-aggressive -Wconditional-uninitialized -Wtautological-compare
"""
ANALYZER = ("-fanalyzer",)


@pytest.fixture(scope="module")
def programs() -> dict[str, Program]:
    stacks = c_programs.stacks()
    return {
        "all_cells": stacks["all_cells"],
        "lstm": stacks["lstm"],
        **c_programs.structures(range(40, 46), 40),
        "every_operator": c_programs.every_operator(),
        "functions": c_programs.functions(),
        "wide": c_programs.wide(515, 6),
    }


@pytest.fixture(scope="module")
def sources(programs: dict[str, Program], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_all(programs, tmp_path_factory.mktemp("rules"))


def compiled(sources: list[Path], folder: Path, build: Build, *flags: str) -> list[Path]:
    """The object files; any warning is an error."""
    command = [*build.compiler, "-O2", *WARNINGS, *build.flags, *flags, "-c", *sources]
    execute(command, folder)
    return sorted(folder.glob("*.o"))


@pytest.mark.parametrize("family", [PORTABLE, NATIVE], ids=["portable", "native"])
@pytest.mark.parametrize(
    ("build", "flags"),
    [
        (GCC, [*STRICT.split(), *STRICT_C.split()]),
        (GCC, ANALYZER),
        (CLANG, STRICT_CLANG.split()),
        (CXX, STRICT.split()),
    ],
    ids=["gcc", "analyzer", "clang", "c++"],
)
def test_no_compiler_has_a_warning(
    sources: list[Path],
    tmp_path: Path,
    build: Build,
    flags: list[str],
    family: tuple[str, ...],
) -> None:
    require(build.compiler[0])
    assert compiled(sources, tmp_path, Build(build.compiler, family), *flags)


@pytest.mark.parametrize("standard", ["c99", "gnu99", "c11", "gnu17"])
def test_every_standard_of_c_takes_it(sources: list[Path], tmp_path: Path, standard: str) -> None:
    assert compiled(sources, tmp_path, Build(("gcc", f"-std={standard}")))


@pytest.mark.parametrize("standard", ["c++11", "c++20"])
def test_cpp_takes_it_too(sources: list[Path], tmp_path: Path, standard: str) -> None:
    require("g++")
    assert compiled(sources, tmp_path, Build(("g++", "-x", "c++", f"-std={standard}")))


@pytest.mark.parametrize("family", [PORTABLE, NATIVE], ids=["portable", "native"])
def test_nothing_is_called_but_memcpy_and_memset(
    sources: list[Path], tmp_path: Path, family: tuple[str, ...]
) -> None:
    """No heap, no float helper, no library but string.h; nothing that is written to but states."""
    require("nm")
    flags = ("-ffreestanding", "-fno-pic", "-fno-stack-protector")
    objects = compiled(sources, tmp_path, Build(GCC.compiler, family), *flags)
    symbols = [line.split()[-2:] for line in execute(["nm", *objects]).splitlines() if " " in line]
    defined = {name for kind, name in symbols if kind not in "Uw"}
    assert {name for kind, name in symbols if kind in "Uw"} - defined <= {"memcpy", "memset"}
    assert "all_cells_step" in defined
    assert any(name.startswith("edgernn_linear_") for name in defined)
    # t, T: code; r, R: constants. No data, no bss, nothing common.
    assert {kind for kind, _ in symbols} - {"U"} <= set("tTrR")
    ours = ("edgernn_", *(f"{name}_" for name in ("all_cells", "lstm", "structure", "wide")))
    ours += ("every_operator_", "functions_")
    assert all(name.startswith(ours) for kind, name in symbols if kind in "TR")


FLOAT = re.compile(
    r"v?cvt\w*|f[a-z]\w*|v?(add|sub|mul|div|sqrt|max|min|fm\w*|fn\w*|rcp|rsqrt|round|cmp|ucomi|"
    r"comi|hadd|hsub|dp|scalef|range|reduce|getexp|getmant)\w*(ss|sd|ps|pd|sh|ph)"
)


@pytest.mark.parametrize("family", [PORTABLE, NATIVE], ids=["portable", "native"])
def test_no_float_is_computed(sources: list[Path], tmp_path: Path, family: tuple[str, ...]) -> None:
    require("objdump")
    if os.uname().machine != "x86_64":
        pytest.skip("reads the instructions of x86-64")
    objects = compiled(sources, tmp_path, Build(GCC.compiler, family))
    text = execute(["objdump", "-d", "--no-show-raw-insn", *objects])
    operations = re.findall(r"^\s+[0-9a-f]+:\t(\w+)", text, re.MULTILINE)
    assert len(operations) > 1000
    assert not {operation for operation in operations if FLOAT.fullmatch(operation)}


def test_a_float_would_be_found(tmp_path: Path) -> None:
    require("objdump")
    (tmp_path / "f.c").write_text("int f(float a, int b) { return (int)(a * (float)b); }\n")
    execute(["gcc", "-O2", "-c", "f.c"], tmp_path)
    text = execute(["objdump", "-d", "--no-show-raw-insn", "f.o"], tmp_path)
    operations = re.findall(r"^\s+[0-9a-f]+:\t(\w+)", text, re.MULTILINE)
    assert len([operation for operation in operations if FLOAT.fullmatch(operation)]) == 3


@pytest.mark.parametrize("family", [PORTABLE, NATIVE], ids=["portable", "native"])
def test_no_function_calls_itself_nor_one_it_cannot_name(
    sources: list[Path], tmp_path: Path, family: tuple[str, ...]
) -> None:
    """The call graph of the compiler: no cycle, no call through a pointer."""
    compiled(sources, tmp_path, Build(GCC.compiler, family), "-fcallgraph-info", "-fno-inline")
    calls: dict[str, set[str]] = {}
    for graph in tmp_path.glob("*.ci"):
        for caller, called in re.findall(
            r'edge: \{ sourcename: "([^"]+)" targetname: "([^"]+)"', graph.read_text()
        ):
            # Static functions have their file before their name.
            calls.setdefault(caller.split(":")[-1], set()).add(called.split(":")[-1])
    assert any(name.startswith("edgernn_linear_") for name in calls["all_cells_step"])
    assert not any("indirect" in name for names in calls.values() for name in names)

    def descend(name: str, above: frozenset[str]) -> None:
        assert name not in above, f"{name} calls itself"
        for called in calls.get(name, ()):
            descend(called, above | {name})

    for name in calls:
        descend(name, frozenset())


def test_the_text_is_laid_out_for_reading(programs: dict[str, Program]) -> None:
    for name, program in programs.items():
        for file, content in to_c(program, name).items():
            text = content.decode("ascii")
            assert text.endswith("\n"), file
            assert not text.endswith("\n\n"), file
            assert "\t" not in text, file
            for line in text.splitlines():
                assert line == line.rstrip(), f"{file}: {line!r}"
                # The engine is laid out by hand; a block of numbers is a line, and so is a property
                # of Arduino.
                by_hand = file.startswith("edgernn") or file == "library.properties"
                if not by_hand and not line.startswith("    EDGERNN_"):
                    assert len(line) <= 100, f"{file}: {line}"


def test_the_banner_says_what_the_model_is_and_no_more(programs: dict[str, Program]) -> None:
    program = programs["lstm"]
    header = to_c(program, "lstm")["lstm.h"].decode()
    sha256 = re.search(r"model sha256 ([0-9a-f]{64})\n", header)
    assert sha256 is not None
    assert f'#define LSTM_SHA256 "{sha256[1]}"' in header
    assert int.from_bytes(bytes.fromhex(sha256[1])[:4], "little") == state_tag(program)
    assert f"edgernn {__version__}; do not edit" in header
    assert f'#define EDGERNN_VERSION "{__version__}"' in to_c(program, "lstm")["edgernn.h"].decode()
    assert not re.search(r"\b20[0-9][0-9]-|\d\d:\d\d", header)


def test_constants_and_tables_are_in_the_text_once_and_only_if_they_are_read(
    programs: dict[str, Program],
) -> None:
    text = to_c(programs["functions"], "net")["net.c"].decode()
    arrays = re.findall(r"static const int(?:8|16)_t (net_(?:constant|table)_\w+)\[(\d+)\]", text)
    # Two look-ups have one table, and so have two of three embeddings.
    assert sorted(arrays) == [
        *[("net_constant_initial", "1"), ("net_constant_k", "7"), ("net_constant_whole", "9")],
        *[(f"net_table_{i}", size) for i, size in enumerate(("35", "45", "513", "513"))],
    ]
    assert "edgernn_broadcast" in text


def test_the_header_says_which_input_is_a_token(programs: dict[str, Program]) -> None:
    text = to_c(programs["functions"], "net")["net.h"].decode()
    assert "/* token: a token id, 0 .. 4; any other counts as the nearest. */" in text
    assert text.count("token id") == 1
    assert "token id" not in to_c(programs["lstm"], "net")["net.h"].decode()


def test_the_settings_of_the_calibration_are_in_the_banner() -> None:
    from dataclasses import replace

    settings = {"method": "minmax", "rounding": "compensated", "sequences": 12}
    program = replace(random_program(["gru"], [4], 2, 0), metadata={"calibration": settings})
    for file in ("net.h", "net.c"):
        banner = to_c(program, "net")[file].decode().split("*/")[0]
        assert "method minmax, rounding compensated, sequences 12" in banner


DIGEST = """
import hashlib, sys
from tests.exporters.c_programs import structures, stacks
from edgernn.exporters.c import to_c
digest = hashlib.sha256()
for program in [*structures(range(4)).values(), *stacks().values()]:
    for file, content in to_c(program, "net").items():
        digest.update(file.encode() + content)
print(digest.hexdigest())
"""


def test_equal_programs_give_equal_bytes_in_every_process() -> None:
    digests = set()
    for seed in ("0", "1", "12345"):
        done = subprocess.run(
            [sys.executable, "-c", DIGEST],
            env=os.environ | {"PYTHONHASHSEED": seed, "TZ": f"UTC{seed[0]}"},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        digests.add(done.stdout)
    assert len(digests) == 1


def test_a_machine_with_a_short_int_is_refused(tmp_path: Path) -> None:
    """8-bit boards: their int has 16 bits, and sums would overflow without a word."""
    require("clang")
    write_all({"net": random_program(["gru"], [2], 1, 0)}, tmp_path)
    command = ["clang", "--target=avr", "-ffreestanding", "-fsyntax-only", tmp_path / "edgernn.c"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode != 0
    assert "int of 32 bits" in done.stderr


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names flags of x86")
def test_a_model_and_an_engine_of_different_families_do_not_link(
    sources: list[Path], tmp_path: Path
) -> None:
    """Their constants lie in memory in different ways: linked, they would compute nonsense."""
    require("gcc", "nm")
    names = []
    for family in (("-mavx2",), PORTABLE):
        folder = tmp_path / str(len(names))
        folder.mkdir()
        symbols = execute(["nm", *compiled(sources, folder, Build(GCC.compiler, family))])
        names.append({word for word in symbols.split() if word.startswith("edgernn_linear")})
    assert len(names[0]) == len(names[1]) >= 3
    assert names[0].isdisjoint(names[1])
