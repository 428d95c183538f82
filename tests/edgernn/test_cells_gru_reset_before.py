"""GRU as published: its equations, and that it is not mistaken for torch.nn.GRU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import edgernn  # noqa: E402
from edgernn.nn import GRUResetBefore  # noqa: E402
from tests.edgernn.cells import Layer, assert_same_everywhere, sequences, worst_error  # noqa: E402
from tests.edgernn.recurrent_onnx import run_onnx  # noqa: E402

F, H, N, T = 3, 5, 4, 9


def layer_of(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return GRUResetBefore(F, H, batch_first=True).eval()


def test_it_is_the_gru_of_onnx_that_resets_before_with_z_negated() -> None:
    layer, x = layer_of(), sequences((N, T, F))
    w, u, b = (
        getattr(layer, f"{name}_l0").detach().numpy()
        for name in ("weight_ih", "weight_hh", "bias_ih")
    )
    r, z, n = np.split(w, 3)
    u_r, u_z = np.split(u, 2)
    b_r, b_z, b_n = np.split(b, 3)
    y = run_onnx(
        "GRU",
        x,
        np.concatenate([-z, r, n]),
        np.concatenate([-u_z, u_r, layer.weight_rh_l0.detach().numpy()]),
        np.concatenate([-b_z, b_r, b_n, np.zeros(3 * H, np.float32)]),
        linear_before_reset=0,
    )
    np.testing.assert_allclose(layer(torch.from_numpy(x))[0].detach(), y, rtol=0, atol=1e-5)


def test_torchs_gru_is_another_network_and_its_weights_do_not_load() -> None:
    layer, x = layer_of(), torch.from_numpy(sequences((N, T, F)))
    for bias in (True, False):
        other = torch.nn.GRU(F, H, batch_first=True, bias=bias)
        ours = GRUResetBefore(F, H, batch_first=True, bias=bias)
        with pytest.raises(RuntimeError, match="weight_rh_l0"):
            ours.load_state_dict(other.state_dict())
    # The same numbers in torch's order, z negated because there z = 1 keeps.
    other = torch.nn.GRU(F, H, batch_first=True)
    sign = torch.tensor([1.0, -1.0, 1.0]).repeat_interleave(H)
    with torch.no_grad():
        other.weight_ih_l0.copy_(sign[:, None] * layer.weight_ih_l0)
        other.bias_ih_l0.copy_(sign * layer.bias_ih_l0)
        other.bias_hh_l0.zero_()
        whole = torch.cat([layer.weight_hh_l0, layer.weight_rh_l0])
        other.weight_hh_l0.copy_(sign[:, None] * whole)
        difference = (layer(x)[0] - other(x)[0]).abs()
    assert float(difference[:, 0].max()) < 1e-6, "from zeros, the first step is the same"
    assert float(difference[:, 1:].max()) > 1e-3


def test_z_of_one_writes_and_z_of_zero_keeps() -> None:
    layer, h = layer_of(), torch.rand(1, N, H)
    x = torch.from_numpy(sequences((N, 1, F)))
    with torch.no_grad():
        layer.bias_ih_l0[H : 2 * H] = -40.0
        torch.testing.assert_close(layer(x, h)[1], h)
        layer.bias_ih_l0[H : 2 * H] = 40.0
        assert float((layer(x, h)[1] - h).abs().min()) > 1e-4


def test_5000_steps_are_the_same_on_every_engine() -> None:
    model = Layer(layer_of(3), 2).eval()
    x = sequences((16, 40, F))
    program = edgernn.quantize(model, (torch.from_numpy(x[:2]),), calibration=x)
    assert worst_error(program, x) < 0.01
    assert_same_everywhere(program, 5000, seed=3)
