"""FastGRNN: its equations, low rank, and a state that grows beyond one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import edgernn  # noqa: E402
from edgernn.importer import import_model  # noqa: E402
from edgernn.nn import FastGRNN  # noqa: E402
from edgernn.runtime import StepRuntime  # noqa: E402
from tests.edgernn.cells import (  # noqa: E402
    Layer,
    assert_same_everywhere,
    float_run,
    sequences,
    worst_error,
)

F, H, N, T = 4, 6, 3, 8


def layer_of(seed: int = 0, size: int = H, **options: Any) -> Any:
    torch.manual_seed(seed)
    return FastGRNN(F, size, batch_first=True, **options).eval()


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def test_the_equations_of_the_paper() -> None:
    layer, x = layer_of(), sequences((N, T, F)).astype(np.float64)
    p = {k.removesuffix("_l0"): v.detach().double().numpy() for k, v in layer.named_parameters()}
    h, expected = np.zeros((N, H)), []
    for t in range(T):
        a = x[:, t] @ p["weight_ih"].T + h @ p["weight_hh"].T
        z, candidate = sigmoid(a + p["bias_z"]), np.tanh(a + p["bias_n"])
        h = (sigmoid(p["zeta"]) * (1 - z) + sigmoid(p["nu"])) * candidate + z * h
        expected.append(h)
    y = layer(torch.from_numpy(x).float())[0].detach().numpy()
    np.testing.assert_allclose(y, np.stack(expected, axis=1), rtol=0, atol=1e-5)


@pytest.mark.parametrize("ranks", [{"w_rank": 2}, {"u_rank": 3}, {"w_rank": 1, "u_rank": 2}])
def test_low_rank_is_the_network_of_the_multiplied_matrices(ranks: dict[str, int]) -> None:
    low, whole = layer_of(**ranks), layer_of()
    with torch.no_grad():
        for name in ("weight_ih", "weight_hh"):
            if hasattr(low, f"{name}_up_l0"):
                product = getattr(low, f"{name}_up_l0") @ getattr(low, f"{name}_down_l0")
                getattr(whole, f"{name}_l0").copy_(product)
            else:
                getattr(whole, f"{name}_l0").copy_(getattr(low, f"{name}_l0"))
    x = torch.from_numpy(sequences((N, T, F)))
    torch.testing.assert_close(low(x)[0], whole(x)[0])


def test_low_rank_takes_less_of_the_program() -> None:
    counts = []
    for ranks in ({}, {"w_rank": 2, "u_rank": 4}):
        layer = layer_of(size=32, **ranks)
        x = sequences((4, 10, F))
        program = edgernn.quantize(Layer(layer), (torch.from_numpy(x[:2]),), calibration=x)
        counts.append(program.weight_count)
    assert counts == [32 * (F + 32), 2 * (F + 32) + 4 * (32 + 32)]


def test_zeta_and_nu_start_as_the_authors_have_them() -> None:
    layer = layer_of(num_layers=2)
    for suffix in ("l0", "l1"):
        assert getattr(layer, f"zeta_{suffix}").item() == 1.0
        assert getattr(layer, f"nu_{suffix}").item() == -4.0
        assert bool((getattr(layer, f"bias_z_{suffix}") == 1).all())


def test_a_state_beyond_one_is_held() -> None:
    layer = layer_of(1)
    with torch.no_grad():
        layer.bias_z_l0.fill_(4.0)
        layer.nu_l0.fill_(2.0)
        layer.weight_hh_l0.mul_(0.1)
    x = sequences((16, 60, F))
    program = edgernn.quantize(Layer(layer), (torch.from_numpy(x[:2]),), calibration=x)
    assert float(np.abs(float_run(program, x)).max()) > 4
    assert worst_error(program, x) < 0.02
    assert_same_everywhere(program, 400, seed=1)


@pytest.mark.parametrize("apart", [0.0, 0.01, 3.0, 15.0, 300.0])
def test_biases_that_lie_apart_do_not_saturate_each_other(apart: float) -> None:
    layer = layer_of(2)
    with torch.no_grad():
        layer.bias_z_l0.fill_(apart / 2)
        layer.bias_n_l0.fill_(-apart / 2)
        layer.nu_l0.fill_(1.0)
    x = sequences((16, 40, F))
    program = edgernn.quantize(Layer(layer), (torch.from_numpy(x[:2]),), calibration=x)
    assert worst_error(program, x) < 0.02
    assert_same_everywhere(program, 300, seed=2)


def test_the_initial_state_may_lie_beyond_the_data() -> None:
    start = [torch.full((1, 1, H), 9.0)]
    x = 0.01 * sequences((4, 10, F))
    model = Layer(layer_of(3), start=start).eval()
    program = edgernn.quantize(model, (torch.from_numpy(x[:2]),), calibration=x)
    assert worst_error(program, x) < 0.02
    StepRuntime(program).step(x[0, 0])


def test_a_rank_of_nothing_is_refused() -> None:
    for name in ("w_rank", "u_rank"):
        with pytest.raises(ValueError, match=f"{name} must be at least 1, or None"):
            layer_of(**{name: 0})


def test_the_kind_says_which_matrices_are_of_low_rank() -> None:
    for ranks, kind in (
        ({}, "fastgrnn"),
        ({"w_rank": 2}, "fastgrnn_low_w"),
        ({"u_rank": 2}, "fastgrnn_low_u"),
        ({"w_rank": 2, "u_rank": 2}, "fastgrnn_low_wu"),
    ):
        graph = import_model(Layer(layer_of(num_layers=2, **ranks)), (torch.zeros(2, 3, F),))
        assert [node.kind for node in graph.nodes] == [kind, kind]


def test_5000_steps_are_the_same_on_every_engine() -> None:
    model = Layer(layer_of(4, w_rank=2, u_rank=3, num_layers=2), 2).eval()
    x = sequences((16, 40, F))
    program = edgernn.quantize(model, (torch.from_numpy(x[:2]),), calibration=x)
    assert_same_everywhere(program, 5000, seed=3)
