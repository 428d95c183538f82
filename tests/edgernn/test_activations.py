"""Activation functions: float as PyTorch and ONNX, integers near them, alike in every engine."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import edgernn  # noqa: E402
from edgernn.activations import ACTIVATIONS, erf  # noqa: E402
from edgernn.engines.onnx import FloatOnnx  # noqa: E402
from edgernn.float_engine import run_float  # noqa: E402
from edgernn.float_onnx import float_onnx  # noqa: E402
from edgernn.importer import import_model  # noqa: E402
from edgernn.importer.pt2 import quiet  # noqa: E402
from edgernn.quantization import quantize_graph  # noqa: E402
from edgernn.runtime import StepRuntime  # noqa: E402
from edgernn.runtime.errors import UnsupportedError  # noqa: E402
from tests.edgernn.cells import assert_same_everywhere, sequences, worst_error  # noqa: E402

F, H = 3, 7
nn = torch.nn
functional: Any = nn.functional
Function = Callable[[Any], Any]


def per_feature(slopes: Any) -> Function:
    return lambda y: functional.prelu(y.transpose(1, 2), slopes).transpose(1, 2)


FUNCTIONS: dict[str, tuple[Function, set[str]]] = {
    "gelu": (nn.GELU(), {"gelu"}),
    "gelu by tanh": (nn.GELU(approximate="tanh"), {"gelu_tanh"}),
    "silu": (nn.SiLU(), {"silu"}),
    "swish by hand": (lambda y: y * torch.sigmoid(y), {"sigmoid", "mul"}),
    "mish": (nn.Mish(), {"mish"}),
    "elu": (nn.ELU(0.7), {"elu"}),
    "selu": (nn.SELU(), {"selu"}),
    "celu": (nn.CELU(2.5), {"celu"}),
    "leaky relu": (nn.LeakyReLU(0.2), {"leaky_relu"}),
    "rrelu": (nn.RReLU(0.1, 0.5).eval(), {"leaky_relu"}),
    "prelu": (nn.PReLU(), {"leaky_relu"}),
    "prelu per feature": (
        per_feature(torch.linspace(-0.5, 1.5, H)),
        {"relu", "affine", "add"},
    ),
    "hardtanh": (nn.Hardtanh(), {"clamp"}),
    "relu6": (nn.ReLU6(), {"clamp"}),
    "clamp": (lambda y: y.clamp(-0.37, 0.81), {"clamp"}),
    "clip": (lambda y: torch.clip(y, 0.1, 0.4), {"clamp"}),
    "clamp below": (lambda y: y.clamp(min=-0.2), {"clamp"}),
    "clamp above": (lambda y: y.clamp_max(-0.1), {"clamp"}),
    "crossed clamp": (lambda y: y.clamp(0.5, -0.3), {"clamp"}),
    "clamp far below": (lambda y: y.clamp(min=1e4), {"clamp"}),
    "clamp far above": (lambda y: y.clamp(max=-1e4), {"clamp"}),
    "hardsigmoid": (nn.Hardsigmoid(), {"hardsigmoid"}),
    "hardswish": (nn.Hardswish(), {"hardswish"}),
    "softsign": (nn.Softsign(), {"softsign"}),
    "log sigmoid": (nn.LogSigmoid(), {"log_sigmoid"}),
    "softplus": (nn.Softplus(), {"softplus"}),
    "softplus of beta": (nn.Softplus(2.5), {"softplus", "affine"}),
    "exp": (torch.exp, {"exp"}),
    "abs": (torch.abs, {"abs"}),
    "square": (torch.square, {"mul"}),
    "power of 2": (lambda y: y**2, {"mul"}),
    "power of 3": (lambda y: y.pow(3), {"mul"}),
}
IN_PLACE: dict[str, Function] = {
    "silu": lambda y: functional.silu(y, inplace=True),
    "elu": lambda y: functional.elu(y, inplace=True),
    "selu": lambda y: functional.selu(y, inplace=True),
    "celu": lambda y: functional.celu(y, inplace=True),
    "mish": lambda y: functional.mish(y, inplace=True),
    "leaky relu": lambda y: functional.leaky_relu(y, inplace=True),
    "hardswish": lambda y: functional.hardswish(y, inplace=True),
    "hardsigmoid": lambda y: functional.hardsigmoid(y, inplace=True),
    "relu6": lambda y: functional.relu6(y, inplace=True),
    "clamp": lambda y: y.clamp_(-1, 1),
    "exp, abs, square": lambda y: y.exp_().sub_(1).abs_().square_().pow_(2),
}


class Between(nn.Module):  # type: ignore[misc,name-defined,unused-ignore]
    """Linear, function, GRU, or with behind GRU, function, Linear; gain widens the function's x."""

    def __init__(self, function: Function, behind: bool, gain: float = 1.0) -> None:
        super().__init__()
        self.function, self.behind = function, behind
        self.fc = nn.Linear(H, 4) if behind else nn.Linear(F, H)
        self.gru = nn.GRU(F, H, batch_first=True) if behind else nn.GRU(H, H, batch_first=True)
        self.gain = gain
        if gain != 1:
            self.wide = nn.Linear(H, H)
            nn.init.normal_(self.wide.weight, std=gain)

    def forward(self, x: Any) -> Any:
        y = self.gru(x)[0] if self.behind else self.fc(x)
        y = self.function(y if self.gain == 1 else self.wide(y))
        return self.fc(y) if self.behind else self.gru(y)[0]


