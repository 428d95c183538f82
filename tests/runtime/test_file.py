"""The program file: what is written is read, mapped, stable, and appears whole or not at all."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open

from edgernn.runtime import (
    EdgernnError,
    FileFormatError,
    InputError,
    Program,
    StepRuntime,
    load_program,
    save_program,
)
from edgernn.runtime.file import from_bytes, to_bytes, write_atomically
from edgernn.runtime.functions import TABLES
from edgernn.runtime.operators import KINDS
from tests.programs import random_integers, random_program, random_structure
from tests.runtime.forgery import genuine, parts, with_tables


def assert_equal(a: Program, b: Program) -> None:
    assert dict(a.tensors) == dict(b.tensors)
    assert list(a.outputs.items()) == list(b.outputs.items())
    assert (a.inputs, dict(a.metadata)) == (b.inputs, dict(b.metadata))
    for one, other in zip(a.states, b.states, strict=True):
        assert (one.name, one.input, one.output) == (other.name, other.input, other.output)
        np.testing.assert_array_equal(one.initial, other.initial)
        assert one.initial.dtype == other.initial.dtype == np.int16
    for op, twin in zip(a.operators, b.operators, strict=True):
        assert (op.kind, op.inputs, op.outputs) == (twin.kind, twin.inputs, twin.outputs)
        assert (op.matrix is None) == (twin.matrix is None)
        if op.matrix is not None and twin.matrix is not None:
            for part in ("weight", "bias", "multiplier", "shift"):
                mine, its = getattr(op.matrix, part), getattr(twin.matrix, part)
                np.testing.assert_array_equal(mine, its)
                assert mine.dtype == its.dtype
        assert (op.table is None) == (twin.table is None)
        if op.table is not None and twin.table is not None:
            np.testing.assert_array_equal(op.table, twin.table)
            assert op.table.dtype == twin.table.dtype
    assert set(a.constants) == set(b.constants)
    for name, values in a.constants.items():
        np.testing.assert_array_equal(values, b.constants[name])
        assert values.dtype == b.constants[name].dtype == np.int16


def test_the_programs_below_have_every_part() -> None:
    programs = [random_structure(seed) for seed in range(40)]
    kinds = {op.kind for program in programs for op in program.operators}
    assert kinds == set(KINDS)
    assert any(len(program.constants) > 1 for program in programs)


@pytest.mark.parametrize("seed", range(40))
def test_a_program_comes_back_as_it_was(seed: int, tmp_path: Path) -> None:
    program = random_structure(seed)
    program = replace(
        program, metadata={"name": "ä\n\u2028", "n": [1, 2.5, None], "d": {"k": True}}
    )
    path = tmp_path / "m.safetensors"
    save_program(program, path)
    assert_equal(load_program(path), program)
    assert to_bytes(load_program(path)) == to_bytes(program) == path.read_bytes()


def test_a_stack_of_cells_computes_the_same_after_the_file(tmp_path: Path) -> None:
    program = random_program(["gru", "lstm", "rnn_relu"], [9, 7, 5], 4, seed=1, head=3)
    save_program(program, tmp_path / "m")
    x = random_integers(np.random.default_rng(0), (10, 4))
    wanted = StepRuntime(program).run_int(x)
    np.testing.assert_array_equal(StepRuntime.load(tmp_path / "m").run_int(x), wanted)


def test_the_same_program_gives_the_same_bytes_in_another_process() -> None:
    code = (
        "import hashlib; from tests.runtime.forgery import genuine;"
        "from edgernn.runtime.file import to_bytes;"
        "print(hashlib.sha256(to_bytes(genuine())).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.getcwd()},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_weights_are_mapped_not_copied(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_program(genuine(), path)
    for op in load_program(path).operators:
        if op.matrix is not None:
            for array in (op.matrix.weight, op.matrix.bias, op.matrix.multiplier, op.matrix.shift):
                base: Any = array
                while isinstance(base, np.ndarray) and not isinstance(base, np.memmap):
                    base = base.base
                assert isinstance(base, np.memmap)
                assert not array.flags.writeable
                assert array.flags.aligned


def test_tables_and_constants_are_mapped_and_run_from_there(tmp_path: Path) -> None:
    program = with_tables()
    save_program(program, tmp_path / "m.safetensors")
    again = load_program(tmp_path / "m.safetensors")
    arrays = [op.table for op in again.operators if op.table is not None]
    arrays += again.constants.values()
    assert len(arrays) == 3
    assert not any(array.flags.writeable for array in arrays)
    x = np.arange(-2, 9, dtype=np.int16)[:, None]
    wanted = StepRuntime(program).run_int(x)
    np.testing.assert_array_equal(StepRuntime(again).run_int(x), wanted)


def test_the_safetensors_library_reads_the_file(tmp_path: Path) -> None:
    program = genuine()
    save_program(program, tmp_path / "m.safetensors")
    with safe_open(tmp_path / "m.safetensors", "numpy") as file:
        assert file.metadata()["format"] == "edgernn"
        names = set(file.keys())
        for op in program.operators:
            if op.matrix is not None:
                for part in ("weight", "bias", "multiplier", "shift"):
                    stored = file.get_tensor(f"{op.name}.{part}")
                    np.testing.assert_array_equal(stored, getattr(op.matrix, part))
                    names.remove(f"{op.name}.{part}")
        for state in program.states:
            np.testing.assert_array_equal(file.get_tensor(f"{state.name}.initial"), state.initial)
            names.remove(f"{state.name}.initial")
    assert not names


def test_a_program_without_any_tensor_is_a_file_as_well(tmp_path: Path) -> None:
    program = next(
        p
        for p in map(random_structure, range(999))
        if not (
            p.weight_count or p.states or p.constants or any(o.kind in TABLES for o in p.operators)
        )
    )
    save_program(program, tmp_path / "m.safetensors")
    assert_equal(load_program(tmp_path / "m.safetensors"), program)
    with safe_open(tmp_path / "m.safetensors", "numpy") as file:
        assert list(file.keys()) == []


def test_a_state_of_zeros_takes_no_space() -> None:
    program = genuine()
    states = tuple(replace(s, initial=np.zeros_like(s.initial)) for s in program.states)
    data = to_bytes(replace(program, states=states))
    assert not any("initial" in name for name in parts(data)[0])
    (state,) = from_bytes(np.frombuffer(data, np.uint8), "m").states
    assert state.initial.tolist() == [0, 0]


def test_tensors_lie_aligned_and_without_gaps() -> None:
    odd = random_program(["gru"], [3], 5, seed=0, head=1)
    header, _, payload = parts(to_bytes(odd))
    size = {"I8": 1, "I16": 2, "I32": 4, "I64": 8}
    end = 0
    for entry in sorted(header.values(), key=lambda e: e["data_offsets"]):
        begin, stop = entry["data_offsets"]
        assert begin == end
        assert begin % size[entry["dtype"]] == 0
        end = stop
    assert end == len(payload)


@pytest.mark.parametrize(
    "metadata",
    [{"x": np.float32(1)}, {"x": float("nan")}, {"x": {1, 2}}, {"x": "y" * (17 << 20)}],
    ids=["numpy", "nan", "set", "long"],
)
def test_metadata_that_cannot_be_read_again_is_not_written(
    metadata: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"metadata|longer"):
        save_program(replace(genuine(), metadata=metadata), tmp_path / "m")
    assert os.listdir(tmp_path) == []


def test_an_invalid_program_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="no output"):
        save_program(replace(genuine(), outputs={}), tmp_path / "m")
    assert os.listdir(tmp_path) == []


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for path in (tmp_path / "none", tmp_path / "empty", tmp_path):
        with pytest.raises(FileFormatError) as caught:
            load_program(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_other_peoples_safetensors_are_told_apart(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"w": np.zeros(3, np.float32)}, tmp_path / "m.safetensors")
    with pytest.raises(FileFormatError, match="is not an edgernn program"):
        load_program(tmp_path / "m.safetensors")


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(EdgernnError, match=r"cannot write .*none.* No such file"):
        save_program(genuine(), tmp_path / "none" / "m")


def failing(*_: Any) -> None:
    raise OSError(28, "No space left on device")


def interrupted(*_: Any) -> None:
    raise KeyboardInterrupt


class FullDisk:
    """A file that takes its first bytes and no more."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def __enter__(self) -> FullDisk:
        return self

    def __exit__(self, *_: Any) -> None:
        self.stream.close()

    def write(self, content: bytes) -> None:
        self.stream.write(content[:100])
        failing()


