"""`edgernn build`: what it makes and refuses; a wrong library never takes its place."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from edgernn import building
from edgernn.building import build
from edgernn.cli import main
from edgernn.engines.native import PORTABLE, LibraryEngine
from edgernn.exporters.c import to_c
from edgernn.native.compiler import Compiler
from edgernn.runtime import Program, StepRuntime, save_program
from edgernn.runtime.errors import (
    EdgernnError,
    InputError,
    MismatchError,
    MissingExtraError,
)
from edgernn.runtime.library import Library, library_path, platform_tag, processor_features
from tests.exporters.c_host import require
from tests.libraries import altered, compiler
from tests.programs import random_integers, random_program

AARCH64 = "aarch64-linux-gnu-gcc"


X = random_integers(np.random.default_rng(0), (50, 3))


@pytest.fixture
def program() -> Program:
    return random_program(["gru", "lstm"], [7, 5], 3, seed=1, head=2)


@pytest.fixture
def folder(program: Program, tmp_path: Path) -> Path:
    compiler()
    save_program(program, tmp_path / "model.safetensors")
    return tmp_path


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_command_puts_a_library_beside_the_program(folder: Path) -> None:
    result = call("build", folder, "--verify-steps", 60)
    assert result.exit_code == 0, result.output
    name = f"model.native-{platform_tag()}.so"
    assert names(folder) == {"model.safetensors", name}
    for word in (name, "operators, NumPy", "kernels", "built-in function", "us per step"):
        assert word in result.stdout
    runtime = StepRuntime.load(folder / "model.safetensors", engine="native")
    wanted = StepRuntime.load(folder / "model.safetensors").run_int(X)
    np.testing.assert_array_equal(runtime.run_int(X), wanted)


def test_what_was_built_is_told(folder: Path, program: Program) -> None:
    built = build(folder, "gcc", verify_steps=60)
    assert built.path == library_path(folder / "model.safetensors")
    assert built.compiler.startswith("gcc ")
    assert built.verification is not None
    assert built.verification.ok
    assert [r.compared for r in built.verification.rows] == [60 * (2 + 7 + 5 + 5)] * 3
    assert built.microseconds is not None
    assert 0 < built.microseconds["native"] < built.microseconds["numpy"]
    engine = LibraryEngine(built.path, program)
    assert engine.kernels == built.kernels
    assert engine.name == f"native, {built.kernels} kernels"


def needed(path: Path, program: Program) -> set[str]:
    """The features of the processor that a library asks for."""
    return set(Library(path, program)._text("features").split())


def test_the_default_is_this_processor_and_portable_is_any(
    folder: Path, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = build(folder, verify_steps=10)
    assert built.flags == Compiler().native_flags()
    assert needed(built.path, program) <= (processor_features() or set())
    # What Linux does not know of yet cannot be asked for, and the processor has it.
    monkeypatch.setattr(building, "processor_features", lambda: frozenset({"avx2"}))
    assert needed(build(folder, verify_steps=10).path, program) <= {"avx2"}
    built = build(folder, portable=True, flags="-O2 '-DA=b c'", verify_steps=10)
    assert built.flags == (*PORTABLE, "-O2", "-DA=b c")
    assert built.kernels == "portable"


def test_a_named_processor_is_recorded_with_all_that_it_needs(folder: Path) -> None:
    if not platform_tag().endswith("x86_64"):
        pytest.skip("the processor named is an x86-64 one")
    target = Compiler("gcc").target(["-march=haswell"])
    assert {"avx2", "fma", "bmi2"} <= target.features
    assert not target.features & {"avx512f", "avx512_vnni"}
    assert Compiler("gcc").target().features <= {"pni", "ssse3"}
    assert Compiler("gcc").target(["-m32"]).tag == "linux-i686"
    # 32-bit pointers on a 64-bit machine: no Python is like that.
    with pytest.raises(EdgernnError, match="does not compile for Python"):
        Compiler("gcc").target(["-mx32"])


def test_the_same_program_gives_the_same_library(folder: Path) -> None:
    first = build(folder, verify_steps=10).path.read_bytes()
    assert build(folder, verify_steps=10).path.read_bytes() == first


def test_the_compiler_may_lie_anywhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "tools").mkdir()
    (folder / "tools" / "my cc").symlink_to(str(shutil.which("gcc")))
    monkeypatch.chdir(folder)
    assert build(".", "'tools/my cc' -DX", verify_steps=10).compiler.startswith("my cc ")


def test_the_compiler_may_come_from_the_environment(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", "gcc -DFROM_CC")
    assert Compiler().command == ("gcc", "-DFROM_CC")
    assert build(folder, verify_steps=10).compiler.startswith("gcc ")
    assert Compiler("clang" if os.environ.get("CI") == "true" else "gcc").command[1:] == ()


@pytest.mark.parametrize("option", [[], ["--march", "armv8.2-a+dotprod"]], ids=str)
def test_a_cross_compiler_makes_a_library_for_its_machine(folder: Path, option: list[str]) -> None:
    require(AARCH64)
    result = call("build", folder, "--cc", AARCH64, *option)
    assert result.exit_code == 0, result.output
    assert "made for linux-aarch64, and so neither verified nor timed here" in result.stdout
    path = folder / "model.native-linux-aarch64.so"
    assert names(folder) == {"model.safetensors", path.name}
    # e_machine: AArch64.
    assert path.read_bytes()[18:20] == b"\xb7\0"
    assert (b"asimddp" in path.read_bytes()) == bool(option)


def refused(result: Result, *words: str) -> None:
    assert result.exit_code == 1, result.output
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("Error: ")
    for word in words:
        assert word in lines[0]


def test_wrong_calls_are_refused_with_the_way_out(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    before = names(folder)
    refused(call("build", tmp_path / "empty"), "model.safetensors", "edgernn export")
    refused(call("build", folder, "--cc", "no-such-cc"), "'no-such-cc' was not found", "--cc")
    refused(call("build", folder, "--cc", "'gcc"), "not found", "--cc")
    refused(call("build", folder, "--cc", "gcc", "--march", "abacus"), "error", "abacus", "--cc")
    refused(call("build", folder, "--cc", "gcc", "--flags", "'-O2"), "'-O2", "quotation")
    refused(call("build", folder, "--cc", "gcc", "--flags", "-include no_such.h"), "no_such.h")
    assert names(folder) == before


def test_a_compiler_for_microcontrollers_is_refused(folder: Path) -> None:
    require("arm-none-eabi-gcc")
    refused(call("build", folder, "--cc", "arm-none-eabi-gcc"), "--to c", "--cc")


def test_a_missing_or_broken_compiler_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x7fELF, or so it says")
    broken.chmod(0o755)
    with pytest.raises(EdgernnError, match=r"broken cannot be started: .*--cc"):
        build(folder, str(broken))
    broken.write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(EdgernnError, match="broken fails: exit code 3"):
        build(folder, str(broken))
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(MissingExtraError, match=r"no C compiler .*apt install gcc.*--cc"):
        build(folder)


def test_a_library_with_a_wrong_bit_does_not_take_its_place(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = build(folder, verify_steps=10).path.read_bytes()
    monkeypatch.setattr(building, "to_c", lambda p: altered(to_c(p), "model"))
    with pytest.raises(MismatchError, match=r"native, .* kernels differs .* first at"):
        build(folder, verify_steps=60)
    assert library_path(folder / "model.safetensors").read_bytes() == good
    assert len(names(folder)) == 2


def test_a_library_that_does_not_compile_leaves_the_one_before(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = build(folder, verify_steps=10).path.read_bytes()
    monkeypatch.setattr(building, "to_c", lambda p: to_c(p) | {"model.c": b"#warning so\nint f(\n"})
    with pytest.raises(EdgernnError, match=r"fails: model\.c:2:\d+: error: .*--cc") as raised:
        build(folder)
    assert "\n" not in str(raised.value)
    assert library_path(folder / "model.safetensors").read_bytes() == good
    assert len(names(folder)) == 2


def test_a_folder_that_cannot_be_written_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(EdgernnError, match="No space left"):
        build(folder, verify_steps=10)
    monkeypatch.undo()
    monkeypatch.setattr("tempfile.mkdtemp", full)
    with pytest.raises(EdgernnError, match="No space left"):
        build(folder, verify_steps=10)
    assert names(folder) == {"model.safetensors"}


def test_options_that_cannot_be_read_are_an_input_error(folder: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        build(folder, flags='"')