def inputs(gain: float = 1.5) -> Any:
    return gain * sequences((6, 25, F))


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_function_between_two_layers(name: str, behind: bool) -> None:
    function, kinds = FUNCTIONS[name]
    torch.manual_seed(len(name))
    model, x = Between(function, behind).eval(), inputs()
    program = edgernn.quantize(model, (torch.from_numpy(x[:2]),), calibration=x)
    graph = program.graph
    assert {n.kind for n in graph.nodes} - {"linear", "gru"} <= kinds
    assert kinds - {"affine"} <= {n.kind for n in graph.nodes}
    with torch.no_grad():
        expected = model(torch.from_numpy(x)).numpy()
    largest = max(1.0, float(np.abs(expected).max()))
    ours = run_float(graph, {"x": x})[0]["y"]
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5 * largest)
    zeros = {s.name: np.zeros((len(x), H), np.float32) for s in graph.states}
    onnx = FloatOnnx(float_onnx(graph)).run({"x": x}, zeros)["y"]
    np.testing.assert_allclose(onnx, expected, rtol=0, atol=1e-5 * largest)
    assert worst_error(program, x) < 0.025
    assert_same_everywhere(program, 150, seed=len(name))


@pytest.mark.parametrize("name", IN_PLACE)
def test_in_place(name: str) -> None:
    torch.manual_seed(0)
    model = Between(lambda y: IN_PLACE[name](y + 0.1), behind=True).eval()
    graph = import_model(model, (torch.from_numpy(inputs()[:2]),))
    with torch.no_grad():
        expected = model(torch.from_numpy(inputs())).numpy()
    np.testing.assert_allclose(run_float(graph, {"x": inputs()})[0]["y"], expected, atol=1e-5)


class OfInput(nn.Module):  # type: ignore[misc,name-defined,unused-ignore]
    """The function of the input itself is an output, so that its own error shows."""

    def __init__(self, function: Function, before_tanh: bool = False) -> None:
        super().__init__()
        self.function, self.before_tanh = function, before_tanh
        self.gru = nn.GRU(H, 2, batch_first=True)

    def forward(self, x: Any) -> Any:
        more = torch.tanh(x) if self.before_tanh else x
        return self.gru(more)[0], self.function(x)


# Largest error, in parts of the input's range and of the output's, of one rounding of each and of
# what 512 straight lines differ from the function by.
TABLE = 3e-4
WORST = {"exp": 1.5e-3, "square": 5e-4, "softplus of beta": 5e-4}


@pytest.mark.parametrize("before_tanh", [False, True], ids=["2^e", "3 * 2^e"])
@pytest.mark.parametrize("name", [n for n in FUNCTIONS if n not in ("power of 2", "power of 3")])
def test_the_error_of_the_function_alone(name: str, before_tanh: bool) -> None:
    function, _ = FUNCTIONS[name]
    rng = np.random.default_rng(0)
    model = OfInput(function, before_tanh).eval()
    graph = import_model(model, (torch.zeros(2, 5, H),), heads="integer")
    for reach in (0.3, 2.0, 7.0, 11.0, 60.0, 400.0):
        if name == "exp" and reach > 11:
            continue
        x = rng.uniform(-reach, reach, (4, 100, H)).astype(np.float32)
        x[0, 0], x[0, 1] = reach, -reach
        program = quantize_graph(graph, x)
        expected = function(torch.from_numpy(x)).detach().numpy()
        got = StepRuntime(program).run(x)[1]
        size = max(float(np.abs(expected).max()), reach, 1.0 if "softplus" in name else 0.0)
        error = float(np.abs(got - expected).max()) / size
        assert error < WORST.get(name, TABLE), (reach, error)
    assert_same_everywhere(program, 100)


