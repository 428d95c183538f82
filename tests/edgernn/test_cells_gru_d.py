"""GRU-D: the paper's equations, missing values that never matter, and exactness."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import edgernn  # noqa: E402
from edgernn.float_engine import run_float  # noqa: E402
from edgernn.nn import GRUD  # noqa: E402
from edgernn.runtime import StepRuntime  # noqa: E402
from tests.edgernn.cells import assert_same_everywhere, sequences, train  # noqa: E402

F, H, N, T = 4, 6, 3, 12


def series(shape: tuple[int, int, int], seed: int = 0, missing: float = 0.0) -> list[Any]:
    """x with what is missing filled, what was observed, and the time since; (N, T, F) each."""
    rng = np.random.default_rng(seed)
    observed = (rng.random(shape) < 0.4).astype(np.float32)
    gap = np.zeros(shape, np.float32)
    for t in range(1, shape[1]):
        gap[:, t] = np.where(observed[:, t - 1] != 0, 0.5, gap[:, t - 1] + 0.5)
    x = np.where(observed != 0, sequences(shape, seed), np.float32(missing))
    return [x.astype(np.float32), observed, gap]


class Model(torch.nn.Module):  # type: ignore[misc,name-defined,unused-ignore]
    def __init__(self, features: int, hidden: int, mean: float = 0.0, last: bool = False) -> None:
        super().__init__()
        means = torch.full((features,), mean) if mean else None
        self.cell = GRUD(features, hidden, batch_first=True, mean=means)
        self.head, self.last = torch.nn.Linear(hidden, 2), last
        torch.nn.init.uniform_(self.cell.decay_x_l0, 0, 1)
        torch.nn.init.uniform_(self.cell.decay_h_l0, -0.1, 0.3)

    def forward(self, x: Any, observed: Any, gap: Any) -> Any:
        y = self.cell(x, observed, gap)[0]
        return self.head(y[:, -1] if self.last else y)


def quantized(model: Any, data: list[Any]) -> Any:
    example = tuple(torch.from_numpy(v[:2]) for v in data)
    return edgernn.quantize(model.eval(), example, calibration=tuple(data))


def test_the_equations() -> None:
    torch.manual_seed(0)
    layer, (x, m, d) = GRUD(F, H, mean=torch.arange(F) / 4), series((N, T, F))
    p = {k.removesuffix("_l0"): v.double().numpy() for k, v in layer.state_dict().items()}

    def sigmoid(v: Any) -> Any:
        return 1 / (1 + np.exp(-v))

    h, last, expected = np.zeros((N, H)), np.tile(p["mean"], (N, 1)), []
    for t in range(T):
        rate_x = np.exp(-np.maximum(0, p["decay_x"] * d[:, t] + p["bias_decay_x"]))
        rate_h = np.exp(-np.maximum(0, d[:, t] @ p["decay_h"].T + p["bias_decay_h"]))
        filled = m[:, t] * x[:, t] + (1 - m[:, t]) * (rate_x * last + (1 - rate_x) * p["mean"])
        last = np.where(m[:, t] == 1, x[:, t], last)
        h = rate_h * h
        a = filled @ p["weight_ih"].T + m[:, t] @ p["weight_mh"].T + p["bias_ih"]
        r, z = np.split(sigmoid(a[:, : 2 * H] + h @ p["weight_hh"][: 2 * H].T), 2, axis=1)
        n = np.tanh(a[:, 2 * H :] + (r * h) @ p["weight_hh"][2 * H :].T)
        h = (1 - z) * h + z * n
        expected.append(h)
    y, (h_n, x_n) = layer(*(torch.from_numpy(v).transpose(0, 1) for v in (x, m, d)))
    np.testing.assert_allclose(y.detach().transpose(0, 1), np.stack(expected, 1), rtol=0, atol=1e-5)
    np.testing.assert_allclose(x_n[0].detach(), last, rtol=0, atol=1e-6)
    torch.testing.assert_close(h_n[0], y[-1])


@pytest.mark.parametrize(
    ("features", "hidden", "mean", "missing"),
    [(5, 16, 0.0, 0.0), (3, 33, 0.5, 1e6), (1, 1, 0.1, 0.0), (17, 8, 0.2, -7.0)],
)
def test_the_program_is_close_and_exact(
    features: int, hidden: int, mean: float, missing: float
) -> None:
    torch.manual_seed(hidden)
    model, data = Model(features, hidden, mean).eval(), series((12, 50, features), 1, missing)
    program = quantized(model, data)
    with torch.no_grad():
        expected = model(*(torch.from_numpy(v) for v in data)).numpy()
    floats = run_float(program.graph, dict(zip(program.inputs, data, strict=True)))[0]["y"]
    np.testing.assert_allclose(floats, expected, rtol=0, atol=1e-5)
    got = StepRuntime(program).run(*data)
    assert np.abs(got - expected).max() < 0.01 * np.abs(expected).max()
    # Not even the scale of the input depends on what stands where nothing was observed.
    clean = series((12, 50, features), 1, 0.0)
    assert (StepRuntime(program).run(*clean) == got).all()
    assert quantized(model, clean).tensors["x0"].scale == program.tensors["x0"].scale
    assert_same_everywhere(program, 400, seed=hidden)


def test_missing_values_never_matter_to_the_bit() -> None:
    torch.manual_seed(0)
    program = quantized(Model(F, H), series((12, 50, F)))
    runtime, rng = StepRuntime(program), np.random.default_rng(0)
    given = [rng.integers(-32768, 32768, (300, F)).astype(np.int16) for _ in range(3)]
    given[1] = (rng.random((300, F)) < 0.5).astype(np.int16)
    other = np.where(given[1] != 0, given[0], rng.integers(-32768, 32768, (300, F)))
    first = runtime.run_int(*given)
    runtime.reset()
    assert (runtime.run_int(other.astype(np.int16), *given[1:]) == first).all()


def test_the_first_value_fades_to_the_mean() -> None:
    layer = GRUD(1, 2, batch_first=True, mean=torch.tensor([0.25]))
    _, (_, last) = layer(torch.full((1, 3, 1), 9.0), torch.zeros(1, 3, 1), torch.ones(1, 3, 1))
    assert last.item() == 0.25
    assert "mean_l0" in layer.state_dict()
    assert "mean_l0" not in dict(layer.named_parameters())


def test_a_trained_model_keeps_its_predictions() -> None:
    torch.manual_seed(0)
    data = series((128, 16, F), 2)
    tensors = [torch.from_numpy(v) for v in data]
    target = (tensors[0][:, :, 0].sum(dim=1) > 0).long()
    model = Model(F, 10, last=True)

    class Joined(torch.nn.Module):  # type: ignore[misc,name-defined,unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: Any) -> Any:
            return self.model(*x.chunk(3, dim=-1))

    joined = torch.cat(tensors, dim=-1)
    first, last = train(Joined(), joined, target)
    assert last < 0.8 * first
    program = quantized(model, data)
    with torch.no_grad():
        expected = model(*tensors).argmax(-1).numpy()
    assert (StepRuntime(program).run(*data)[:, -1].argmax(-1) == expected).mean() > 0.98


def test_a_plain_model_takes_the_mask_as_features() -> None:
    torch.manual_seed(0)

    class Plain(torch.nn.Module):  # type: ignore[misc,name-defined,unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            self.gru = torch.nn.GRU(2 * F, H, batch_first=True)

        def forward(self, x: Any, observed: Any) -> Any:
            return self.gru(torch.cat([x * observed, observed], dim=-1))[0]

    model, data = Plain().eval(), series((12, 40, F))[:2]
    program = quantized(model, data)
    with torch.no_grad():
        expected = model(*(torch.from_numpy(v) for v in data)).numpy()
    assert np.abs(StepRuntime(program).run(*data) - expected).max() < 0.01
    assert_same_everywhere(program, 300)


def test_padding_leaves_the_states_alone() -> None:
    torch.manual_seed(0)
    layer = GRUD(F, H, batch_first=True)
    x, m, d = (torch.from_numpy(v) for v in series((N, T, F)))
    padded = layer(x, m, d, lengths=torch.tensor([T, 5, 1]))[0]
    alone = layer(x[1:2, :5], m[1:2, :5], d[1:2, :5])[0]
    torch.testing.assert_close(padded[1, -1], alone[0, -1])


def test_wrong_use_is_refused() -> None:
    layer, x = GRUD(F, H), torch.zeros(T, N, F)
    with pytest.raises(ValueError, match="observed must be floating point"):
        layer(x, torch.zeros(T, N, F, dtype=torch.bool), x)
    with pytest.raises(ValueError, match="gap must be floating point and of the shape of x"):
        layer(x, x, x[:1])
    with pytest.raises(ValueError, match=r"mean is one number per feature, \(4,\)"):
        GRUD(F, H, mean=torch.zeros(3))
