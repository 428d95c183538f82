import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

import edgernn.nn as enn
from edgernn.cli import main
from edgernn.nn.operator import STEPS
from edgernn.recipes.classify import Classify
from edgernn.runtime.errors import InputError
from edgernn.training.base import Config, Settings, Split
from edgernn.training.gradient_picture import draw_gradients, gradient_rows
from edgernn.training.gradients import Curve, gradient_norms, run_gradients
from edgernn.training.run_folder import read_run
from edgernn.training.train import train


class Sum:
    """A recipe whose loss is the sum of all outputs, in both kinds of answer."""

    def loss(self, outputs: tuple[Tensor, ...], batch: dict[str, Tensor]) -> Tensor:
        assert outputs[0].shape[0] == len(batch["lengths"])
        if outputs[0].dim() == 3:
            assert batch["mask"].shape == outputs[0].shape[:2]
        return outputs[0].sum()


class Net(nn.Module):
    def __init__(self, layer: Any, once: bool) -> None:
        super().__init__()
        self.layer, self.once = layer, once

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        y, _ = self.layer(x)
        if not self.once:
            return y
        half = y.shape[2] // 2 if self.layer.bidirectional else y.shape[2]
        return torch.cat([y[:, -1, :half], y[:, 0, half:]], dim=-1)


def split_of(length: int, features: int = 3, count: int = 4) -> Split:
    rng = np.random.default_rng(0)
    return Split({"x": list(rng.random((count, length, features), np.float32))})


def norms(layer: Any, once: bool = False, length: int = 30) -> Any:
    return gradient_norms(Net(layer, once), Sum(), split_of(length))  # type: ignore[arg-type]


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.25])
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("once", [False, True])
def test_a_linear_network_multiplies_by_its_matrix(factor: float, both: bool, once: bool) -> None:
    layer = nn.RNN(3, 5, nonlinearity="relu", batch_first=True, bidirectional=both)
    with torch.no_grad():
        for name, p in layer.named_parameters():
            p.copy_(factor * torch.eye(5)) if name.startswith("weight_hh") else p.abs_()
    found = norms(layer, once)
    np.testing.assert_allclose(found, factor ** np.arange(31), rtol=1e-6)
    curve = Curve("", False, found)
    assert curve.factor == pytest.approx(factor)
    expected = {0.5: 1.0, 1.0: float("inf"), 1.25: -3.106}[factor]
    assert curve.half_life == pytest.approx(expected, rel=1e-3)


class Ahead(Sum):
    """The last two steps are not known yet."""

    def loss(self, outputs: tuple[Tensor, ...], batch: dict[str, Tensor]) -> Tensor:
        return (outputs[0] * batch["known"][..., None]).sum()


def test_the_last_step_that_has_a_loss_counts() -> None:
    layer = nn.RNN(3, 5, nonlinearity="relu", batch_first=True)
    with torch.no_grad():
        for name, p in layer.named_parameters():
            p.copy_(0.5 * torch.eye(5)) if name.startswith("weight_hh") else p.abs_()
    x = split_of(9).arrays["x"]
    known = [np.float32([1] * 7 + [0] * 2)] * len(x)
    split = Split({"x": x, "known": known}, steps=("x", "known"))
    found = gradient_norms(Net(layer, False), Ahead(), split)  # type: ignore[arg-type]
    np.testing.assert_allclose(found, 0.5 ** np.arange(8), rtol=1e-6)