@pytest.mark.parametrize("place", ["fsync", "replace", "chmod", "fdopen"])
def test_a_failed_write_leaves_the_old_file_and_no_other(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"old")
    fdopen = os.fdopen
    broken = (lambda *a: FullDisk(fdopen(*a))) if place == "fdopen" else failing
    monkeypatch.setattr(os, place, broken)
    with pytest.raises(EdgernnError, match=r"cannot write .*m\.safetensors: No space left"):
        save_program(genuine(), path)
    assert os.listdir(tmp_path) == ["m.safetensors"]
    assert path.read_bytes() == b"old"


def test_a_folder_that_may_not_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(**_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "mkstemp", denied)
    with pytest.raises(EdgernnError, match=r"cannot write .*m: Permission denied"):
        save_program(genuine(), tmp_path / "m")
    assert os.listdir(tmp_path) == []


def test_an_interrupted_write_leaves_nothing_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_program(genuine(), tmp_path / "m")
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_pipe_or_a_device_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(EdgernnError, match="no ordinary file"):
        write_atomically(path, b"new")
    assert stat.S_ISFIFO(path.stat().st_mode)
    assert os.listdir(tmp_path) == ["pipe"]


def test_a_written_file_replaces_the_old_one_and_has_an_ordinary_mode(tmp_path: Path) -> None:
    path = tmp_path / "m"
    path.write_bytes(b"old, and much longer than the new one")
    old = os.umask(0o027)
    try:
        write_atomically(path, b"new")
    finally:
        assert os.umask(old) == 0o027
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert os.listdir(tmp_path) == ["m"]


def test_the_description_is_plain_json() -> None:
    _, description, _ = parts(to_bytes(genuine()))
    assert json.loads(json.dumps(description)) == description
    assert set(description) == {"tensors", "inputs", "outputs", "states", "operators", "metadata"}
