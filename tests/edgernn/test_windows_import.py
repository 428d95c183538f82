"""How users of bidirectional layers take them apart: both ends, layers, directions, refusals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from edgernn.cli import main
from edgernn.importer import import_model
from edgernn.quantization import QuantizedWindow, quantize_graph
from edgernn.runtime import WindowRuntime
from edgernn.runtime.errors import UnsupportedError

torch = pytest.importorskip("torch")
nn = torch.nn

N, T, F, H = 3, 6, 4, 5
Forward = Callable[[Any, Any], Any]


class Model(nn.Module):  # type: ignore[misc,name-defined,unused-ignore]
    """A bidirectional layer, and a function of the module and its input."""

    def __init__(self, forward: Forward, *, layers: int = 1, batch_first: bool = True) -> None:
        super().__init__()
        self.rnn = nn.GRU(F, H, layers, batch_first=batch_first, bidirectional=True)
        self.function = forward

    def forward(self, x: Any) -> Any:
        return self.function(self, x)


def ends(m: Any, x: Any) -> Any:
    y, _ = m.rnn(x)
    return torch.cat([y[:, -1, :H], y[:, 0, H:]], dim=1)


def ends_of_halves(m: Any, x: Any) -> Any:
    forward, backward = m.rnn(x)[0].chunk(2, dim=-1)
    return torch.cat([forward[:, -1:], backward[:, :1]], dim=-1).squeeze(1)


def ends_of_directions(m: Any, x: Any) -> Any:
    y = m.rnn(x)[0].view(x.shape[0], x.shape[1], 2, H)
    return torch.cat([y[:, -1, 0], y[:, 0, 1]], dim=1)


def ends_time_first(m: Any, x: Any) -> Any:
    y, _ = m.rnn(x.transpose(0, 1))
    return torch.cat([y[-1, :, :H], y[0, :, H:]], dim=1)


def last_layer(m: Any, x: Any) -> Any:
    h = m.rnn(x)[1].view(2, 2, x.shape[0], H)[-1]
    return torch.cat([h[0], h[1]], dim=1)


def directions_beside(m: Any, x: Any) -> Any:
    h = m.rnn(x)[1].view(2, 2, x.shape[0], H)
    return h.permute(0, 2, 1, 3).reshape(2, x.shape[0], 2 * H)[0]


def directions_first(m: Any, x: Any) -> Any:
    h = m.rnn(x)[1].view(2, 2, x.shape[0], H).transpose(0, 1)
    return h[1, 0] - h[0][1]


def every_state(m: Any, x: Any) -> Any:
    return m.rnn(x)[1].view(2, 2, -1, H).permute(2, 1, 0, 3).flatten(1)


ONE: dict[str, Forward] = {
    "ends": ends,
    "ends of halves": ends_of_halves,
    "ends of directions": ends_of_directions,
    "first step": lambda m, x: m.rnn(x)[0][:, 0],
    "first input": lambda m, x: torch.cat([m.rnn(x)[0][:, -1], x[:, 0]], dim=1),
    "sum of states": lambda m, x: m.rnn(x)[1].sum(0),
    "mean of states": lambda m, x: m.rnn(x)[1].mean(0),
    "stack": lambda m, x: torch.stack([*m.rnn(x)[1]], dim=1).flatten(1),
    "directions flat": lambda m, x: m.rnn(x)[0].view(N, -1, 2, H).relu().flatten(2),
    "sum of directions": lambda m, x: m.rnn(x)[0].view(N, -1, 2, H).sum(2),
    "mean of directions": lambda m, x: m.rnn(x)[0].view(N, -1, 2, H).mean(2),
}
TWO: dict[str, Forward] = {
    "last layer": last_layer,
    "directions beside": directions_beside,
    "directions first": directions_first,
    "every state": every_state,
    "mean of all": lambda m, x: m.rnn(x)[1].view(2, 2, -1, H).mean((0, 1)),
    "sum of directions": lambda m, x: m.rnn(x)[1].view(2, 2, -1, H).sum(1)[0],
}
CASES = [
    *(pytest.param(f, 1, True, id=name) for name, f in ONE.items()),
    *(pytest.param(f, 2, True, id=f"two layers, {name}") for name, f in TWO.items()),
    pytest.param(ends_time_first, 1, False, id="ends, time first"),
]


def held_against_torch(model: Any, batch: Any) -> QuantizedWindow:
    """The window program of a model, near to what torch computes on windows of another length."""
    model.eval()
    data = np.random.default_rng(3).uniform(-1, 1, (40, T, F))
    program = quantize_graph(import_model(model, (batch,)), data)
    assert isinstance(program, QuantizedWindow)
    x = torch.rand(N, T + 3, F) * 2 - 1
    with torch.no_grad():
        wanted = model(x).numpy()
    found = WindowRuntime(program).run(x.numpy())
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, atol=0.02)
    return program


@pytest.mark.parametrize(("forward", "layers", "batch_first"), CASES)
def test_the_parts_are_those_of_torch(forward: Forward, layers: int, batch_first: bool) -> None:
    torch.manual_seed(0)
    held_against_torch(Model(forward, layers=layers, batch_first=batch_first), torch.rand(N, T, F))


def test_an_example_of_one_step_has_both_a_first_and_a_last_step() -> None:
    torch.manual_seed(1)
    held_against_torch(Model(ends), torch.rand(N, 1, F))


def test_both_ends_are_read_from_the_directions_without_joining_them_at_every_step() -> None:
    program = held_against_torch(Model(ends), torch.rand(N, T, F))
    assert [stage.direction for stage in program.stages] == ["forward", "reverse", "once"]
    places = {source.at for source in program.stages[2].sources.values()}
    assert places == {"first", "last"}
    for stage in program.stages[:2]:
        assert "concat" not in [operator.kind for operator in stage.program.operators]


def test_the_forward_half_alone_streams() -> None:
    graph = import_model(Model(lambda m, x: m.rnn(x)[0][..., 1:H]), (torch.rand(N, T, F),))
    assert not graph.is_window
    assert [node.kind for node in graph.nodes] == ["gru", "slice"]
    whole = import_model(Model(lambda m, x: m.rnn(x)[0][:, -1, :H]), (torch.rand(N, T, F),))
    assert [node.kind for node in whole.nodes] == ["gru"]


def test_a_slice_across_both_halves_keeps_them_joined() -> None:
    torch.manual_seed(2)
    graph = import_model(Model(lambda m, x: m.rnn(x)[0][..., 3:8]), (torch.rand(N, T, F),))
    assert [node.kind for node in graph.nodes] == ["gru", "gru", "concat", "slice"]


REFUSED: dict[str, tuple[Forward, tuple[str, ...]]] = {
    "flip": (
        lambda m, x: torch.flip(m.rnn(torch.flip(x, [1]))[0], [1]),
        ("bidirectional=True", "hidden_size:"),
    ),
    "first step of what streams": (
        lambda m, x: m.rnn(x)[0][:, 0, :H],
        ("takes the first step", "y[:, -1]"),
    ),
    "a middle step": (lambda m, x: m.rnn(x)[0][:, 2], ("steps 2 to 2", "y[:, 0]")),
    "sum over time": (lambda m, x: m.rnn(x)[0].sum(1), ("y.mean(dim=1)", "AttentionPooling")),
    "all states": (lambda m, x: m.rnn(x)[1], ("2 layers or directions", "torch.cat([h[-2]")),
    "batch and layers mixed": (
        lambda m, x: m.rnn(x)[1].reshape(N, -1),
        ("mixes the numbers", "h.transpose(0, 1)"),
    ),
    "rows by index": (
        lambda m, x: m.rnn(x)[0][torch.arange(N), 2],
        ("VariableLength", "true step"),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_names_the_way_out(name: str) -> None:
    forward, words = REFUSED[name]
    with pytest.raises(UnsupportedError) as error:
        import_model(Model(forward), (torch.rand(N, T, F),))
    text = str(error.value)
    assert "\n" not in text
    for word in words:
        assert word in text


def test_lengths_that_are_a_constant_are_refused_as_such() -> None:
    enn = pytest.importorskip("edgernn.nn")
    model = Model(lambda m, x: m.wrapped(x, torch.full((x.shape[0],), T))[0])
    model.wrapped = enn.VariableLength(model.rnn)
    with pytest.raises(UnsupportedError, match="lengths that are a constant"):
        import_model(model, (torch.rand(N, T, F),))


def test_a_factory_whose_model_takes_lengths_is_exported_and_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_lengths.py").write_text(
        "import torch, edgernn.nn as enn\n"
        "class Model(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        rnn = torch.nn.GRU(4, 5, batch_first=True, bidirectional=True)\n"
        "        self.rnn = enn.VariableLength(rnn)\n"
        "    def forward(self, x, lengths):\n"
        "        y, _ = self.rnn(x, lengths)\n"
        "        return torch.cat([y[:, -1, :5], y[:, 0, 5:]], dim=1)\n"
    )
    monkeypatch.chdir(tmp_path)
    lengths = np.array([9, 2, 5, 1])
    x = np.random.default_rng(4).uniform(-1, 1, (4, 9, F)).astype(np.float32)
    np.savez("calib.npz", x=x, lengths=lengths)
    np.save("x.npy", x)
    np.save("mask.npy", (np.arange(9) < lengths[:, None])[:, :, None].astype(np.float32))
    for arguments in (
        "export own_lengths:Model --int8 --calib calib.npz --to onnx --out b --verify-steps 40",
        "verify b --steps 40",
        "run b/model.safetensors --input x.npy --input mask.npy --output y.npy",
        "inspect b/model.safetensors",
    ):
        result = CliRunner().invoke(main, arguments.split())
        assert result.exit_code == 0, result.output
    assert np.load("y.npy").shape == (4, 2 * H)
