"""Jordan network: its equations, each pair of functions, and the output as memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import edgernn  # noqa: E402
from edgernn.cells.jordan import HIDDEN, OUTPUT  # noqa: E402
from edgernn.importer import import_model  # noqa: E402
from edgernn.nn import Jordan  # noqa: E402
from tests.edgernn.cells import Layer, assert_same_everywhere, sequences, worst_error  # noqa: E402

F, H, O, N, T = 4, 7, 3, 3, 8  # noqa: E741
FUNCTIONS = {
    "identity": lambda v: v,
    "sigmoid": lambda v: 1 / (1 + np.exp(-v)),
    "tanh": np.tanh,
    "relu": lambda v: np.maximum(v, 0),
}
PAIRS = pytest.mark.parametrize(("hidden", "output"), [(h, o) for h in HIDDEN for o in OUTPUT])


def layer_of(hidden: str = "tanh", output: str = "identity", seed: int = 0, **options: Any) -> Any:
    torch.manual_seed(seed)
    names = {"nonlinearity": hidden, "output_nonlinearity": output}
    return Jordan(F, H, O, batch_first=True, **names, **options).eval()


@PAIRS
def test_the_equations(hidden: str, output: str) -> None:
    layer, x = layer_of(hidden, output), sequences((N, T, F)).astype(np.float64)
    p = {k.removesuffix("_l0"): v.detach().double().numpy() for k, v in layer.named_parameters()}
    y, expected = np.zeros((N, O)), []
    for t in range(T):
        total = x[:, t] @ p["weight_ih"].T + y @ p["weight_yh"].T + p["bias_ih"]
        y = FUNCTIONS[output](FUNCTIONS[hidden](total) @ p["weight_hy"].T + p["bias_hy"])
        expected.append(y)
    ours, last = layer(torch.from_numpy(x).float())
    np.testing.assert_allclose(ours.detach(), np.stack(expected, axis=1), rtol=0, atol=1e-5)
    assert tuple(last.shape) == (1, N, O)
    torch.testing.assert_close(last[0], ours[:, -1])


@PAIRS
def test_each_pair_of_functions_is_close_and_exact(hidden: str, output: str) -> None:
    x = sequences((16, 40, F))
    layer = layer_of(hidden, output, 1, num_layers=2)
    program = edgernn.quantize(Layer(layer), (torch.from_numpy(x[:2]),), calibration=x)
    assert worst_error(program, x) < 0.01
    assert_same_everywhere(program, 400, seed=1)
    assert {len(s.initial) for s in program.states} == {O}


def test_the_output_is_the_memory() -> None:
    layer, x = layer_of(), torch.from_numpy(sequences((N, T, F)))
    whole, _ = layer(x)
    first, state = layer(x[:, :3])
    rest, _ = layer(x[:, 3:], state)
    torch.testing.assert_close(torch.cat([first, rest], dim=1), whole)
    torch.testing.assert_close(layer(x[:, 3:], first[None, :, -1])[0], rest)


@pytest.mark.parametrize("gain", [0.0, 1e-4, 1.0, 50.0])
def test_an_unbounded_output_of_any_size_is_held(gain: float) -> None:
    layer = layer_of(seed=2)
    with torch.no_grad():
        layer.weight_hy_l0.mul_(gain)
        layer.bias_hy_l0.mul_(gain)
        layer.weight_yh_l0.div_(max(gain, 1.0))
    x = sequences((16, 40, F))
    program = edgernn.quantize(Layer(layer), (torch.from_numpy(x[:2]),), calibration=x)
    if gain:
        assert worst_error(program, x) < 0.02
    assert_same_everywhere(program, 300, seed=2)


def test_unknown_functions_are_refused() -> None:
    for options in ({"hidden": "gelu"}, {"output": "softmax"}):
        with pytest.raises(ValueError, match="output_nonlinearity one of identity, sigmoid, tanh"):
            layer_of(**options)
    with pytest.raises(ValueError, match="output_size must be at least 1"):
        Jordan(F, H, 0)


def test_the_kind_says_which_functions() -> None:
    graph = import_model(Layer(layer_of("relu", "sigmoid")), (torch.zeros(2, 3, F),))
    assert [node.kind for node in graph.nodes] == ["jordan_relu_sigmoid"]


def test_5000_steps_are_the_same_on_every_engine() -> None:
    model = Layer(layer_of("tanh", "identity", 3, num_layers=2), 2).eval()
    x = sequences((16, 40, F))
    program = edgernn.quantize(model, (torch.from_numpy(x[:2]),), calibration=x)
    assert_same_everywhere(program, 5000, seed=3)
