"""A model from the user's own code and a file of weights, or one sentence that says why not."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from edgernn.importer import load_factory  # noqa: E402
from edgernn.runtime.errors import EdgernnError, FileFormatError, InputError  # noqa: E402

SOURCE = """
import torch
def build():
    return torch.nn.GRU(3, 4)
def broken():
    raise ValueError("no\\nway")
def number():
    return 3
def greedy(size):
    return torch.nn.GRU(3, size)
constant = 3
"""


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.fixture
def name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module in the current folder, and in no other."""
    unique = f"factory_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{unique}.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    return unique


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth"])
def test_a_factory_gets_the_weights_of_a_file(name: str, suffix: str, tmp_path: Path) -> None:
    trained = torch.nn.GRU(3, 4)
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        pytest.importorskip("safetensors.torch").save_file(trained.state_dict(), path)
    elif suffix == ".pt":
        torch.save(trained.state_dict(), path)
    else:
        torch.save({"state_dict": trained.state_dict(), "epoch": 3}, path)
    before = list(sys.path)
    model = load_factory(f"{name}:build", path)
    assert sys.path == before
    for key, value in trained.state_dict().items():
        assert torch.equal(model.state_dict()[key], value)


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("{name}", "write it as package.module:function"),
        ("{name}:", "write it as package.module:function"),
        ("{name}:a.b", "write it as package.module:function"),
        ("{name}_no:build", "cannot import"),
        ("{name}:nothing", "has no function nothing"),
        ("{name}:constant", "has no function constant"),
        ("{name}:broken", "failed: ValueError: no; a factory takes no arguments"),
        ("{name}:greedy", "failed: TypeError"),
        ("{name}:number", "returned int"),
        ("..:build", "cannot import"),
    ],
)
def test_a_wrong_factory_is_one_sentence(name: str, spec: str, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        load_factory(spec.format(name=name))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_that_do_not_fit_are_named(name: str, tmp_path: Path) -> None:
    state = torch.nn.GRU(3, 4).state_dict()
    del state["bias_hh_l0"]
    state["extra"] = torch.zeros(1)
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(InputError, match="bias_hh_l0 is missing and 1 more"):
        load_factory(f"{name}:build", tmp_path / "w.pt")
    torch.save(torch.nn.GRU(3, 5).state_dict(), tmp_path / "w.pt")
    with pytest.raises(InputError, match=r"weight_ih_l0 is \(15, 3\) and the model has \(12, 3\)"):
        load_factory(f"{name}:build", tmp_path / "w.pt")


def test_files_that_hold_no_weights_are_refused_and_run_nothing(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "ran"
    torch.save({"w": Bomb(folder)}, tmp_path / "bomb.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    for file in ("empty.pt", "empty.safetensors"):
        (tmp_path / file).write_bytes(b"")
    (tmp_path / "noise.pth").write_bytes(b"noise" * 99)
    (tmp_path / "w.npz").write_bytes(b"x")
    for file in ("bomb.pt", "list.pt", "empty.pt", "empty.safetensors", "noise.pth", "w.npz",
                 "missing.pt"):  # fmt: skip
        with pytest.raises(FileFormatError) as caught:
            load_factory(f"{name}:build", tmp_path / file)
        assert isinstance(caught.value, EdgernnError)
        assert file in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not folder.exists()
