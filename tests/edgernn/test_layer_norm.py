"""Layer normalisation in integers: accuracy over any spread of the input, and exactness."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import edgernn  # noqa: E402
from edgernn.importer import import_model  # noqa: E402
from edgernn.lowering.builder import Builder  # noqa: E402
from edgernn.lowering.normalization import broadcast, uniform  # noqa: E402
from edgernn.rounding import Nearest  # noqa: E402
from edgernn.runtime.errors import UnsupportedError  # noqa: E402
from edgernn.runtime.operators import evaluate_step  # noqa: E402
from edgernn.runtime.program import UNIT, Scale  # noqa: E402
from tests.edgernn.cells import (  # noqa: E402
    assert_same_everywhere,
    float_run,
    sequences,
    signs_task,
    train,
    worst_error,
)

nn: Any = torch.nn


class Model(nn.Module):  # type: ignore[misc]
    """LayerNorm of the input and of the output of a GRU, a Linear on top."""

    def __init__(self, features: int, hidden: int, outputs: int = 2, last: bool = False) -> None:
        super().__init__()
        self.before, self.after = nn.LayerNorm(features), nn.LayerNorm(hidden)
        self.gru = nn.GRU(features, hidden, batch_first=True)
        self.head, self.last = nn.Linear(hidden, outputs), last
        for norm in (self.before, self.after):
            nn.init.normal_(norm.weight, 1.0, 0.5)
            nn.init.normal_(norm.bias, 0.0, 0.5)

    def forward(self, x: Any) -> Any:
        y = self.after(self.gru(self.before(x))[0])
        return self.head(y[:, -1] if self.last else y)


class Alone(nn.Module):  # type: ignore[misc]
    """The normalised input is an output of its own."""

    def __init__(self, features: int, **options: Any) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(features, **options)
        self.gru = nn.GRU(features, 2, batch_first=True)
        for parameter in self.norm.parameters():
            nn.init.normal_(parameter, 0.5, 0.5)

    def forward(self, x: Any) -> Any:
        y = self.norm(x)
        return y, self.gru(y)[0]


def spread_out(shape: tuple[int, int, int], factor: float, offset: float) -> Any:
    """Steps whose standard deviations differ by a factor; (N, T, F)."""
    rng = np.random.default_rng(0)
    deviations = np.exp(rng.uniform(-np.log(factor), 0, (*shape[:2], 1)))
    return (rng.standard_normal(shape) * deviations + offset).astype(np.float32)


def normalised(program: Any, x: Any) -> tuple[Any, Any]:
    """What the program makes of x (N, T, F), and the input that it could see, (N * T, F)."""
    scale = float(program.tensors["x"].scale)
    integers = np.clip(np.rint(x / scale), -32768, 32767).astype(np.int64).reshape(-1, x.shape[2])
    states = {s.name: np.zeros((len(integers), len(s.initial)), np.int64) for s in program.states}
    tensor = program.outputs["y0"]
    result = evaluate_step(program, {"x": integers}, states)[tensor]
    return result * float(program.tensors[tensor].scale), (integers * scale).astype(np.float32)


@pytest.mark.parametrize("features", [3, 8, 40, 300])
@pytest.mark.parametrize(
    ("factor", "offset", "rms"),
    [(1.0, 0.0, 2e-3), (1.0, 5.0, 2e-3), (8.0, 0.0, 2e-3), (100.0, 0.0, 5e-3), (100.0, 1.0, 1e-2)],
)
def test_the_error_is_a_thousandth_of_the_deviation(
    features: int, factor: float, offset: float, rms: float
) -> None:
    torch.manual_seed(features)
    model, x = Alone(features).eval(), spread_out((16, 60, features), factor, offset)
    program = edgernn.quantize(model, (torch.from_numpy(x[:2]),), calibration=x)
    got, seen = normalised(program, x)
    with torch.no_grad():
        expected = model.norm(torch.from_numpy(seen)).numpy()
    assert np.sqrt(np.mean((got - expected) ** 2)) < rms
    passes = sum(op.kind == "rsqrt" for op in program.operators)
    assert passes <= 4
    assert passes == 1 or factor > 1 or features < 10


def test_steps_that_hardly_vary_saturate_gracefully() -> None:
    """Below anything calibration saw, results are too small; the sign and the order stay."""
    model, x = Alone(16, elementwise_affine=False), sequences((8, 50, 16))
    program = edgernn.quantize(model.eval(), (torch.from_numpy(x[:2]),), calibration=x)
    small = x[:2] / np.float32(64)
    got, _ = normalised(program, small)
    with torch.no_grad():
        expected = model.norm(torch.from_numpy(small)).numpy().reshape(-1, 16)
    assert np.abs(got).max() < np.abs(expected).max()
    large = np.abs(expected) > 0.5
    assert (np.sign(got[large]) == np.sign(expected[large])).all()
    flat, _ = normalised(program, np.ones((1, 1, 16), np.float32))
    assert np.abs(flat).max() < 1e-3


@pytest.mark.parametrize(
    ("features", "hidden", "factor"), [(5, 16, 1.0), (64, 24, 20.0), (2, 2, 1.0), (33, 17, 100.0)]
)
def test_every_engine_gives_the_same_bits(features: int, hidden: int, factor: float) -> None:
    torch.manual_seed(hidden)
    model, x = Model(features, hidden).eval(), spread_out((12, 50, features), factor, 0.0)
    program = edgernn.quantize(model, (torch.from_numpy(x[:2]),), calibration=x)
    with torch.no_grad():
        expected = model(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(float_run(program, x), expected, rtol=0, atol=1e-4)
    assert worst_error(program, x) < 0.03
    assert_same_everywhere(program, 400, seed=hidden)


def test_a_trained_model_keeps_its_predictions() -> None:
    torch.manual_seed(0)
    x, target = signs_task(128, 20, 6)
    model = Model(6, 12, last=True)
    first, last = train(model, x, target)
    assert last < 0.7 * first
    program = edgernn.quantize(model, (x[:2],), calibration=x.numpy())
    ours = edgernn.runtime.StepRuntime(program).run(x.numpy())[:, -1]
    with torch.no_grad():
        agree = (ours.argmax(-1) == model(x).argmax(-1).numpy()).mean()
    assert agree > 0.99


@pytest.mark.parametrize("options", [{"bias": False}, {"elementwise_affine": False}, {"eps": 0.1}])
def test_options_of_the_layer(options: dict[str, Any]) -> None:
    model, x = Alone(9, **options).eval(), sequences((8, 40, 9))
    program = edgernn.quantize(model, (torch.from_numpy(x[:2]),), calibration=x)
    got, seen = normalised(program, x)
    with torch.no_grad():
        expected = model.norm(torch.from_numpy(seen)).numpy()
    assert np.sqrt(np.mean((got - expected) ** 2)) < 3e-3


def test_a_sum_of_equal_weights_is_exact_to_2_to_the_20() -> None:
    for size in (1, 3, 7, 100, 4096):
        b = Builder(Nearest())
        x = b.tensor("x", size, Scale(3, -13))
        uniform(b, "mean", x, Fraction(1, size), 0.0, Scale(3, -13))
        broadcast(b, "again", "mean", 5)
        matrix, copy = (op.matrix for op in b.operators)
        assert matrix is not None
        assert copy is not None
        given = matrix.weight[0].astype(float).sum() * matrix.multiplier[0] / 2.0 ** matrix.shift[0]
        assert abs(given - 1.0) < 2.0**-19
        assert int(copy.weight[0, 0]) * int(copy.multiplier[0]) == 1 << int(copy.shift[0])


def test_more_features_than_a_product_takes_are_refused() -> None:
    from edgernn.lowering.normalization import centered

    b = Builder(Nearest())
    with pytest.raises(UnsupportedError, match=r"normalises 4097 features, and 4096 is the most"):
        centered(b, "n", b.tensor("x", 4097, UNIT), 1.0, UNIT, 1)


def test_a_norm_between_layers_is_imported_by_name() -> None:
    graph = import_model(Model(4, 6).eval(), (torch.zeros(2, 3, 4),))
    assert [node.kind for node in graph.nodes] == ["layer_norm", "gru", "layer_norm", "linear"]
    assert graph.nodes[0].name.startswith("before")
