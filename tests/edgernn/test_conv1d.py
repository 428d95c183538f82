"""Convolution and pooling over time in front of a recurrent layer: state, streaming, refusals."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

import edgernn
from edgernn.cells.taps import LOWEST
from edgernn.float_engine import run_float
from edgernn.importer import import_model
from edgernn.importer.pt2 import quiet
from edgernn.nn import CausalAvgPool1d, CausalConv1d, CausalMaxPool1d
from edgernn.quantization import Quantized
from edgernn.runtime import StepRuntime
from edgernn.runtime.errors import UnsupportedError
from edgernn.runtime.window_runtime import WindowRuntime
from tests.edgernn.cells import assert_same_everywhere, sequences, worst_error
from tests.programs import random_integers

FEATURES, CHANNELS, STEPS = 3, 4, 24
Front = Callable[[Any, Tensor], Tensor]


class Model(nn.Module):
    """`front` on (N, C, T), then a GRU on what it gives; layers are the model's own."""

    def __init__(self, front: Front, hidden: int = 5, channels: int = CHANNELS, **layers: Any):
        super().__init__()
        self.front = front
        for name, layer in layers.items():
            setattr(self, name, layer)
        self.gru = nn.GRU(channels, hidden, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.gru(self.front(self, x.transpose(1, 2)).transpose(1, 2))[0]
        return y


def made(model: nn.Module, features: int = FEATURES, seed: int = 0) -> Quantized:
    """The program; its float graph is held against torch step by step."""
    x = sequences((16, STEPS, features), seed)
    program = edgernn.quantize(model.eval(), (torch.from_numpy(x[:2]),), calibration=x)
    assert isinstance(program, Quantized)
    assert program.graph is not None
    results, _ = run_float(program.graph, {"x": x})
    with torch.no_grad():
        expected = model(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(next(iter(results.values())), expected, atol=2e-5)
    assert worst_error(program, x) < 0.03
    return program


def conv(**options: Any) -> nn.Conv1d:
    return nn.Conv1d(FEATURES, CHANNELS, 3, **options)


torch.manual_seed(0)
FRONTS = {
    "module": Model(lambda m, x: m.c(x), c=CausalConv1d(FEATURES, CHANNELS, 3, dilation=2)),
    "pad before": Model(lambda m, x: m.c(functional.pad(x, (2, 0))), c=conv()),
    "pad layer": Model(lambda m, x: m.c(m.p(x)), p=nn.ConstantPad1d((4, 0), 0.0),
                       c=conv(dilation=2)),
    "pad of another value": Model(lambda m, x: m.c(m.p(x)), p=nn.ConstantPad1d((2, 0), 0.5),
                                  c=conv()),
    "end cut off": Model(lambda m, x: m.c(x)[..., :-2], c=conv(padding=2)),
    "end cut off after a function": Model(
        lambda m, x: functional.relu(m.c(x))[:, :, : x.shape[2]], c=conv(padding=2)
    ),
    "end cut off by a pad": Model(lambda m, x: functional.pad(m.c(x), (0, -4)),
                                  c=conv(padding=4, dilation=2)),
    "two, then the end cut off": Model(
        lambda m, x: m.d(m.c(x).relu())[..., :-3],
        c=conv(padding=2), d=nn.Conv1d(CHANNELS, CHANNELS, 2, padding=1),
    ),
    "residual": Model(
        lambda m, x: m.d(m.c(x).relu()).relu() + m.skip(x),
        c=CausalConv1d(FEATURES, CHANNELS, 3), d=CausalConv1d(CHANNELS, CHANNELS, 2, dilation=4),
        skip=nn.Conv1d(FEATURES, CHANNELS, 1),
    ),
    "one tap, in groups": Model(lambda m, x: m.c(m.d(x)), c=CausalConv1d(FEATURES, CHANNELS, 2),
                                d=nn.Conv1d(FEATURES, FEATURES, 1, groups=3)),
    "largest": Model(lambda m, x: m.p(m.c(x)), c=CausalConv1d(FEATURES, CHANNELS, 3),
                     p=CausalMaxPool1d(3, dilation=2)),
    "largest, of zeros and more": Model(
        lambda m, x: functional.max_pool1d(functional.pad(m.c(x).relu(), (2, 0)), 3, 1),
        c=CausalConv1d(FEATURES, CHANNELS, 3),
    ),
    "largest, end cut off": Model(lambda m, x: m.c(functional.max_pool1d(x, 2, 1, 1)[..., :-1]),
                                  c=CausalConv1d(FEATURES, CHANNELS, 1)),
    "mean": Model(lambda m, x: m.p(m.c(x)), c=CausalConv1d(FEATURES, CHANNELS, 3),
                  p=CausalAvgPool1d(4)),
    "mean of the input": Model(lambda m, x: m.p(x), p=CausalAvgPool1d(5), channels=FEATURES),
}  # fmt: skip


@pytest.mark.parametrize("name", FRONTS)
def test_what_looks_back_is_the_same_everywhere(name: str) -> None:
    torch.manual_seed(1)
    assert assert_same_everywhere(made(FRONTS[name]), 300) > 3000


@pytest.mark.parametrize("seed", range(6))
def test_random_sizes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    groups = int(rng.choice([1, 2, 3, 7, 12]))
    features = groups * int(rng.choice([1, 2, 5]))
    channels = groups * int(rng.choice([1, 1, 3]))
    layer = CausalConv1d(
        features,
        channels,
        int(rng.integers(2, 7)),
        dilation=int(rng.integers(1, 5)),
        groups=groups,
        bias=bool(rng.random() < 0.5),
    )
    model = Model(lambda m, x: m.c(x), int(rng.integers(1, 20)), channels, c=layer)
    assert assert_same_everywhere(made(model, features, seed), 300, seed) > 1000


def test_a_single_channel_from_a_flat_input() -> None:
    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.c, self.g = CausalConv1d(1, CHANNELS, 5), nn.GRU(CHANNELS, 6, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.g(self.c(x.unsqueeze(1)).transpose(1, 2))[0]

    torch.manual_seed(0)
    model, x = Flat().eval(), sequences((4, STEPS, 1))
    graph = import_model(model, (torch.from_numpy(x[..., 0]),))
    results, _ = run_float(graph, {"x": x})
    expected = model(torch.from_numpy(x[..., 0])).detach().numpy()
    np.testing.assert_allclose(results["y"], expected, atol=1e-5)


def test_a_graph_of_any_batch_and_length() -> None:
    model = FRONTS["module"].eval()
    batch = torch.export.Dim("batch", max=64)
    example = torch.zeros(2, STEPS, FEATURES)
    with quiet():
        exported = torch.export.export(model, (example,), dynamic_shapes={"x": {0: batch}})
    x = sequences((2, 50, FEATURES))
    results, _ = run_float(import_model(exported), {"x": x})
    expected = model(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(results["y"], expected, atol=1e-5)


def test_in_front_of_a_layer_that_reads_backwards() -> None:
    torch.manual_seed(2)
    model = Model(lambda m, x: m.c(x), c=CausalConv1d(FEATURES, CHANNELS, 3)).eval()
    model.gru = nn.GRU(CHANNELS, 5, batch_first=True, bidirectional=True)
    x = sequences((8, STEPS, FEATURES))
    window = edgernn.quantize(model, (torch.from_numpy(x[:2]),), calibration=x)
    got = WindowRuntime(window).run(x[0])
    expected = model(torch.from_numpy(x[:1])).detach().numpy()[0]
    assert np.abs(got - expected).max() < 0.03


def test_the_state_is_the_last_inputs_at_their_scale() -> None:
    program = made(FRONTS["module"])
    (buffer, _), x = program.states, program.tensors["x"]
    assert program.tensors[buffer.input].scale == x.scale
    runtime = StepRuntime(program)
    values = random_integers(np.random.default_rng(0), (9, FEATURES))
    runtime.run_int(values)
    np.testing.assert_array_equal(runtime.state[buffer.name], values[-4:].ravel())


def test_before_the_first_step_a_maximum_knows_nothing() -> None:
    program = made(FRONTS["largest"])
    assert program.graph is not None
    carried = next(c for n in program.graph.nodes if n.kind == "max_pool1d" for c in n.carried)
    state = next(s for s in program.states if s.name == carried.name)
    assert (carried.initial == LOWEST).all()
    assert (state.initial == -32768).all()


@functools.cache
def pooled_twice_convolved() -> Quantized:
    torch.manual_seed(0)
    layers = {
        "c": CausalConv1d(FEATURES, CHANNELS, 3, dilation=2),
        "d": CausalConv1d(CHANNELS, CHANNELS, 2, groups=CHANNELS),
        "p": CausalMaxPool1d(3),
    }
    return made(Model(lambda m, x: m.p(m.d(m.c(x))), **layers))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 1 << 30),
    st.sampled_from(["full", "small", "rails", "mixed"]),
    st.lists(st.integers(1, 9), min_size=1, max_size=12),
)
def test_a_stream_in_any_pieces_is_the_window(seed: int, style: str, pieces: list[int]) -> None:
    x = random_integers(np.random.default_rng(seed), (sum(pieces), FEATURES), style)
    program = pooled_twice_convolved()
    whole = StepRuntime(program).run_int(x)
    batched = StepRuntime(program).run_int(np.stack([x, x[::-1]]))[0]
    stream, parts, begin = StepRuntime(program), [], 0
    for i, size in enumerate(pieces):
        piece = x[begin : begin + size]
        begin += size
        if i % 2:
            parts.append(np.stack([stream.step_int(step) for step in piece]))
        else:
            # A state that is read and written back changes nothing.
            stream.state = stream.state
            parts.append(stream.run_int(piece))
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    np.testing.assert_array_equal(batched, whole)


def refused(name: str, front: Front, *words: str, **layers: Any) -> Any:
    return pytest.param(front, layers, words, id=name)


@pytest.mark.parametrize(
    ("front", "layers", "words"),
    [
        refused("both sides", lambda m, x: m.c(x), "looks 1 steps ahead", "CausalConv1d",
                c=conv(padding=1)),
        refused("same", lambda m, x: m.c(x), "looks 2 steps ahead", "CausalConv1d", "pads 4",
                c=conv(padding="same", dilation=2)),
        refused("none", lambda m, x: m.c(x), "shortens the sequence by 2", "CausalConv1d",
                c=conv()),
        refused("too much", lambda m, x: m.c(functional.pad(x, (3, 0))), "3 steps of padding",
                "pads 2 in front", c=conv()),
        refused("stride", lambda m, x: m.c(functional.pad(x, (2, 0))), "stride 2",
                "x.reshape(N, T // 2, 2 * F)", c=conv(stride=2)),
        refused("stride of a pool", lambda m, x: functional.max_pool1d(x, 2), "stride 2",
                "CausalMaxPool1d"),
        refused("pool ahead", lambda m, x: functional.avg_pool1d(x, 3, 1, 1), "looks 1 steps",
                "CausalAvgPool1d"),
        refused("pool of fewer", lambda m, x: functional.avg_pool1d(
            x, 2, 1, 1, count_include_pad=False)[..., :-1], "divides by fewer"),
        refused("mirror", lambda m, x: m.c(functional.pad(x, (2, 0), "reflect")), "mirrors",
                "pad with a constant", c=conv()),
        refused("end left on", lambda m, x: m.c(x), "padded for a convolution", "CausalConv1d",
                c=conv(padding=2)),
        refused("another end cut off", lambda m, x: m.c(x)[..., :-1], "other steps", "CausalConv1d",
                c=conv(padding=2)),
        refused("start cut off", lambda m, x: m.c(x)[..., 2:], "other steps", c=conv(padding=2)),
        refused("function of the padding", lambda m, x: m.c(functional.pad(x, (2, 0)).sigmoid()),
                "right before the convolution", c=conv()),
        refused("shift", lambda m, x: m.c(functional.pad(x, (1, -1))), "shifts the steps",
                c=conv()),
        refused("features padded", lambda m, x: m.c(functional.pad(
            x.transpose(1, 2).tanh(), (1, 0)).transpose(1, 2)), "", c=conv()),
        refused("two dimensions", lambda m, x: m.c(x[:, None])[:, 0], "aten.conv2d",
                c=nn.Conv2d(1, 1, 1)),
        refused("too wide", lambda m, x: m.c(x), "reads 4500 numbers", "at most 4096",
                c=CausalConv1d(FEATURES, CHANNELS, 1500)),
    ],
)  # fmt: skip
def test_what_a_stream_cannot_follow_is_refused(
    front: Front, layers: dict[str, Any], words: tuple[str, ...]
) -> None:
    channels = FEATURES if not layers or "c" not in layers else CHANNELS
    if isinstance(layers.get("c"), nn.Conv2d):
        channels = FEATURES
    model = Model(front, channels=channels, **layers).eval()
    with pytest.raises(UnsupportedError) as caught:
        import_model(model, (torch.zeros(2, STEPS, FEATURES),))
    for word in words:
        assert word in str(caught.value)
    assert str(caught.value).count("; ") <= 3


def test_an_output_with_its_padding_is_refused() -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.c = conv(padding=2)

        def forward(self, x: Tensor) -> Tensor:
            return self.c(x.transpose(1, 2))

    with pytest.raises(UnsupportedError, match="steps that only padding made"):
        import_model(Bare().eval(), (torch.zeros(2, STEPS, FEATURES),))


@pytest.mark.parametrize(("kernel", "dilation"), [(0, 1), (2, 0)])
def test_a_pool_of_nothing(kernel: int, dilation: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        CausalMaxPool1d(kernel, dilation)
