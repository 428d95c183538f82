"""LSTM and GRU with layer normalisation: the paper's equations, and exactness."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import edgernn  # noqa: E402
from edgernn.engines.onnx import FloatOnnx  # noqa: E402
from edgernn.float_onnx import float_onnx  # noqa: E402
from edgernn.importer import import_model  # noqa: E402
from edgernn.nn import LayerNormGRU, LayerNormLSTM  # noqa: E402
from edgernn.quantization import QuantizedWindow  # noqa: E402
from edgernn.runtime.window_runtime import WindowRuntime  # noqa: E402
from tests.edgernn.cells import (  # noqa: E402
    Layer,
    assert_same_everywhere,
    float_run,
    sequences,
    signs_task,
    train,
)

F, H, N, T, EPS = 4, 6, 3, 9, 1e-3
BOTH = pytest.mark.parametrize("kind", [LayerNormLSTM, LayerNormGRU])


def layer_of(kind: Any, seed: int = 0, hidden: int = H, features: int = F, **options: Any) -> Any:
    torch.manual_seed(seed)
    layer = kind(features, hidden, batch_first=True, **options)
    for name, parameter in layer.named_parameters():
        if name.startswith(("gain", "bias")):
            torch.nn.init.normal_(parameter, float(name.startswith("gain")), 0.3)
    return layer.eval()


def norm(z: Any, gain: Any) -> Any:
    deviation = np.sqrt(z.var(axis=-1, keepdims=True) + EPS)
    return gain * (z - z.mean(axis=-1, keepdims=True)) / deviation


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def lstm(p: dict[str, Any], x: Any) -> Any:
    h, c = np.zeros((N, H)), np.zeros((N, H))
    for t in range(T):
        gates = norm(x[:, t] @ p["weight_ih"].T, p["gain_ih"])
        gates = gates + norm(h @ p["weight_hh"].T, p["gain_hh"]) + p["bias_ih"]
        i, f, g, o = np.split(gates, 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(norm(c, p["gain_c"]) + p["bias_c"])
        yield h


def gru(p: dict[str, Any], x: Any) -> Any:
    h = np.zeros((N, H))
    for t in range(T):
        u, v = x[:, t] @ p["weight_ih"].T, h @ p["weight_hh"].T
        a, b, c, d = (p[k] for k in ("gain_ih", "gain_hh", "bias_ih", "bias_hh"))
        g = 2 * H
        gates = norm(u[:, :g], a[:g]) + c[:g] + norm(v[:, :g], b[:g]) + d[:g]
        r, z = np.split(sigmoid(gates), 2, axis=-1)
        new = norm(u[:, g:], a[g:]) + c[g:] + r * (norm(v[:, g:], b[g:]) + d[g:])
        h = (1 - z) * h + z * np.tanh(new)
        yield h


@pytest.mark.parametrize(("kind", "equations"), [(LayerNormLSTM, lstm), (LayerNormGRU, gru)])
def test_the_equations(kind: Any, equations: Any) -> None:
    layer, x = layer_of(kind, eps=EPS), sequences((N, T, F)).astype(np.float64)
    p = {k.removesuffix("_l0"): v.detach().double().numpy() for k, v in layer.named_parameters()}
    ours = layer(torch.from_numpy(x).float())[0].detach()
    np.testing.assert_allclose(ours, np.stack(list(equations(p, x)), axis=1), rtol=0, atol=1e-5)


@BOTH
@pytest.mark.parametrize(
    ("features", "hidden", "options"),
    [(5, 16, {}), (3, 64, {}), (1, 1, {}), (7, 5, {"num_layers": 2}), (2, 9, {"bias": False})],
)
def test_the_program_is_close_and_exact(
    kind: Any, features: int, hidden: int, options: dict[str, Any]
) -> None:
    layer, x = layer_of(kind, hidden, hidden, features, **options), sequences((12, 40, features))
    program = edgernn.quantize(Layer(layer), (torch.from_numpy(x[:2]),), calibration=x)
    with torch.no_grad():
        expected = layer(torch.from_numpy(x))[0].numpy()
    np.testing.assert_allclose(float_run(program, x), expected, rtol=0, atol=1e-3)
    # Not the worst: a product that hardly varies is amplified, with the rounding of its weights.
    got = edgernn.runtime.StepRuntime(program).run(x)
    assert np.sqrt(np.mean((got - expected) ** 2)) < 0.06
    assert np.median(np.abs(got - expected)) < 0.02
    assert_same_everywhere(program, 300, seed=hidden)


@BOTH
def test_a_mask_freezes_the_states(kind: Any) -> None:
    layer, x = layer_of(kind), torch.from_numpy(sequences((N, T, F)))
    lengths = torch.tensor([T, 4, 1])
    padded = layer(x, lengths=lengths)[0]
    for n, length in enumerate(lengths.tolist()):
        alone = layer(x[n : n + 1, :length])[0][0, -1]
        torch.testing.assert_close(padded[n, -1], alone)


@BOTH
def test_a_trained_model_keeps_its_predictions(kind: Any) -> None:
    torch.manual_seed(1)
    x, target = signs_task(128, 20, F)
    model = Layer(kind(F, 8, batch_first=True), head=2, last=True)
    model(x[:2])
    first, last = train(model, x, target)
    assert last < 0.8 * first
    program = edgernn.quantize(model, (x[:2],), calibration=x.numpy())
    ours = edgernn.runtime.StepRuntime(program).run(x.numpy())[:, -1]
    with torch.no_grad():
        agree = (ours.argmax(-1) == model(x).argmax(-1).numpy()).mean()
    assert agree > 0.98


@BOTH
def test_the_float_onnx_gives_torchs_numbers(kind: Any, tmp_path: Path) -> None:
    layer, x = layer_of(kind, num_layers=2, eps=0.1), sequences((N, T, F))
    graph = import_model(Layer(layer), (torch.from_numpy(x),))
    (tmp_path / "m.onnx").write_bytes(float_onnx(graph))
    states = {s.name: np.repeat(s.initial[None], N, axis=0) for s in graph.states}
    got = FloatOnnx(tmp_path / "m.onnx").run({"x": x}, states)["y"]
    with torch.no_grad():
        expected = layer(torch.from_numpy(x))[0].numpy()
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)


@BOTH
def test_both_directions_make_a_window(kind: Any) -> None:
    layer, x = layer_of(kind, bidirectional=True, eps=0.1), sequences((12, 20, F))
    window = edgernn.quantize(Layer(layer), (torch.from_numpy(x[:2]),), calibration=x)
    assert isinstance(window, QuantizedWindow)
    with torch.no_grad():
        expected = layer(torch.from_numpy(x))[0].numpy()
    got = WindowRuntime(window).run(x)
    assert np.sqrt(np.mean((got - expected) ** 2)) < 0.03


@BOTH
def test_5000_steps_are_the_same_on_every_engine(kind: Any) -> None:
    x = sequences((12, 40, F))
    program = edgernn.quantize(
        Layer(layer_of(kind, 5, 19)), (torch.from_numpy(x[:2]),), calibration=x
    )
    assert_same_everywhere(program, 5000, seed=5)


@BOTH
def test_wrong_use_is_refused(kind: Any) -> None:
    with pytest.raises(ValueError, match="eps must be greater than 0"):
        kind(F, H, eps=0.0)
    with pytest.raises(ValueError, match=r"reads \(T, N, F\) with F = 4"):
        kind(F, H)(torch.zeros(2, 3, 5))
