"""LSTM with projection: states of two sizes, and an h that nothing bounds but the weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import edgernn  # noqa: E402
from edgernn.float_engine import run_float  # noqa: E402
from edgernn.importer import import_model  # noqa: E402
from edgernn.runtime.errors import UnsupportedError  # noqa: E402
from tests.edgernn.cells import Layer, assert_same_everywhere, sequences, worst_error  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")
F, H, P = 3, 8, 5


def layer_of(seed: int = 0, **options: Any) -> Any:
    torch.manual_seed(seed)
    return torch.nn.LSTM(F, H, proj_size=P, batch_first=True, **options).eval()


def test_its_states_have_their_own_sizes_and_names() -> None:
    graph = import_model(Layer(layer_of(num_layers=2)), (torch.zeros(2, 4, F),))
    assert {s.name: len(s.initial) for s in graph.states} == {
        "layer_h0": P,
        "layer_c0": H,
        "layer_h1": P,
        "layer_c1": H,
    }
    assert {node.kind for node in graph.nodes} == {"lstm_projection"}


def test_states_that_the_model_returns_are_torchs() -> None:
    layer, x = layer_of(num_layers=2), torch.from_numpy(sequences((3, 6, F)))

    class Last(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Any) -> Any:
            _, (h, c) = self.layer(x)
            return h[-1], c[0]

    graph = import_model(Last(), (x,))
    got, _ = run_float(graph, {"x": x.numpy()})
    for name, expected in zip(("y0", "y1"), Last()(x), strict=True):
        np.testing.assert_allclose(got[name][:, -1], expected.detach(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("gain", [0.0, 1e-4, 1.0, 20.0])
def test_a_state_of_any_size_stays_close_and_exact(gain: float) -> None:
    layer = layer_of(1)
    with torch.no_grad():
        layer.weight_hr_l0.mul_(gain)
        layer.weight_hh_l0.div_(max(gain, 1.0))
    x = sequences((16, 50, F))
    program = edgernn.quantize(Layer(layer), (torch.from_numpy(x[:2]),), calibration=x)
    if gain:
        assert worst_error(program, x) < 0.02
    reach = float(np.abs(layer.weight_hr_l0.detach().numpy()).sum(axis=1).max())
    (h, _) = program.states
    # The bound of the weights is never exceeded by more than the next power of two.
    assert 32768 * float(program.tensors[h.input].scale) <= max(2.1 * reach, 2.0**-14)
    assert_same_everywhere(program, 400, seed=1)


def test_an_initial_state_beyond_a_state_of_torch_is_covered() -> None:
    layer = layer_of(2)
    start = [torch.full((1, 1, P), 3.0), torch.full((1, 1, H), -7.0)]
    x = sequences((4, 20, F))
    model = Layer(layer, start=start).eval()
    program = edgernn.quantize(model, (torch.from_numpy(x[:2]),), calibration=x)
    assert worst_error(program, x) < 0.02
    assert_same_everywhere(program, 300, seed=2)


def test_broken_weights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgernn.importer import recurrent

    right = recurrent._weights

    def wrong(*args: Any) -> Any:
        kind, stack = right(*args)
        for arrays in stack:
            arrays["weight_hr"] = arrays["weight_hr"][:, :-1]
        return kind, stack

    monkeypatch.setattr(recurrent, "_weights", wrong)
    with pytest.raises(UnsupportedError, match="do not fit each other"):
        import_model(Layer(layer_of()), (torch.zeros(2, 4, F),))


def test_5000_steps_are_the_same_on_every_engine() -> None:
    model = Layer(layer_of(3, num_layers=2), 2).eval()
    x = sequences((16, 40, F))
    program = edgernn.quantize(model, (torch.from_numpy(x[:2]),), calibration=x)
    assert_same_everywhere(program, 5000, seed=3)
