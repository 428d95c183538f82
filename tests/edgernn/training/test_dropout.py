from typing import Any

import pytest
import torch
from torch import nn

import edgernn.nn as enn
from edgernn.training.dropout import (
    VariationalDropout,
    run_with_recurrent_dropout,
)

F, H, N, T = 3, 6, 4, 9
LAYERS: dict[str, Any] = {
    "gru": lambda **k: nn.GRU(F, H, **k),
    "gru 2": lambda **k: nn.GRU(F, H, 2, bidirectional=True, **k),
    "lstm": lambda **k: nn.LSTM(F, H, bidirectional=True, **k),
    "projection": lambda **k: nn.LSTM(F, H, proj_size=2, **k),
    "rnn": lambda **k: nn.RNN(F, H, **k),
    "rnn_relu": lambda **k: nn.RNN(F, H, nonlinearity="relu", **k),
    "no bias": lambda **k: nn.GRU(F, H, bias=False, **k),
    "mgu": lambda **k: enn.MGU(F, H, **k),
    "before": lambda **k: enn.GRUResetBefore(F, H, **k),
    "peephole": lambda **k: enn.LSTMPeephole(F, H, 2, bidirectional=True, **k),
    "ln_lstm": lambda **k: enn.LayerNormLSTM(F, H, bias=False, **k),
    "ln_gru": lambda **k: enn.LayerNormGRU(F, H, **k),
    "jordan": lambda **k: enn.Jordan(F, H, 2, output_nonlinearity="tanh", **k),
    "fast": lambda **k: enn.FastGRNN(F, H, **k),
    "low rank": lambda **k: enn.FastGRNN(F, H, bias=False, w_rank=2, u_rank=3, **k),
    "gru_d": lambda **k: enn.GRUD(F, H, mean=torch.ones(F), **k),
}


def made(name: str, batch_first: bool = True) -> tuple[nn.Module, Any]:
    torch.manual_seed(1)
    layer = LAYERS[name](batch_first=batch_first)
    x: Any = torch.randn((N, T, F) if batch_first else (T, N, F))
    if name == "gru_d":
        x = [x, (torch.rand_like(x) < 0.7).float(), torch.rand_like(x)]
    return layer, x


def flat(result: tuple[torch.Tensor, Any]) -> list[torch.Tensor]:
    y, state = result
    return [y, *(state if isinstance(state, tuple) else (state,))]


def same(a: Any, b: Any, **k: Any) -> None:
    for one, other in zip(flat(a), flat(b), strict=True):
        torch.testing.assert_close(one, other, **k)


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("name", LAYERS)
def test_nothing_dropped_is_the_layer(name: str) -> None:
    for lengths in (None, torch.tensor([9, 2, 5, 1])):
        layer, x = made(name)
        plain = run_with_recurrent_dropout(layer, x, 0.0, lengths)
        # So small a share that no unit is dropped: the path with masks.
        same(run_with_recurrent_dropout(layer, x, 1e-9, lengths), plain, rtol=1e-5, atol=1e-6)
        same(run_with_recurrent_dropout(layer.eval(), x, 0.5, lengths), plain)
        if lengths is None:
            same(layer(*x) if isinstance(x, list) else layer(x), plain)


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("name", sorted(LAYERS.keys() - {"gru 2", "lstm", "peephole"}))
def test_the_mask_is_one_for_all_steps_of_a_sequence(name: str) -> None:
    """Compared with the layer itself whose recurrent matrix has the dropped columns at zero."""
    layer, x = made(name)
    torch.manual_seed(5)
    y, _ = run_with_recurrent_dropout(layer, x, 0.5)
    torch.manual_seed(5)
    width = getattr(layer, "weight_hh_down_l0", getattr(layer, "weight_yh_l0", None))
    width = (layer.weight_hh_l0 if width is None else width).shape[1]
    masks = torch.empty(N, width).bernoulli_(0.5) * 2
    assert len({tuple(m.tolist()) for m in masks}) > 1
    matrices = ("weight_hh_l0", "weight_rh_l0", "weight_yh_l0", "weight_hh_down_l0")
    for n in range(N):
        twin, _ = made(name)
        with torch.no_grad():
            for matrix in matrices:
                if hasattr(twin, matrix):
                    getattr(twin, matrix).mul_(masks[n])
        one = [v[n : n + 1] for v in (x if isinstance(x, list) else [x])]
        torch.testing.assert_close(twin(*one)[0][0], y[n], rtol=1e-5, atol=1e-6)


