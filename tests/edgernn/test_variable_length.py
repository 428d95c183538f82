"""VariableLength: layers of torch.nn over padded sequences, and their stream with a mask."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import edgernn
from edgernn.float_engine import run_float
from edgernn.importer import import_model
from edgernn.importer.pt2 import quiet
from edgernn.nn import MGU, VariableLength
from edgernn.quantization import Quantized
from edgernn.runtime import StepRuntime
from edgernn.runtime.errors import UnsupportedError
from edgernn.runtime.window_runtime import WindowRuntime
from tests.edgernn.cells import assert_same_everywhere, sequences

FEATURES, HIDDEN, STEPS, BATCH = 3, 5, 14, 6
LENGTHS = torch.tensor([14, 1, 7, 13, 2, 9])

LAYERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "gru": (nn.GRU, {}),
    "gru, two layers, no bias": (nn.GRU, {"num_layers": 2, "bias": False}),
    "gru, both directions": (nn.GRU, {"bidirectional": True, "num_layers": 2}),
    "gru, time first": (nn.GRU, {"batch_first": False}),
    "lstm": (nn.LSTM, {}),
    "lstm, both directions": (nn.LSTM, {"bidirectional": True}),
    "lstm, projection": (nn.LSTM, {"proj_size": 2, "num_layers": 2}),
    "rnn tanh": (nn.RNN, {}),
    "rnn relu": (nn.RNN, {"nonlinearity": "relu", "bidirectional": True}),
}


def layer(name: str, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    make, options = LAYERS[name]
    return make(FEATURES, HIDDEN, **{"batch_first": True, **options})


class Wrapped(nn.Module):
    """What a VariableLength gives: y, or its last states."""

    def __init__(self, rnn: nn.Module, wanted: str) -> None:
        super().__init__()
        self.net, self.wanted = VariableLength(rnn), wanted
        size = (rnn.proj_size or HIDDEN) * (1 + rnn.bidirectional)
        self.head = nn.Linear(size, 2)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        y, h = self.net(x, lengths)
        h = h[0] if isinstance(h, tuple) else h
        if self.wanted == "y":
            return y
        both = self.net.rnn.bidirectional
        return self.head(torch.cat([h[-2], h[-1]], dim=-1) if both else h[-1])


def data(rnn: Any, seed: int = 0) -> Tensor:
    x = torch.from_numpy(sequences((BATCH, STEPS, FEATURES), seed))
    return x if rnn.batch_first else x.transpose(0, 1).contiguous()


def packed(rnn: Any, x: Tensor, lengths: Tensor = LENGTHS) -> tuple[Tensor, Any]:
    """What torch gives: y, zero at padded steps, and the last states."""
    given = pack_padded_sequence(x, lengths, batch_first=rnn.batch_first, enforce_sorted=False)
    y, final = rnn(given)
    return pad_packed_sequence(y, batch_first=rnn.batch_first, total_length=STEPS)[0], final


def mask_of(lengths: Tensor) -> NDArray[np.float32]:
    """(N, T, 1)."""
    return (np.arange(STEPS) < lengths.numpy()[:, None]).astype(np.float32)[..., None]


@pytest.mark.parametrize("name", LAYERS)
def test_what_torch_gives_for_packed_sequences(name: str) -> None:
    rnn = layer(name)
    x = data(rnn)
    y, final = VariableLength(rnn)(x, LENGTHS)
    expected, expected_final = packed(rnn, x)
    for got, wanted in zip(
        final if isinstance(final, tuple) else (final,),
        expected_final if isinstance(expected_final, tuple) else (expected_final,),
        strict=True,
    ):
        torch.testing.assert_close(got, wanted, rtol=0, atol=0)
    if not rnn.batch_first:
        y, expected = y.transpose(0, 1), expected.transpose(0, 1)
    size = y.shape[2] // (1 + rnn.bidirectional)
    for i, length in enumerate(LENGTHS.tolist()):
        torch.testing.assert_close(y[i, :length], expected[i, :length], rtol=0, atol=0)
        for t in range(length, STEPS):
            torch.testing.assert_close(y[i, t, :size], y[i, length - 1, :size], rtol=0, atol=0)
            assert not y[i, t, size:].any()


@pytest.mark.parametrize("name", LAYERS)
def test_the_exported_program_and_the_float_engine(name: str) -> None:
    rnn = layer(name, 1)
    x, model = data(rnn, 1), Wrapped(rnn, "y").eval()
    with quiet():
        exported = torch.export.export(model, (x, torch.full((BATCH,), STEPS)))
    expected = model(x, LENGTHS).detach()
    torch.testing.assert_close(exported.module()(x, LENGTHS), expected, rtol=0, atol=1e-6)
    graph = import_model(exported)
    assert graph.inputs == ("x", "mask")
    assert graph.masks == ("mask",)
    steps = (x if rnn.batch_first else x.transpose(0, 1)).numpy()
    results, _ = run_float(graph, {"x": steps, "mask": mask_of(LENGTHS)})
    wanted = expected if rnn.batch_first else expected.transpose(0, 1)
    np.testing.assert_allclose(results["y"], wanted.numpy(), atol=2e-6)


@pytest.mark.parametrize("name", LAYERS)
def test_the_state_after_the_last_true_step(name: str) -> None:
    rnn = layer(name, 2)
    x, model = data(rnn, 2), Wrapped(rnn, "h").eval()
    graph = import_model(model, (x, LENGTHS))
    final = packed(rnn, x)[1]
    h = final[0] if isinstance(final, tuple) else final
    expected = model.head(torch.cat([h[-2], h[-1]], -1) if rnn.bidirectional else h[-1])
    steps = (x if rnn.batch_first else x.transpose(0, 1)).numpy()
    results, _ = run_float(graph, {"x": steps, "mask": mask_of(LENGTHS)})
    np.testing.assert_allclose(results["y"][:, -1], expected.detach().numpy(), atol=2e-6)


@pytest.mark.parametrize("name", [n for n in LAYERS if "both" not in n and "relu" not in n])
def test_every_engine_and_the_last_true_step(name: str) -> None:
    rnn = layer(name, 3)
    x, model = data(rnn, 3), Wrapped(rnn, "h").eval()
    steps = (x if rnn.batch_first else x.transpose(0, 1)).numpy()
    mask = mask_of(LENGTHS)
    program = edgernn.quantize(model, (x, LENGTHS), calibration=(steps, mask))
    assert isinstance(program, Quantized)
    assert float(program.tensors["mask"].scale) == 1.0
    expected = model(x, LENGTHS).detach().numpy()
    got = StepRuntime(program).run(steps, mask)
    assert np.abs(got[:, -1] - expected).max() < 0.03
    # The stream that is fed no padding at all, bit for bit.
    for i, length in enumerate(LENGTHS.tolist()):
        alone = StepRuntime(program).run(steps[i, :length], mask[i, :length])
        np.testing.assert_array_equal(alone[-1], got[i, -1])
    assert assert_same_everywhere(program, 300) > 1000


@pytest.mark.parametrize("name", ["gru, both directions", "lstm, both directions"])
def test_both_directions_as_a_window(name: str) -> None:
    rnn = layer(name, 4)
    x, model = data(rnn, 4), Wrapped(rnn, "h").eval()
    window = edgernn.quantize(model, (x, LENGTHS), calibration=(x.numpy(), mask_of(LENGTHS)))
    expected = model(x, LENGTHS).detach().numpy()
    for i, length in enumerate(LENGTHS.tolist()):
        mask = mask_of(LENGTHS[i : i + 1])[0]
        got = WindowRuntime(window).run(x[i].numpy(), mask)
        assert np.abs(got - expected[i]).max() < 0.03
        alone = WindowRuntime(window).run(x[i, :length].numpy(), mask[:length])
        np.testing.assert_array_equal(got, alone)


def test_gradients_reach_the_layer_and_the_input() -> None:
    rnn = layer("gru, both directions")
    x = data(rnn).requires_grad_()
    y, _ = VariableLength(rnn)(x, LENGTHS)
    y.square().sum().backward()
    assert x.grad is not None
    padded = mask_of(LENGTHS)[..., 0] == 0
    assert not x.grad[torch.from_numpy(padded)].any()
    assert x.grad[torch.from_numpy(~padded)].any(dim=-1).all()
    assert all(p.grad is not None and p.grad.any() for p in rnn.parameters())


def test_an_initial_state() -> None:
    rnn = layer("lstm, both directions")
    x, hx = data(rnn), tuple(torch.randn(2, BATCH, HIDDEN) for _ in range(2))
    y, _ = VariableLength(rnn)(x, LENGTHS, hx)
    torch.testing.assert_close(y[1, -1, HIDDEN:], hx[0][1, 1], rtol=0, atol=0)
    full = torch.full((BATCH,), STEPS)
    torch.testing.assert_close(VariableLength(rnn)(x, full, hx)[0], rnn(x, hx)[0])


class Packs(nn.Module):
    """What torch.export cannot trace."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = layer("gru")

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        given = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return self.rnn(given)[1]


def test_packing_in_forward_is_refused_and_the_way_out_named() -> None:
    with pytest.raises(UnsupportedError, match=r"packed sequences.*edgernn\.nn\.VariableLength"):
        import_model(Packs().eval(), (data(layer("gru")), LENGTHS))


def test_wrong_use() -> None:
    with pytest.raises(TypeError, match=r"MGU; layers of edgernn.nn take lengths themselves"):
        VariableLength(MGU(FEATURES, HIDDEN))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="three axes"):
        VariableLength(layer("gru"))(torch.zeros(STEPS, FEATURES), LENGTHS)
    dropping = nn.GRU(FEATURES, HIDDEN, 2, dropout=0.5, batch_first=True)
    with quiet(), pytest.raises(Exception, match=r"model\.eval\(\)"):
        torch.export.export(Wrapped(dropping, "y").train(), (data(dropping), LENGTHS))
