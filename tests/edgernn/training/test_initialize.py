import pytest
import torch
from torch import Tensor, nn

import edgernn.nn as enn
from edgernn.training.initialize import initialize

F, H = 5, 16
LAYERS = {
    "gru": lambda: nn.GRU(F, H, 2, bidirectional=True),
    "lstm": lambda: nn.LSTM(F, H),
    "projection": lambda: nn.LSTM(F, H, proj_size=6),
    "rnn": lambda: nn.RNN(F, H, nonlinearity="relu"),
    "no bias": lambda: nn.LSTM(F, H, bias=False),
    "mgu": lambda: enn.MGU(F, H),
    "before": lambda: enn.GRUResetBefore(F, H),
    "peephole": lambda: enn.LSTMPeephole(F, H, bidirectional=True),
    "ln_lstm": lambda: enn.LayerNormLSTM(F, H, 2),
    "ln_gru": lambda: enn.LayerNormGRU(F, H),
    "jordan": lambda: enn.Jordan(F, H, 4),
    "fast": lambda: enn.FastGRNN(F, H),
    "low rank": lambda: enn.FastGRNN(F, H, w_rank=3, u_rank=4),
    "gru_d": lambda: enn.GRUD(F, H, mean=torch.arange(5.0)),
}
GATES = {"gru": 3, "lstm": 4, "projection": 4, "no bias": 4, "mgu": 2, "before": 3, "peephole": 4}
GATES |= {"ln_lstm": 4, "ln_gru": 3, "gru_d": 3}


def spread(matrix: Tensor) -> Tensor:
    """Its singular values."""
    return torch.linalg.svdvals(matrix.detach())


@pytest.mark.parametrize("name", LAYERS)
def test_recurrent_matrices_are_orthogonal_gate_by_gate(name: str) -> None:
    layer = LAYERS[name]()
    initialize(layer, 0)
    found = [
        (n, p)
        for n, p in layer.named_parameters()
        if n.startswith(("weight_hh", "weight_rh", "weight_yh", "weight_hy", "weight_hr"))
    ]
    assert found
    for n, p in found:
        count = 2 if (name, n) == ("before", "weight_hh_l0") else GATES.get(name, 1)
        for gate in p.chunk(1 if n.startswith(("weight_rh", "weight_hr")) else count):
            torch.testing.assert_close(spread(gate), torch.ones(min(gate.shape)))


@pytest.mark.parametrize("name", LAYERS)
def test_input_matrices_are_glorot_gate_by_gate(name: str) -> None:
    layer = LAYERS[name]()
    initialize(layer, 0)
    for n, p in layer.named_parameters():
        if n.startswith(("weight_ih", "weight_mh")) and not n.endswith(("up_l0", "down_l0")):
            rows = H if name != "rnn" else len(p)
            bound = (6 / (rows + p.shape[1])) ** 0.5
            assert 0.85 * bound < p.abs().max() <= bound


def test_low_rank_has_the_variance_of_the_whole() -> None:
    layer = enn.FastGRNN(40, 60, w_rank=8)
    initialize(layer, 0)
    product = (layer.weight_ih_up_l0 @ layer.weight_ih_down_l0).detach()
    assert product.var().item() == pytest.approx(2 / 100, rel=0.15)


@pytest.mark.parametrize("name", LAYERS)
def test_biases(name: str) -> None:
    layer = LAYERS[name]()
    with torch.no_grad():
        for p in layer.parameters():
            p.fill_(9.0)
    initialize(layer, 0)
    lstm = name in ("lstm", "projection", "peephole", "ln_lstm")
    for suffix in ("_l0", "_l1", "_l0_reverse", "_l1_reverse"):
        if hasattr(layer, f"bias_ih{suffix}"):
            total = getattr(layer, f"bias_ih{suffix}") + getattr(layer, f"bias_hh{suffix}", 0.0)
            expected = torch.zeros(len(total))
            if lstm:
                expected[H : 2 * H] = 1.0
            torch.testing.assert_close(total.detach(), expected)


def test_the_rest_is_sensible() -> None:
    fast, norm, missing = LAYERS["fast"](), LAYERS["ln_lstm"](), LAYERS["gru_d"]()
    for layer in (fast, norm, missing):
        initialize(layer, 0)
    assert (fast.zeta_l0.item(), fast.nu_l0.item()) == (1, -4)
    assert bool((fast.bias_z_l0 == 1).all())
    assert bool((norm.gain_c_l1 == 1).all())
    assert bool((norm.bias_c_l1 == 0).all())
    assert torch.equal(missing.mean_l0, torch.arange(5.0))
    assert bool((missing.decay_x_l0 > 0).all())


def test_a_seed_decides_and_other_layers_stay() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.GRU(4, 8), nn.Embedding(3, 2))
    before = {n: p.detach().clone() for n, p in network.named_parameters()}
    initialize(network, 3)
    first = {n: p.detach().clone() for n, p in network.named_parameters()}
    initialize(network, torch.Generator().manual_seed(3))
    for n, p in network.named_parameters():
        assert torch.equal(p, first[n])
        assert torch.equal(p, before[n]) == (not n.startswith("1."))
    initialize(network, 4)
    assert not torch.equal(network[1].weight_hh_l0, first["1.weight_hh_l0"])


def test_gradients_last_longer_than_with_the_default() -> None:
    reach = []
    for start in (lambda m: None, lambda m: initialize(m, 0)):
        torch.manual_seed(0)
        layer = nn.RNN(4, 32)
        start(layer)
        hx = torch.zeros(1, 1, 32, requires_grad=True)
        y, _ = layer(torch.zeros(60, 1, 4), hx)
        (gradient,) = torch.autograd.grad(y[-1].sum(), hx)
        reach.append(gradient.norm().item() / 32**0.5)
    assert reach[0] < 1e-6
    assert reach[1] == pytest.approx(1, rel=1e-3)