def test_directions_and_layers_have_masks_of_their_own() -> None:
    layer, x = made("gru 2")
    torch.manual_seed(2)
    plain, _ = layer(x)
    y, _ = run_with_recurrent_dropout(layer, x, 0.5)
    assert y.shape == plain.shape
    flipped = torch.cat(y.flip(1).chunk(2, dim=-1)[::-1], dim=-1)
    assert not torch.allclose(flipped, y)


@pytest.mark.parametrize("name", ["gru 2", "lstm", "peephole", "gru_d"])
@pytest.mark.parametrize("batch_first", [True, False])
def test_padded_steps_change_nothing(name: str, batch_first: bool) -> None:
    layer, x = made(name, batch_first)
    lengths = torch.tensor([9, 4, 1, 6])
    results = []
    for filling in (0.0, 1e3):
        valid = torch.arange(T)[None, :] < lengths[:, None]
        valid = (valid if batch_first else valid.t())[:, :, None]
        values = x if isinstance(x, list) else [x]
        values = [torch.where(valid, v, torch.tensor(filling)) for v in values]
        torch.manual_seed(3)
        results.append(run_with_recurrent_dropout(layer, values, 0.4, lengths))
    same(*results)
    y, _ = results[0]
    one = y if batch_first else y.transpose(0, 1)
    assert torch.equal(one[1, 3, :H], one[1, 8, :H])


def test_initial_state_and_scale() -> None:
    """A linear step from a given state: the mean over masks is the step without dropout."""
    layer = enn.Jordan(1, 4, 4, nonlinearity="relu", batch_first=True)
    with torch.no_grad():
        for p in layer.parameters():
            p.abs_()
    x, state = torch.ones(20000, 1, 1), torch.ones(1, 20000, 4)
    y, _ = run_with_recurrent_dropout(layer, x, 0.3, hx=state)
    torch.testing.assert_close(y.mean(0), layer(x[:1], state[:, :1])[0][0], rtol=0.02, atol=0)


def test_gradient_flows() -> None:
    for name in LAYERS:
        layer, x = made(name)
        run_with_recurrent_dropout(layer, x, 0.2)[0].square().sum().backward()
        for parameter in layer.parameters():
            assert parameter.grad is not None
            assert bool(parameter.grad.isfinite().all())
        assert any(p.grad.norm() > 0 for n, p in layer.named_parameters() if "_hh" in n or "y" in n)


def test_refusals() -> None:
    x = torch.zeros(1, 2, F)
    with pytest.raises(ValueError, match="below 1"):
        run_with_recurrent_dropout(nn.GRU(F, H), x, 1.0)
    with pytest.raises(ValueError, match="VariationalDropout between"):
        run_with_recurrent_dropout(nn.GRU(F, H, 2, dropout=0.1), x, 0.1)
    with pytest.raises(TypeError, match="not Linear"):
        run_with_recurrent_dropout(nn.Linear(F, H), x, 0.1)


def test_variational_dropout() -> None:
    layer, x = VariationalDropout(0.25), torch.ones(500, 7, 20)
    torch.manual_seed(0)
    y = layer(x)
    assert torch.equal(y, y[:, :1].expand_as(y))
    assert not torch.equal(y[0], y[1])
    assert y.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert y.mean().item() == pytest.approx(1, abs=0.03)
    assert layer.eval()(x) is x
    assert VariationalDropout(0.0)(x) is x
