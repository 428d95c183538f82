"""Finding and loading a library: which file, and what is refused before a step runs in it."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgernn.runtime import FileFormatError, InputError, StepRuntime, library, save_program
from edgernn.runtime.library import library_path, platform_tag, processor_features
from tests.exporters.c_host import execute
from tests.libraries import build, compiler
from tests.programs import random_integers, random_program

X = random_integers(np.random.default_rng(0), (20, 3))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A program with its library."""
    return build(random_program(["gru"], [5], 3, 0), tmp_path)


def assert_refused(path: Path, *words: str) -> None:
    """By "native" and by "auto", in one sentence."""
    for engine in ("native", "auto"):
        with pytest.raises(FileFormatError) as raised:
            StepRuntime.load(path, engine=engine)
        for word in words:
            assert word in str(raised.value)
        assert "\n" not in str(raised.value)


def assert_the_same_bits(path: Path) -> None:
    runtime = StepRuntime.load(path, engine="native")
    np.testing.assert_array_equal(runtime.run_int(X), StepRuntime.load(path).run_int(X))


def test_numpy_is_the_default_and_auto_takes_a_library_that_is_there(path: Path) -> None:
    assert StepRuntime.load(path).engine == "numpy"
    assert StepRuntime.load(path, engine="numpy").engine == "numpy"
    assert StepRuntime.load(path, engine="auto").engine == "native"
    assert StepRuntime.load(path, engine="native").engine == "native"
    library_path(path).unlink()
    assert StepRuntime.load(path, engine="auto").engine == "numpy"
    with pytest.raises(FileFormatError, match=r"cannot read .*native.*edgernn build.*numpy"):
        StepRuntime.load(path, engine="native")


def test_an_unknown_engine_is_refused(path: Path) -> None:
    with pytest.raises(InputError, match="'fast' is none of numpy, native, auto"):
        StepRuntime.load(path, engine="fast")


def test_a_library_lies_beside_its_program(tmp_path: Path) -> None:
    tag = f"{sys.platform}-{platform.machine()}"
    assert library_path(tmp_path / "kws.v2.safetensors").name == f"kws.v2.native-{tag}.so"
    assert library_path("m.safetensors", "linux-arm") == Path("m.native-linux-arm.so")


@pytest.mark.parametrize(
    ("machine", "wide", "tag"),
    [
        ("x86_64", True, "linux-x86_64"),
        ("AMD64", True, "linux-x86_64"),
        ("x86_64", False, "linux-i686"),
        ("aarch64", True, "linux-aarch64"),
        ("arm64", True, "linux-aarch64"),
        # The 32-bit Raspberry Pi OS on its 64-bit kernel.
        ("aarch64", False, "linux-arm"),
        ("armv7l", False, "linux-arm"),
        ("riscv64", True, "linux-riscv64"),
    ],
)
def test_the_platform_is_that_of_the_python(
    machine: str, wide: bool, tag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(sys, "maxsize", 2**63 - 1 if wide else 2**31 - 1)
    assert platform_tag() == tag


def test_a_library_of_another_program_is_refused(path: Path) -> None:
    save_program(random_program(["gru"], [5], 3, 1), path)
    assert_refused(path, "built from another program", "`edgernn build` again")


def test_a_library_of_another_version_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "VERSION", 2)
    assert_refused(path, "another version of edgernn", "`edgernn build` again")


@pytest.mark.parametrize("keep", [0, 1, 63, 64, 100, 0.3, 0.7, 0.99])
def test_a_library_that_is_cut_off_is_refused(path: Path, keep: float) -> None:
    """Loading one would crash."""
    target = library_path(path)
    content = target.read_bytes()
    target.write_bytes(content[: int(keep if keep >= 1 else keep * len(content))])
    # The loader itself says so of a file that is not even as long as a header.
    assert_refused(path, "edgernn build", *(["cut off"] if keep not in (0, 1) else []))


def test_what_is_no_library_is_refused(path: Path) -> None:
    library_path(path).write_text("not a library, but long enough to be read as one: " * 9)
    assert_refused(path, "cannot load", "edgernn build")
    library_path(path).unlink()
    library_path(path).mkdir()
    assert_refused(path, "cannot read", "edgernn build")


