"""The file of the float network: the same network comes back, and nothing unsound does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import edgernn
import edgernn.nn as edge
from edgernn.cells import CELLS
from edgernn.float_engine import run_float
from edgernn.float_file import (
    FLOAT_FILE,
    FloatModel,
    float_from_bytes,
    float_model_of,
    float_to_bytes,
    load_float,
)
from edgernn.runtime.container import checksum
from edgernn.runtime.errors import FileFormatError
from tests.edgernn.one_cell import one_cell
from tests.programs import random_program


def observed(model: FloatModel, steps: int = 5) -> dict[str, Any]:
    """Every value of a run on random data."""
    values: dict[str, Any] = {}
    rng = np.random.default_rng(1)
    graph = model.graph
    inputs = {n: rng.random((2, steps, graph.sizes[n]), np.float32) for n in graph.inputs}
    run_float(graph, inputs, observe=lambda name, value: values.update({name: value.copy()}))
    return values


def of_cell(kind: str, mask: bool = True, reverse: bool = True) -> FloatModel:
    graph = one_cell(kind, mask, reverse, batch_first=True)
    names = observed(FloatModel(graph, {}))
    return FloatModel(graph, {name: float(i) for i, name in enumerate(names)})


def genuine() -> bytes:
    return float_to_bytes(of_cell("gru", mask=False))


def reloaded(content: bytes) -> FloatModel:
    return float_from_bytes(np.frombuffer(content, np.uint8), "the file")


@pytest.mark.parametrize("kind", sorted(CELLS))
def test_every_cell_comes_back_as_it_was(kind: str) -> None:
    model = of_cell(kind)
    again = reloaded(float_to_bytes(model))
    assert again.amplitudes == model.amplitudes
    assert float_to_bytes(again) == float_to_bytes(model)
    before, after = observed(model), observed(again)
    assert before.keys() == after.keys()
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value)


def test_an_export_writes_it_in_every_format(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = edge.MGU(3, 4, batch_first=True)
    x = np.random.default_rng(0).standard_normal((4, 20, 3)).astype(np.float32)
    program = edgernn.quantize(model, (torch.from_numpy(x),), calibration=x)
    edgernn.export(program, tmp_path, formats=("numpy",))
    stored = load_float(tmp_path / FLOAT_FILE)
    assert stored.amplitudes["x"] == np.abs(x).max()
    y, _ = run_float(stored.graph, {"x": x})
    np.testing.assert_allclose(y["y"], model(torch.from_numpy(x))[0].detach(), atol=1e-5)
    assert json.loads((tmp_path / "report.json").read_text())["files"][FLOAT_FILE]


def test_the_float_network_of_another_program_is_refused(tmp_path: Path) -> None:
    program = random_program(["gru"], [4], 3, seed=0)
    path = tmp_path / FLOAT_FILE
    path.write_bytes(genuine())
    with pytest.raises(FileFormatError, match="is of another model: its inputs"):
        float_model_of(program, path)


def signed(change: Any) -> bytes:
    """The genuine file with its description or arrays changed, and a right checksum."""
    content = genuine()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    metadata, payload = header.pop("__metadata__"), bytearray(content[8 + length :])
    description = json.loads(metadata["network"])
    change(description, header, payload)
    del metadata["sha256"]
    metadata["network"] = json.dumps(description)
    header["__metadata__"] = metadata | {"sha256": checksum(header, metadata, bytes(payload))}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + bytes(payload)


CHANGES = {
    "kind": lambda d, h, p: d["nodes"][0].update(kind="os.system"),
    "sizes": lambda d, h, p: d["sizes"].update(x=6),
    "huge": lambda d, h, p: d["sizes"].update(x=1 << 40),
    "missing array": lambda d, h, p: d["nodes"][0]["arrays"].pop(),
    "unknown value": lambda d, h, p: d["nodes"][0].update(inputs=["nothing"]),
    "no input": lambda d, h, p: d.update(inputs=[]),
    "amplitudes": lambda d, h, p: d["amplitudes"].pop("x"),
    "negative": lambda d, h, p: d["amplitudes"].update(x=-1.0),
    "not finite": lambda d, h, p: p.__setitem__(slice(0, 4), b"\x00\x00\xc0\x7f"),
    "twice": lambda d, h, p: d["nodes"].append(d["nodes"][-1]),
    "text": lambda d, h, p: d.update(nodes="none"),
    "state": lambda d, h, p: d["nodes"][0].update(carried=[]),
    "output": lambda d, h, p: d["outputs"][0].update(value="nothing"),
    "flag": lambda d, h, p: d.update(batch_first=1),
    "type": lambda d, h, p: next(iter(h.values())).update(dtype="I32"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_signed_file_that_is_unsound_is_refused(name: str) -> None:
    reloaded(signed(lambda d, h, p: None))
    with pytest.raises(FileFormatError, match="the file") as refusal:
        reloaded(signed(CHANGES[name]))
    assert "\n" not in str(refusal.value)


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_damage_is_refused(data: st.DataObject) -> None:
    content = bytearray(genuine())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(FileFormatError, match="the file"):
        reloaded(bytes(content))


def test_a_program_is_not_a_float_network(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="cannot read"):
        load_float(tmp_path / "none.safetensors")
    (tmp_path / "x").write_bytes(b"x" * 100)
    with pytest.raises(FileFormatError, match="not a safetensors file"):
        load_float(tmp_path / "x")
