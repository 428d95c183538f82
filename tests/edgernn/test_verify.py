"""Verification: it passes what agrees, and names what does not."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgernn.exporters.onnx_step import to_onnx
from edgernn.exporters.tflite import to_tflite
from edgernn.exporting import export
from edgernn.folder import verify_folder
from edgernn.runtime import Program
from edgernn.runtime.errors import FileFormatError, InputError, MismatchError
from edgernn.runtime.program import Matrix
from edgernn.streams import random_streams
from edgernn.verify import require
from tests.programs import random_program


@pytest.fixture
def program() -> Program:
    return random_program(["gru", "lstm"], [7, 5], 3, seed=1, head=2)


def altered(program: Program) -> Program:
    """The same program with one weight of one operator changed."""
    operators = list(program.operators)
    index = next(i for i, op in enumerate(operators) if op.name == "l1_h_gx")
    matrix = operators[index].matrix
    assert matrix is not None
    weight = matrix.weight.copy()
    weight[0, 0] = 100 if weight[0, 0] < 0 else -100
    changed = Matrix(weight, matrix.bias, matrix.multiplier, matrix.shift)
    operators[index] = replace(operators[index], matrix=changed)
    return replace(program, operators=tuple(operators))


def replace_file(path: Path, content: bytes) -> None:
    """Another file, recorded in the report as if the export had written it."""
    path.write_bytes(content)
    report = path.parent / "report.json"
    recorded = json.loads(report.read_text())
    recorded["sha256"][path.name] = hashlib.sha256(content).hexdigest()
    report.write_text(json.dumps(recorded))


@pytest.mark.parametrize(
    "name", ["model.tflite", "model.onnx", "model.sequence.onnx", "model.safetensors"]
)
def test_a_file_that_is_not_the_exported_one_is_refused(
    program: Program, tmp_path: Path, name: str
) -> None:
    export(program, tmp_path, verify_steps=20)
    content = bytearray((tmp_path / name).read_bytes())
    content[len(content) // 2] ^= 0x10
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FileFormatError, match=name):
        verify_folder(tmp_path, steps=10)


def test_a_sound_folder_passes_on_every_engine(program: Program, tmp_path: Path) -> None:
    export(program, tmp_path, verify_steps=50)
    result = verify_folder(tmp_path, steps=400, seed=3)
    assert result.ok
    compared = {row.compared for row in result.rows}
    assert compared == {400 * (2 + 7 + 5 + 5)}
    assert len(result.rows) == 4


@pytest.mark.parametrize("suffix", ["tflite", "onnx"])
def test_a_file_with_another_weight_is_found(program: Program, tmp_path: Path, suffix: str) -> None:
    export(program, tmp_path, verify_steps=50)
    to_bytes = {"tflite": to_tflite, "onnx": to_onnx}[suffix]
    replace_file(tmp_path / f"model.{suffix}", to_bytes(altered(program)))
    result = verify_folder(tmp_path, steps=300)
    assert not result.ok
    (bad,) = [row for row in result.rows if row.differing]
    assert "step 0" in bad.first or "step 1" in bad.first
    assert "not this program's file" in bad.first
    with pytest.raises(MismatchError, match="first at"):
        require(result)


@pytest.mark.parametrize("suffix", ["tflite", "onnx"])
def test_the_operator_at_fault_is_named(
    program: Program, tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exporter that writes a wrong weight, as if it had a bug."""
    export(program, tmp_path, verify_steps=50)
    module = {"tflite": "edgernn.exporters.tflite", "onnx": "edgernn.exporters.onnx_step"}[suffix]
    name = {"tflite": "to_tflite", "onnx": "to_onnx"}[suffix]
    right = getattr(sys.modules[module], name)
    monkeypatch.setattr(
        sys.modules[module], name, lambda p, **options: right(altered(p), **options)
    )
    replace_file(tmp_path / f"model.{suffix}", getattr(sys.modules[module], name)(program))
    (bad,) = [row for row in verify_folder(tmp_path, steps=300).rows if row.differing]
    assert "operator l1_h_gx (linear)" in bad.first


def test_an_export_that_differs_is_not_put_in_place(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = sys.modules["edgernn.exporters.tflite"]
    right = module.to_tflite
    monkeypatch.setattr(module, "to_tflite", lambda p, **options: right(altered(p), **options))
    with pytest.raises(MismatchError, match="ai-edge-litert"):
        export(program, tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_an_engine_that_is_not_installed_is_listed(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(program, tmp_path, verify_steps=50)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    result = verify_folder(tmp_path, steps=50)
    (row,) = [row for row in result.rows if row.engine == "onnx"]
    assert "pip install" in row.note
    assert row.compared == 0


def test_a_damaged_report_or_sample_is_refused(program: Program, tmp_path: Path) -> None:
    export(program, tmp_path, verify_steps=50)
    replace_file(tmp_path / "model.sample.npz", b"PK\x03\x04 no")
    with pytest.raises(FileFormatError, match=r"model\.sample\.npz"):
        verify_folder(tmp_path, steps=10)
    (tmp_path / "model.sample.npz").unlink()
    (tmp_path / "report.json").write_text("[[[[")
    with pytest.raises(FileFormatError, match=r"report\.json"):
        verify_folder(tmp_path, steps=10)


def test_streams_are_seeded_and_have_the_steps_asked_for(program: Program) -> None:
    for steps in (1, 2, 3, 100):
        streams = random_streams([program.tensors[n] for n in program.inputs], steps, seed=5)
        assert sum(s.steps for s in streams) == steps
    again = random_streams([program.tensors[n] for n in program.inputs], 100, seed=5)
    for a, b in zip(streams, again, strict=True):
        np.testing.assert_array_equal(a.inputs["x"], b.inputs["x"])


def test_an_unknown_format_is_refused(program: Program, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="coreml"):
        export(program, tmp_path, formats=("coreml",))
