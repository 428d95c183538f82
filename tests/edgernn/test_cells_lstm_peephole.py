"""LSTM with peepholes: its equations, and peepholes of any size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import edgernn  # noqa: E402
from edgernn.nn import LSTMPeephole  # noqa: E402
from tests.edgernn.cells import Layer, assert_same_everywhere, sequences, worst_error  # noqa: E402
from tests.edgernn.recurrent_onnx import run_onnx  # noqa: E402

F, H, N, T = 3, 5, 4, 9


def layer_of(seed: int = 0, size: int = H) -> Any:
    torch.manual_seed(seed)
    return LSTMPeephole(F, size, batch_first=True).eval()


def test_it_is_the_lstm_of_onnx_with_peepholes() -> None:
    layer, x = layer_of(), sequences((N, T, F))
    with torch.no_grad():
        layer.weight_peephole_l0.mul_(5)

    def rows(name: str) -> Any:
        i, f, g, o = np.split(getattr(layer, name).detach().numpy(), 4)
        return np.concatenate([i, o, f, g])

    i, f, o = np.split(layer.weight_peephole_l0.detach().numpy(), 3)
    bias = np.concatenate([rows("bias_ih_l0"), np.zeros(4 * H, np.float32)])
    weights = (rows("weight_ih_l0"), rows("weight_hh_l0"), bias)
    y = run_onnx("LSTM", x, *weights, np.concatenate([i, o, f]))
    np.testing.assert_allclose(layer(torch.from_numpy(x))[0].detach(), y, rtol=0, atol=1e-5)
    without = run_onnx("LSTM", x, *weights)
    assert np.abs(without - y).max() > 1e-2


def test_without_peepholes_it_is_torchs_lstm() -> None:
    layer, other = layer_of(), torch.nn.LSTM(F, H, batch_first=True)
    x = torch.from_numpy(sequences((N, T, F)))
    with torch.no_grad():
        layer.weight_peephole_l0.zero_()
        for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0"):
            getattr(other, name).copy_(getattr(layer, name))
        other.bias_hh_l0.zero_()
    y, (h, c) = layer(x)
    y_torch, (h_torch, c_torch) = other(x)
    for ours, theirs in ((y, y_torch), (h, h_torch), (c, c_torch)):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("gain", [0.0, 1e-6, 0.1, 1.0, 30.0, 1000.0])
def test_peepholes_of_any_size_stay_close_and_exact(gain: float) -> None:
    layer = layer_of(1, 8)
    with torch.no_grad():
        layer.weight_peephole_l0.copy_(gain * torch.randn(24))
        layer.bias_ih_l0[8:16] += 2.0
    x = sequences((16, 60, F))
    model = Layer(layer, 2).eval()
    program = edgernn.quantize(model, (torch.from_numpy(x[:2]),), calibration=x)
    # A gate that acts like a switch turns a rounding into a jump.
    assert worst_error(program, x) < (0.01 if gain <= 1 else 0.5)
    assert_same_everywhere(program, 400, seed=1)


def test_5000_steps_are_the_same_on_every_engine() -> None:
    model = Layer(layer_of(3), 2).eval()
    x = sequences((16, 40, F))
    program = edgernn.quantize(model, (torch.from_numpy(x[:2]),), calibration=x)
    assert_same_everywhere(program, 5000, seed=3)