@pytest.mark.parametrize("content", ["int other;", "const int edgernn_library_version = 1;"])
def test_a_library_of_something_else_is_refused(path: Path, tmp_path: Path, content: str) -> None:
    compiler()
    (tmp_path / "other.c").write_text(content)
    execute(["gcc", "-shared", "-fPIC", "-o", library_path(path), tmp_path / "other.c"])
    assert_refused(path, "not a library of edgernn's")


def test_a_library_for_another_machine_is_refused(path: Path) -> None:
    header = bytearray(library_path(path).read_bytes())
    # e_machine: SPARC.
    header[18:20] = b"\2\0"
    library_path(path).write_bytes(header)
    assert_refused(path, "cannot load", "for this machine")


def test_a_library_for_another_processor_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = build(random_program(["gru"], [5], 3, 0), tmp_path, features=["avx2", "vector_of_9"])
    monkeypatch.setattr(library, "processor_features", lambda: frozenset({"avx2", "pni"}))
    assert_refused(path, "another processor", "lacks vector_of_9;", "edgernn build")
    monkeypatch.setattr(library, "processor_features", lambda: frozenset({"avx2", "vector_of_9"}))
    assert_the_same_bits(path)
    # Where a system does not tell, there is nothing to compare with.
    monkeypatch.setattr(library, "processor_features", lambda: None)
    assert_the_same_bits(path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx2\n\nprocessor\t: 1\nflags\t\t: no\n", {"fpu", "avx2"}),
        ("processor\t: 0\nFeatures\t: fp asimd\n", {"fp", "asimd"}),
        ("hart\t: 0\n", None),
        (None, None),
    ],
)
def test_the_features_of_the_processor_are_those_that_linux_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, expected: set[str] | None
) -> None:
    if text is not None:
        (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(library, "_CPUINFO", tmp_path / "cpuinfo")
    assert processor_features() == expected


def test_a_library_that_is_replaced_is_loaded_anew(tmp_path: Path) -> None:
    """By the same process, which still has the one before."""
    runtimes = []
    for seed in range(4):
        path = build(random_program(["gru"], [5], 3, seed), tmp_path)
        runtimes.append(StepRuntime.load(path, engine="native"))
        np.testing.assert_array_equal(runtimes[-1].run_int(X), StepRuntime.load(path).run_int(X))
    for seed, runtime in enumerate(runtimes):
        runtime.reset()
        wanted = StepRuntime(random_program(["gru"], [5], 3, seed)).run_int(X)
        np.testing.assert_array_equal(runtime.run_int(X), wanted)


def test_a_path_may_be_relative_and_have_any_characters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a b" / "größe%s"
    folder.mkdir(parents=True)
    build(random_program(["gru"], [5], 3, 0), folder)
    monkeypatch.chdir(folder)
    assert_the_same_bits(Path("model.safetensors"))


SCRIPT = """
import sys
import numpy as np
home, path = sys.argv[1:]
sys.path.insert(0, home)
from edgernn.runtime import StepRuntime
numpy, native = StepRuntime.load(path), StepRuntime.load(path, engine="auto")
assert sys.modules["edgernn.runtime"].__file__.startswith(home)
assert native.engine == "native" and not {"torch", "click"} & set(sys.modules)
x = np.random.default_rng(1).integers(-32768, 32768, (500, 3)).astype(np.int16)
y = np.stack([native.step_int(v) for v in x])
assert np.array_equal(y, numpy.run_int(x))
native.reset()
assert np.array_equal(y, native.run_int(x))
print(np.__version__)
"""


@pytest.mark.parametrize("old", [False, True], ids=["this NumPy", "NumPy 1"])
def test_the_runtime_alone_loads_it(path: Path, tmp_path: Path, old: bool) -> None:
    from tests.runtime.test_alone import ROOT, old_python

    python = old_python() if old else sys.executable
    home = tmp_path / "home" / "edgernn"
    shutil.copytree(ROOT / "runtime", home / "runtime")
    (home / "__init__.py").touch()
    done = subprocess.run(
        [python, "-c", SCRIPT, str(home.parent), str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1.") == old


def test_without_an_engine_named_nothing_of_ctypes_is_imported(path: Path) -> None:
    code = (
        "import sys, edgernn.runtime as r\n"
        f"r.StepRuntime.load({str(path)!r})\n"
        "assert 'edgernn.runtime.library' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