@pytest.mark.parametrize(
    "layer",
    [
        nn.GRU(3, 6, batch_first=True),
        nn.LSTM(3, 6, batch_first=True),
        enn.FastGRNN(3, 6, batch_first=True),
        enn.LayerNormLSTM(3, 6, batch_first=True),
    ],
)
def test_against_the_layer_begun_in_the_middle(layer: Any) -> None:
    """The gradient for a state given to torch's own kernel."""
    found, split = norms(layer, length=12), split_of(12)
    x = torch.from_numpy(np.stack([split.arrays["x"][i] for i in range(4)])).double()
    layer = layer.double()
    expected = []
    for lag in range(1, 13):
        before = 12 - lag
        state = layer(x[:, :before])[1] if before else layer(x[:, :1] * 0)[1]
        states = [state] if isinstance(state, Tensor) else list(state)
        states = [(s if before else s * 0).detach().requires_grad_() for s in states]
        y, _ = layer(x[:, before:], states[0] if len(states) == 1 else tuple(states))
        grads = torch.autograd.grad(y[:, -1].sum(), states)
        expected.append(sum(g.square().sum((0, 2)) for g in grads).sqrt())  # type: ignore[union-attr]
    # At lag 0 the loss is the sum of the 6 outputs.
    wanted = torch.stack([torch.full((4,), 6**0.5), *expected]) / 6**0.5
    np.testing.assert_allclose(found, wanted.median(1).values / 2 + _upper(wanted) / 2, rtol=1e-6)
    layer.float()


def _upper(values: Tensor) -> Tensor:
    """torch's median is the lower of the two in the middle."""
    return values.sort(1).values[:, values.shape[1] // 2]


def test_the_network_and_the_steps_are_left_as_they_were() -> None:
    before, layer = dict(STEPS), nn.GRU(3, 4, batch_first=True)
    network = Net(layer, False)
    kept = layer.weight_hh_l0.detach().clone()
    gradient_norms(network, Sum(), split_of(9))  # type: ignore[arg-type]
    assert before == STEPS
    assert torch.equal(layer.weight_hh_l0, kept)
    assert "forward" not in vars(layer)


def test_refusals() -> None:
    with pytest.raises(InputError, match="no recurrent layer"):
        gradient_norms(nn.Linear(3, 2), Sum(), split_of(9))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One epoch on scikit-learn's digits."""
    folder = tmp_path_factory.mktemp("gradients") / "run"
    config = Config("classify", Settings(epochs=1), replace(Classify.layers, hidden=6), {})
    train(Classify(), config, None, folder)
    return folder


def test_a_run_beside_rnn_lstm_and_gru(run: Path) -> None:
    curves = run_gradients(read_run(run))
    assert [c.name for c in curves] == [
        "gru(6), trained",
        "gru(6) at the start",
        "rnn(6) at the start",
        "lstm(6) at the start",
    ]
    assert all(len(c.norms) == 9 and c.norms[0] == 1 for c in curves)
    again = run_gradients(read_run(run))
    assert all(np.array_equal(a.norms, b.norms) for a, b in zip(curves, again, strict=True))
    assert len(gradient_rows(curves)[1]) == 4


def test_command(run: Path, tmp_path: Path) -> None:
    picture = tmp_path / "g.svg"
    arguments = ["inspect", str(run), "--gradients", "--out", str(picture)]
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "lstm(6) at the start" in result.output
    assert "halves every" in picture.read_text()
    result = CliRunner().invoke(main, [*arguments, "--json"], catch_exceptions=False)
    found = json.loads(result.output)["curves"]
    assert len(found) == 4
    assert found[0]["norms"][0] == 1
    result = CliRunner().invoke(main, ["inspect", str(run)])
    assert result.exit_code == 1
    assert "--gradients" in result.output
    result = CliRunner().invoke(main, ["inspect", str(tmp_path), "--gradients"])
    assert "no finished run" in result.output


def test_the_picture_shows_growth_and_the_window(tmp_path: Path) -> None:
    curves = [
        Curve("grows", True, 1.1 ** np.arange(50)),
        Curve("gone", False, 0.0 ** np.arange(50)),
    ]
    draw_gradients(curves, tmp_path / "g.svg", "title", window=20)
    text = (tmp_path / "g.svg").read_text()
    assert "grows: doubles every 7.3 steps" in text
    assert "window of training" in text