@pytest.mark.parametrize("name", ["leaky relu", "hardtanh", "relu6", "hardsigmoid", "hardswish"])
def test_kinks_are_not_rounded_off(name: str) -> None:
    """Two units of the input or the output, where a line across a kink would be 16 or 32 off."""
    function, _ = FUNCTIONS[name]
    x = np.linspace(-7, 7, 4 * 200 * H, dtype=np.float32).reshape(4, 200, H)
    if name.startswith("hards"):
        # A range with one table for all of it.
        x = np.clip(x, -3.5, 3.5)
    for before_tanh in (False, True):
        model = OfInput(function, before_tanh).eval()
        program = edgernn.quantize(model, (torch.from_numpy(x[:2]),), calibration=x)
        unit = max(
            float(program.tensors[n].scale) for n in (*program.inputs, program.outputs["y1"])
        )
        got, expected = StepRuntime(program).run(x)[1], function(torch.from_numpy(x)).numpy()
        # Its middle part is curved; only near the kinks is it compared.
        near = np.abs(np.abs(x) - 3) < 0.02 if name == "hardswish" else np.ones_like(x, bool)
        assert near.any()
        assert np.abs(got - expected)[near].max() < (3 if before_tanh else 2) * unit


@pytest.mark.parametrize(
    "name", ["gelu", "silu", "mish", "elu", "hardswish", "hardsigmoid", "clamp"]
)
def test_inputs_of_a_wide_range(name: str) -> None:
    torch.manual_seed(0)
    model, x = Between(FUNCTIONS[name][0], behind=True, gain=30.0).eval(), inputs()
    program = edgernn.quantize(model, (torch.from_numpy(x[:2]),), calibration=x)
    # Steep, so that what int8 does to the weights shows in what a clamp or a sigmoid leaves.
    assert worst_error(program, x) < 0.1
    assert_same_everywhere(program, 200)
    small = np.random.default_rng(1).uniform(-4, 4, (4, 100, H)).astype(np.float32)
    small[0, 0] = 50.0
    alone = OfInput(FUNCTIONS[name][0]).eval()
    program = edgernn.quantize(alone, (torch.from_numpy(small[:2]),), calibration=small)
    got = StepRuntime(program).run(small)[1]
    expected = FUNCTIONS[name][0](torch.from_numpy(small)).detach().numpy()
    # Two units of the input, 2^-8; a table over all of its range would be 0.03 off.
    assert np.abs(got - expected).max() < 2 * 2.0**-8


def test_erf_is_the_error_function() -> None:
    x = np.linspace(-8, 8, 4001)
    exact = np.array([math.erf(v) for v in x])
    assert np.abs(erf(x) - exact).max() < 2e-7
    assert erf(x.astype(np.float32)).dtype == np.float32
    assert erf(np.array([-1e30, 1e30], np.float32)).tolist() == [-1, 1]


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_no_function_overflows_or_widens(kind: str) -> None:
    x = np.linspace(-80, 80, 1001, dtype=np.float32)
    y = ACTIVATIONS[kind](x)
    assert y.dtype == np.float32
    assert np.isfinite(y).all()
    assert ACTIVATIONS[kind](x.astype(np.float64)).dtype == np.float64


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (
            lambda y: functional.glu(torch.cat([y, y], -1)),
            "aten.glu.default.*not lowered to integers; .*; use another",
        ),
        (lambda y: functional.threshold(y, 0.1, 0.5), "aten.threshold.default.*use another"),
        (lambda y: y.clamp(min=torch.zeros(H)), "aten.clamp.Tensor.*bounds that are no numbers"),
        (lambda y: torch.minimum(y, y * y), "aten.minimum.default.*elementwise"),
        (nn.PReLU(25), "aten.prelu.default, nn.PReLU.*a weight per step.*with one weight"),
        (lambda y: y**0.5, "aten.pow.Tensor_Scalar.*other than 2 and 3"),
        (lambda y: 2**y, "aten.pow.Scalar.*other than 2 and 3"),
        (lambda y: y**y, "aten.pow.Tensor_Tensor.*other than 2 and 3"),
        (nn.Softplus(threshold=1), "aten.softplus.default.*threshold below 10"),
        (lambda y: y / (2 + y.abs()), "aten.div.Tensor.*divides by a value"),
        (lambda y: (1 + y) / (1 + y.abs()), "aten.div.Tensor.*divides by a value"),
        (torch.log, "aten.log.default.*elementwise"),
    ],
)
def test_what_remains_is_refused(function: Function, words: str) -> None:
    model = Between(function, behind=True).eval()
    with pytest.raises(UnsupportedError, match=words):
        import_model(model, (torch.from_numpy(inputs()[:2]),))


def test_a_random_slope_is_refused() -> None:
    model = Between(nn.RReLU(), behind=True).train()
    with quiet():
        exported = torch.export.export(model, (torch.from_numpy(inputs()[:2]),))
    with pytest.raises(UnsupportedError, match=r"aten.rrelu.*at random.*model.eval\(\)"):
        import_model(exported)
