"""Sums and softmax over a window, what is held from one direction to the other, and attention."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import edgernn  # noqa: E402
from edgernn.engines.onnx import FloatOnnx  # noqa: E402
from edgernn.float_engine import run_float  # noqa: E402
from edgernn.float_onnx import float_onnx  # noqa: E402
from edgernn.importer import import_model  # noqa: E402
from edgernn.nn import (  # noqa: E402
    CategoryAttention,
    Hold,
    MeanOverTime,
    SoftmaxOverTime,
    SumOverTime,
)
from edgernn.runtime import StepRuntime  # noqa: E402
from edgernn.runtime.errors import UnsupportedError  # noqa: E402
from edgernn.runtime.window_runtime import WindowRuntime  # noqa: E402
from tests.edgernn.cells import assert_same_everywhere, sequences, signs_task, train  # noqa: E402
from tests.edgernn.windows import assert_windows_same  # noqa: E402

F = 4
LENGTHS = torch.tensor([9, 4, 1])
SUMS: dict[str, tuple[type, Callable[[Any], Any]]] = {
    "sum": (SumOverTime, lambda y: y.sum(1, keepdim=True)),
    "mean": (MeanOverTime, lambda y: y.mean(1, keepdim=True)),
    "softmax": (SoftmaxOverTime, lambda y: torch.softmax(y, 1)),
}
BOTH_WAYS = pytest.mark.parametrize("reverse", [False, True])


class Behind(torch.nn.Module):  # type: ignore[misc,name-defined,unused-ignore]
    """Something behind a GRU, and what is taken of it."""

    def __init__(self, layer: Any, take: Callable[[Any], Any], features: int = F) -> None:
        super().__init__()
        self.gru = torch.nn.GRU(features, 5, batch_first=True)
        self.layer, self.take = layer, take

    def forward(self, x: Any) -> Any:
        return self.take(self.layer(self.gru(x)[0]))


class Attentive(torch.nn.Module):  # type: ignore[misc,name-defined,unused-ignore]
    """Two levels of attention, the second behind the first."""

    def __init__(self, features: int, hidden: int, attention: int, categories: Any) -> None:
        super().__init__()
        first, second = categories
        self.gru = torch.nn.GRU(features, hidden, batch_first=True, bidirectional=True)
        self.first = CategoryAttention(2 * hidden, attention, first)
        self.second = CategoryAttention(2 * hidden, attention, second)
        self.upper = torch.nn.Linear(2 * hidden, first)
        self.lower = torch.nn.Linear(2 * hidden, second)

    def forward(self, x: Any, lengths: Any = None) -> Any:
        v = self.gru(x)[0]
        r, a = self.first(v, lengths=lengths)
        upper = self.upper(r)
        omega = self.first.passed_on(torch.softmax(upper, -1), a)
        r, _ = self.second(v, omega, lengths=lengths)
        return torch.cat([upper[:, -1], self.lower(r[:, -1])], dim=-1)


@pytest.mark.parametrize("name", SUMS)
def test_padding_does_not_count(name: str) -> None:
    make, right = SUMS[name]
    layer, y = make(), torch.from_numpy(3 * sequences((3, 9, F)))
    torch.testing.assert_close(layer(y), right(y))
    given = layer(y, lengths=LENGTHS)
    for n, length in enumerate(LENGTHS.tolist()):
        own = given[n : n + 1] if given.shape[1] == 1 else given[n : n + 1, :length]
        torch.testing.assert_close(own, right(y[n : n + 1, :length]))
        assert given.shape[1] == 1 or not given[n, length:].any()
    mask = (torch.arange(9)[None] < LENGTHS[:, None]).float()
    torch.testing.assert_close(layer(y, mask=mask), given)
    turned = make(batch_first=False)(y.transpose(0, 1), mask=mask.T)
    torch.testing.assert_close(turned.transpose(0, 1), given)
    assert not layer(y, mask=torch.zeros(3, 9)).any()


@BOTH_WAYS
@pytest.mark.parametrize("name", [*SUMS, "hold"])
def test_the_graph_gives_torchs_numbers(name: str, reverse: bool) -> None:
    torch.manual_seed(0)
    if name == "hold":
        model = Behind(Hold(reverse), lambda y: y.expand(-1, 9, -1))
    else:
        end = 0 if reverse else -1
        take = (lambda y: y) if name == "softmax" else (lambda y: y[:, end])
        model = Behind(SUMS[name][0](reverse), take)
    model.eval()
    x = sequences((3, 9, F))
    graph = import_model(model, (torch.from_numpy(x),))
    with torch.no_grad():
        expected = model(torch.from_numpy(x)).numpy()
    got = run_float(graph, {"x": x})[0]["y"]
    np.testing.assert_allclose(got.reshape(expected.shape) if got.shape[1] == 1 else (
        got if expected.ndim == 3 else got[:, -1]), expected, rtol=0, atol=1e-5)  # fmt: skip
    assert graph.is_window is (reverse or name == "softmax")
    assert float_onnx(graph)


def test_in_a_stream_sums_are_those_so_far() -> None:
    torch.manual_seed(0)
    model, x = Behind(SumOverTime(), lambda y: y[:, -1]).eval(), sequences((8, 60, F))
    program = edgernn.quantize(model, (torch.from_numpy(x[:2]),), calibration=x)
    got = StepRuntime(program).run(x)
    for steps in (1, 20, 60):
        with torch.no_grad():
            expected = model(torch.from_numpy(x[:, :steps])).numpy()
        assert np.abs(got[:, steps - 1] - expected).max() < 0.01 * np.abs(expected).max()
    assert_same_everywhere(program, 600)


def test_a_held_step_is_held_exactly() -> None:
    torch.manual_seed(0)
    model, x = Behind(Hold(), lambda y: y.expand(-1, 30, -1)).eval(), sequences((8, 30, F))
    program = edgernn.quantize(model, (torch.from_numpy(x[:2]),), calibration=x)
    got = StepRuntime(program).run_int(np.ones((50, F), np.int16))
    assert got.any()
    assert (got == got[0]).all()
    assert_same_everywhere(program, 600)


@pytest.mark.parametrize("seed", range(3))
def test_attention_of_random_sizes_is_the_same_on_every_engine(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    features, hidden, attention, first, second = (int(n) for n in rng.integers(2, 25, 5))
    torch.manual_seed(seed)
    model = Attentive(features, hidden, attention, (first, second)).eval()
    with torch.no_grad():
        for part in (model.first, model.second):
            part.weight *= float(rng.uniform(1, 8))
            part.vectors *= float(rng.uniform(1, 8))
    x = sequences((16, 20, features), seed)
    graph = import_model(model, (torch.from_numpy(x),))
    with torch.no_grad():
        expected = model(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(run_float(graph, {"x": x})[0]["y"][:, 0], expected, atol=1e-5)
    onnx = FloatOnnx(float_onnx(graph)).run({"x": x}, {})["y"]
    np.testing.assert_allclose(onnx.reshape(expected.shape), expected, rtol=0, atol=1e-5)
    window = edgernn.quantize(model, (torch.from_numpy(x[:2]),), calibration=x)
    directions = [stage.direction for stage in window.stages]
    assert directions == ["forward", "reverse", "forward", "reverse", "forward", "once"]
    assert np.abs(WindowRuntime(window).run(x) - expected).max() < 0.02 * np.abs(expected).max()
    assert_windows_same(window, tmp_path, lengths=(30, 1, 70, 9))


def test_attention_is_its_equations_and_leaves_padding_out() -> None:
    torch.manual_seed(0)
    layer, v = CategoryAttention(F, 3, 7), torch.from_numpy(sequences((3, 9, F)))
    omega = torch.rand(3, 9, 1)
    p = torch.softmax(torch.randn(3, 1, 7), -1)
    r, a = layer(v, omega, lengths=LENGTHS)
    passed = layer.passed_on(p, a)
    for n, length in enumerate(LENGTHS.tolist()):
        weighed = (omega * v)[n, :length]
        scores = layer.vectors @ torch.tanh(layer.weight @ weighed.T)
        weights = torch.softmax(scores, dim=1)
        torch.testing.assert_close(r[n, 0], (weights @ weighed).mean(0))
        torch.testing.assert_close(a[n, :length], weights.T)
        torch.testing.assert_close(passed[n, :length, 0], p[n, 0] @ weights)


def test_padded_sequences_are_a_window_with_a_mask(tmp_path: Path) -> None:
    torch.manual_seed(0)

    class Masked(torch.nn.Module):  # type: ignore[misc,name-defined,unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            self.gru = edgernn.nn.VariableLength(
                torch.nn.GRU(F, 5, batch_first=True, bidirectional=True)
            )
            self.attention = CategoryAttention(10, 3, 6)

        def forward(self, x: Any, lengths: Any) -> Any:
            return self.attention(self.gru(x, lengths)[0], lengths=lengths)[0][:, -1]

    model, x = Masked().eval(), sequences((9, 12, F))
    lengths = torch.arange(9) + 1
    mask = (np.arange(12)[None] < lengths.numpy()[:, None]).astype(np.float32)[..., None]
    # In a window of one step its weight is 1, which calibration has to see.
    data = {"x": x, "mask": mask}
    window = edgernn.quantize(model, (torch.from_numpy(x), lengths), calibration=data)
    with torch.no_grad():
        expected = model(torch.from_numpy(x), lengths).numpy()
    got = WindowRuntime(window).run(x, mask)
    assert np.abs(got - expected).max() < 0.02 * np.abs(expected).max()
    assert_windows_same(window, tmp_path, lengths=(30, 1, 9))


def test_long_windows() -> None:
    torch.manual_seed(3)
    model, x = Attentive(F, 6, 4, (3, 5)).eval(), sequences((4, 1000, F))
    window = edgernn.quantize(model, (torch.from_numpy(x[:2, :9]),), calibration=x)
    with torch.no_grad():
        expected = model(torch.from_numpy(x)).numpy()
    assert np.abs(WindowRuntime(window).run(x) - expected).max() < 0.05 * np.abs(expected).max()


def test_a_trained_model_keeps_its_predictions() -> None:
    torch.manual_seed(0)
    x, target = signs_task(128, 20, F)
    model = Attentive(F, 8, 5, (3, 2))
    first, last = train(Last(model), x, target)
    assert last < 0.8 * first
    window = edgernn.quantize(model.eval(), (x[:2],), calibration=x.numpy())
    ours = WindowRuntime(window).run(x.numpy())[:, 3:]
    with torch.no_grad():
        agree = (ours.argmax(-1) == model(x)[:, 3:].argmax(-1).numpy()).mean()
    assert agree > 0.98


class Last(torch.nn.Module):  # type: ignore[misc,name-defined,unused-ignore]
    """The two answers of the second level."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Any) -> Any:
        return self.model(x)[:, 3:]


def test_wrong_use_is_refused() -> None:
    y = torch.zeros(2, 7, 5)
    with pytest.raises(ValueError, match=r"SumOverTime reads \(N, T, F\), not \(2, 7\)"):
        SumOverTime()(y[..., 0])
    with pytest.raises(ValueError, match="lengths or mask, not both"):
        SoftmaxOverTime()(y, mask=torch.ones(2, 7), lengths=torch.ones(2))
    with pytest.raises(ValueError, match=r"reads \(N, T, H\) with H = 4, not \(2, 7, 5\)"):
        CategoryAttention(4, 2, 3)(y)
    with pytest.raises(ValueError, match="at least 1"):
        CategoryAttention(4, 2, 0)

    class Turned(torch.nn.Module):  # type: ignore[misc,name-defined,unused-ignore]
        def forward(self, x: Any) -> Any:
            zeros = [x.new_zeros(2, x.shape[0], 5)]
            return torch.ops.edgernn.recurrent(
                "sum_over_time", [x], zeros, [], [], None, 1, True, True, True
            )[0]

    with pytest.raises(UnsupportedError, match="reads both directions backwards"):
        import_model(Turned(), (y,))
