"""The floors of the house: who may import whom, what is packaged, what an import loads."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    # pytest itself brings it where Python does not.
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]

ROOT = Path(__file__).parents[1]
FOLDERS = {"edgernn": "edgernn", "runtime": "edgernn.runtime", "exporters": "edgernn.exporters"}
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
# Of other people's code, what the ground floor may stand on.
RUNTIME_NEEDS = {"numpy"}


def imported(path: Path) -> Iterator[str]:
    """Every module that a file imports, at whatever depth of it, with the names taken from it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import hides its floor"
            assert node.module is not None
            for alias in node.names:
                # `from edgernn import runtime` takes a module as well.
                yield f"{node.module}.{alias.name}"


def within(module: str, *floors: str) -> bool:
    return any(module == floor or module.startswith(f"{floor}.") for floor in floors)


def files_of(folder: str) -> list[Path]:
    found = [path for path in SOURCES if path.is_relative_to(ROOT / folder)]
    assert found
    return found


def test_imports_are_seen() -> None:
    seen = set(imported(ROOT / "runtime" / "engine.py"))
    assert {"os", "numpy", "edgernn.runtime.file.load_program", "typing.Any"} <= seen


@pytest.mark.parametrize("path", files_of("runtime"), ids=lambda p: p.name)
def test_the_runtime_imports_nothing_of_ours_but_itself_and_needs_numpy_alone(path: Path) -> None:
    for module in imported(path):
        assert not within(module, *set(FOLDERS) - {"edgernn"}), module
        if within(module, "edgernn"):
            assert within(module, "edgernn.runtime"), module
        else:
            top = module.split(".")[0]
            assert top in RUNTIME_NEEDS or top in sys.stdlib_module_names, module


@pytest.mark.parametrize("path", files_of("exporters"), ids=lambda p: p.name)
def test_exporters_import_the_runtime_and_themselves_alone(path: Path) -> None:
    for module in imported(path):
        assert not within(module, "runtime", "exporters"), module
        if within(module, "edgernn"):
            assert within(module, "edgernn.runtime", "edgernn.exporters"), module


@pytest.mark.parametrize("path", files_of("edgernn"), ids=lambda p: p.name)
def test_the_toolkit_uses_the_installed_names(path: Path) -> None:
    for module in imported(path):
        assert not within(module, "runtime", "exporters", "tests", "benchmarks"), module


def test_every_folder_with_code_is_packaged_and_nothing_else() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {path.parent.relative_to(ROOT) for path in SOURCES}
    expected = {}
    for folder in folders:
        head, *rest = folder.parts
        expected[".".join([FOLDERS[head], *rest])] = folder.as_posix()
    assert sorted(settings["packages"]) == sorted(expected)
    assert settings["package-dir"] == expected
    for folder in folders:
        assert (ROOT / folder / "__init__.py").is_file(), folder


def loaded_after(code: str) -> set[str]:
    """Top-level modules in a fresh interpreter after some code."""
    script = f"import sys\n{code}\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    result = subprocess.run(
        [sys.executable, "-c", script], cwd="/", capture_output=True, text=True, check=True
    )
    return set(result.stdout.splitlines()[-1].split())


def test_the_runtime_loads_numpy_and_no_framework() -> None:
    loaded = loaded_after("import edgernn.runtime")
    assert {"numpy", "edgernn"} <= loaded
    assert not loaded & {"torch", "click", "onnx", "onnxruntime", "ai_edge_litert", "flatbuffers"}


def test_the_runtime_loads_nothing_of_the_toolkit() -> None:
    script = "import sys, edgernn.runtime; print(*(m for m in sys.modules if 'edgernn.' in m))"
    result = subprocess.run(
        [sys.executable, "-c", script], cwd="/", capture_output=True, text=True, check=True
    )
    ours = set(result.stdout.split())
    assert "edgernn.runtime.plan" in ours
    # The finder of an editable install is called __editable___edgernn_...
    foreign = {m for m in ours if m.startswith("edgernn.") and not within(m, "edgernn.runtime")}
    assert foreign <= {"edgernn.version"}


def test_a_step_loads_no_framework_either() -> None:
    code = (
        "import numpy as np\n"
        "from edgernn.runtime import Program, StepRuntime\n"
        "from edgernn.runtime.program import UNIT, Operator, Tensor\n"
        "t = {n: Tensor(n, 1, UNIT) for n in 'xy'}\n"
        "p = Program(t, ('x',), {'y': 'y'}, (), (Operator('relu', ('x',), ('y',)),))\n"
        "assert StepRuntime(p).step([0.5]) == 0.5"
    )
    assert not loaded_after(code) & {"torch", "click", "onnx", "onnxruntime", "ai_edge_litert"}


def test_the_help_loads_neither_numpy_nor_torch() -> None:
    loaded = loaded_after("from edgernn.cli import main\nmain(['--help'], standalone_mode=False)")
    assert "click" in loaded
    assert not loaded & {"numpy", "torch", "onnx", "onnxruntime", "ai_edge_litert"}
