"""What every recurrent layer must do, whatever its cell: import, options, masks, training, bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import edgernn  # noqa: E402
from edgernn.cells import CELLS  # noqa: E402
from edgernn.engines.onnx import FloatOnnx  # noqa: E402
from edgernn.float_engine import run_float  # noqa: E402
from edgernn.float_onnx import float_onnx  # noqa: E402
from edgernn.importer import import_model  # noqa: E402
from edgernn.nn.base import Recurrent  # noqa: E402
from edgernn.quantization import QuantizedWindow  # noqa: E402
from edgernn.runtime import StepRuntime  # noqa: E402
from edgernn.runtime.errors import UnsupportedError  # noqa: E402
from edgernn.runtime.window_runtime import WindowRuntime  # noqa: E402
from edgernn.window_verify import PlainWindowEngine, verification_windows  # noqa: E402
from tests.edgernn.cells import (  # noqa: E402
    LAYERS,
    GivenState,
    Layer,
    assert_same_everywhere,
    sequences,
    signs_task,
    start_of,
    train,
    worst_error,
)

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")
Make = Callable[..., Any]
F, H, N, T = 3, 6, 2, 7
EVERY = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
OURS = pytest.mark.parametrize(
    "make",
    [pytest.param(m, id=n) for n, m in LAYERS.items() if isinstance(m(F, H), Recurrent)],
)
TORCH: dict[str, Make] = {
    "GRU": torch.nn.GRU,
    "LSTM": torch.nn.LSTM,
    "RNN, tanh": torch.nn.RNN,
    "RNN, ReLU": lambda f, h, **o: torch.nn.RNN(f, h, nonlinearity="relu", **o),
}
OPTIONS: list[dict[str, Any]] = [
    {},
    {"num_layers": 2, "batch_first": True},
    {"bias": False, "batch_first": True},
    {"num_layers": 2, "bidirectional": True, "batch_first": True},
    {"num_layers": 2, "bidirectional": True, "bias": False},
]
# A window carries no state over, so it takes none.
CASES = [
    pytest.param(options, start, id=f"{', '.join(options) or 'default'}, {start}")
    for options in OPTIONS
    for start in ("zeros", "parameters", "inputs")
    if not (start == "inputs" and "bidirectional" in options)
]


def seeded(make: Make, *sizes: int, seed: int = 0, **options: Any) -> Any:
    torch.manual_seed(seed)
    return make(*sizes, **options).eval()


@pytest.mark.parametrize("make", {**TORCH, **LAYERS}.values(), ids=[*TORCH, *LAYERS])
@pytest.mark.parametrize(("options", "start"), CASES)
def test_the_graph_gives_torchs_numbers(make: Make, options: dict[str, Any], start: str) -> None:
    layer = seeded(make, F, H, **options)
    first = layer.batch_first
    x = torch.from_numpy(sequences((N, T, F)))
    args: list[Any] = [x if first else x.transpose(0, 1)]
    states: dict[str, Any] = {}
    if start == "inputs":
        model = GivenState(layer).eval()
        given = start_of(layer, N)
        args += given
    else:
        model = Layer(layer, start=start_of(layer) if start == "parameters" else ()).eval()
    graph = import_model(model, tuple(args))
    if start == "inputs":
        letters = [name.rstrip("0123456789") for name in (s.name for s in graph.states)]
        for k, letter in enumerate(dict.fromkeys(letters)):
            states |= {f"{letter}{i}": v.numpy() for i, v in enumerate(given[k])}
    assert graph.is_window is layer.bidirectional
    assert graph.batch_first is first
    with torch.no_grad():
        expected = model(*args)
    got, _ = run_float(graph, {"x": x.numpy()}, states)
    expected = expected if first else expected.transpose(0, 1)
    np.testing.assert_allclose(got["y"], expected.numpy(), rtol=0, atol=1e-5)
    moved = any(s.initial.any() for s in graph.states)
    assert moved is (start == "parameters")


@EVERY
def test_it_learns_and_its_program_is_close_and_the_same_on_every_engine(make: Make) -> None:
    torch.manual_seed(1)
    layer = make(F, 8, num_layers=2, batch_first=True)
    model = Layer(layer, 2, start_of(layer), last=True)
    x, target = signs_task(64, 12, F)
    before, after = train(model, x, target)
    assert after < 0.8 * before
    program = edgernn.quantize(model, (x[:2],), calibration=x.numpy())
    assert worst_error(program, x.numpy()) < 0.02
    assert_same_everywhere(program, 400, seed=1)


@EVERY
@pytest.mark.parametrize("seed", range(3))
def test_random_sizes_are_the_same_on_every_engine(make: Make, seed: int) -> None:
    rng = np.random.default_rng(seed)
    features, hidden = (int(n) for n in rng.integers(1, 65, 2))
    options = {"num_layers": int(rng.integers(1, 3)), "bias": bool(rng.integers(2))}
    model = Layer(seeded(make, features, hidden, seed=seed, **options)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= float(rng.uniform(0.5, 4))
    x = sequences((4, 20, features), seed)
    example = torch.from_numpy(x[:2]).transpose(0, 1)
    program = edgernn.quantize(model, (example,), calibration=x)
    assert_same_everywhere(program, 300, seed)


@EVERY
def test_the_float_onnx_gives_torchs_numbers(make: Make) -> None:
    model = Layer(seeded(make, F, H, num_layers=2, batch_first=True), 2).eval()
    x = sequences((N, 100, F))
    graph = import_model(model, (torch.from_numpy(x[:, :4]),))
    first = {s.name: np.repeat(s.initial[None], N, axis=0) for s in graph.states}
    got = FloatOnnx(float_onnx(graph)).run({"x": x}, first)
    with torch.no_grad():
        expected = model(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(got["y"], expected, rtol=0, atol=1e-5)


@EVERY
def test_both_directions_make_a_window_that_is_close(make: Make) -> None:
    layer = seeded(make, F, H, num_layers=2, bidirectional=True, batch_first=True)
    model = Layer(layer, 2).eval()
    x = sequences((16, 20, F))
    window = edgernn.quantize(model, (torch.from_numpy(x[:2]),), calibration=x)
    assert isinstance(window, QuantizedWindow)
    with torch.no_grad():
        expected = model(torch.from_numpy(x)).numpy()
    runtime = WindowRuntime(window)
    assert np.abs(runtime.run(x) - expected).max() < 0.02 * np.abs(expected).max()
    plain = PlainWindowEngine(window)
    for given in verification_windows(window, [], 300, seed=0):
        values = given.inputs["x"]
        np.testing.assert_array_equal(runtime.run_int(values), plain.run({"x": values})["y"])


@OURS
def test_padded_steps_leave_the_state_alone(make: Make) -> None:
    layer = seeded(make, F, H, num_layers=2, batch_first=True)
    x = torch.from_numpy(sequences((3, T, F)))
    lengths = torch.tensor([T, 4, 1])
    y, final = layer(x, lengths=lengths)
    finals = final if isinstance(final, tuple) else (final,)
    for n, length in enumerate(lengths.tolist()):
        alone, state = layer(x[n : n + 1, :length])
        torch.testing.assert_close(y[n, :length], alone[0])
        assert bool((y[n, length:] == y[n, length - 1]).all())
        states = state if isinstance(state, tuple) else (state,)
        for whole, own in zip(finals, states, strict=True):
            torch.testing.assert_close(whole[:, n], own[:, 0])
    mask = torch.arange(T)[None] < lengths[:, None]
    torch.testing.assert_close(layer(x, mask=mask)[0], y)
    assert y.requires_grad


@OURS
def test_lengths_become_a_mask_that_freezes_the_program(make: Make) -> None:
    model = Layer(seeded(make, F, H, num_layers=2, batch_first=True)).eval()
    x = sequences((8, T, F))
    lengths = torch.tensor([T, 4])
    program = edgernn.quantize(model, (torch.from_numpy(x[:2]), lengths), calibration=x)
    assert program.inputs == ("x", "mask")
    assert_same_everywhere(program, 300, seed=2)
    runtime = StepRuntime(program)
    for t in range(4):
        y = runtime.step(x[0, t], [1.0])
    held = runtime.state
    assert any(v.any() for v in held.values())
    for t in range(3):
        np.testing.assert_array_equal(runtime.step(x[1, t], [0.0]), y)
        for name, value in runtime.state.items():
            np.testing.assert_array_equal(value, held[name])
    mask = np.ones((8, T, 1), np.float32)
    mask[:, 4:] = 0
    assert worst_error(program, x, mask=mask) < 0.02


@OURS
def test_wrong_use_is_refused_in_one_sentence(make: Make) -> None:
    layer = make(F, H, batch_first=True)
    x = torch.zeros(N, T, F)
    with pytest.raises(ValueError, match=r"reads \(N, T, F\) with F = 3, not \(2, 7, 4\)"):
        layer(torch.zeros(N, T, F + 1))
    with pytest.raises(ValueError, match="lengths or mask, not both"):
        layer(x, lengths=torch.tensor([1, 1]), mask=torch.ones(N, T))
    with pytest.raises(ValueError, match="at least 1"):
        make(F, 0)
    with pytest.raises(ValueError, match="at least 1"):
        make(F, H, num_layers=0)


@EVERY
def test_weights_that_are_no_numbers_are_refused(make: Make) -> None:
    layer = seeded(make, F, H, batch_first=True)
    with torch.no_grad():
        next(iter(layer.parameters()))[0, 0] = float("nan")
    with pytest.raises(UnsupportedError, match="NaN or infinity"):
        import_model(Layer(layer), (torch.zeros(N, T, F),))


@OURS
def test_without_bias_there_are_no_bias_parameters(make: Make) -> None:
    with_bias, without = (
        {n for n, _ in make(F, H, bias=bias).named_parameters()} for bias in (True, False)
    )
    assert without < with_bias
    assert {n for n in with_bias if n.startswith("bias")} == with_bias - without
    assert {n.removesuffix("_l0") for n in with_bias} <= set(CELLS[make(F, H).kind].arrays)
