"""BatchNorm in eval mode: folded into the weights beside it, or a layer of its own."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import edgernn
from edgernn.float_engine import run_float
from edgernn.graph import Graph
from edgernn.importer import import_model
from edgernn.importer.fold import SPREAD
from edgernn.importer.pt2 import quiet
from edgernn.nn import MGU, CausalConv1d
from edgernn.quantization import Quantized
from edgernn.runtime.errors import UnsupportedError
from tests.edgernn.cells import assert_same_everywhere, sequences, worst_error

FEATURES, WIDTH, HIDDEN, STEPS = 3, 4, 5, 20
Forward = Callable[[Any, Tensor], Tensor]


class Model(nn.Module):
    """Layers by name, and a forward that is given."""

    def __init__(self, forward: Forward, **layers: nn.Module) -> None:
        super().__init__()
        self.given = forward
        self.gru = nn.GRU(WIDTH, HIDDEN, batch_first=True)
        for name, layer in layers.items():
            # A copy: cases share layers, and `trained` changes them.
            setattr(self, name, copy.deepcopy(layer))

    def forward(self, x: Tensor) -> Tensor:
        return self.given(self, x)


def over_time(norm: nn.Module, y: Tensor) -> Tensor:
    """BatchNorm1d of (N, T, C)."""
    z: Tensor = norm(y.transpose(1, 2)).transpose(1, 2)
    return z


def trained(model: nn.Module, spread: float = 2.0, seed: int = 0) -> nn.Module:
    """Statistics and weights as training leaves them; factors at most `spread` times apart."""
    rng = np.random.default_rng(seed)
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm1d):
            size = layer.num_features
            factor = np.geomspace(1.0, spread, size) * rng.choice([-1.0, 1.0], size)
            assert layer.running_mean is not None
            assert layer.running_var is not None
            layer.running_mean.data = torch.from_numpy(rng.normal(0, 0.5, size)).float()
            layer.running_var.data = torch.from_numpy(rng.uniform(0.5, 2.0, size)).float()
            if layer.affine:
                wanted = factor * np.sqrt(layer.running_var.numpy() + layer.eps)
                layer.weight.data = torch.from_numpy(wanted).float()
                layer.bias.data = torch.from_numpy(rng.normal(0, 0.5, size)).float()
    return model.eval()


def imported(model: nn.Module) -> Graph:
    """The graph; on other data than the importer's it is torch's network."""
    x = sequences((8, STEPS, FEATURES), 5)
    graph = import_model(model, (torch.from_numpy(x[:2]),))
    results, _ = run_float(graph, {"x": x})
    expected = model(torch.from_numpy(x)).detach().numpy()
    got = next(iter(results.values()))
    got = got[:, -1] if expected.ndim == 2 else got
    np.testing.assert_allclose(got, expected, atol=3e-5)
    return graph


def norm(size: int = WIDTH, **options: Any) -> nn.BatchNorm1d:
    return nn.BatchNorm1d(size, **options)


torch.manual_seed(0)
CASES = {
    "after a linear": (
        lambda m, x: m.gru(over_time(m.n, m.l(x)))[0],
        {"l": nn.Linear(FEATURES, WIDTH), "n": norm()},
        ["linear", "gru"],
    ),
    "after a linear, then ReLU": (
        lambda m, x: m.gru(over_time(m.n, m.l(x)).relu())[0],
        {"l": nn.Linear(FEATURES, WIDTH, bias=False), "n": norm(affine=False)},
        ["linear", "relu", "gru"],
    ),
    "before a GRU": (
        lambda m, x: m.gru(over_time(m.n, m.l(x).relu()))[0],
        {"l": nn.Linear(FEATURES, WIDTH), "n": norm()},
        ["linear", "relu", "gru"],
    ),
    "of the input": (
        lambda m, x: m.gru(m.l(over_time(m.n, x)))[0],
        {"l": nn.Linear(FEATURES, WIDTH), "n": norm(FEATURES)},
        ["linear", "gru"],
    ),
    "on the last step": (
        lambda m, x: m.h(m.n(m.gru(m.l(x))[0][:, -1])),
        {"l": nn.Linear(FEATURES, WIDTH), "n": norm(HIDDEN), "h": nn.Linear(HIDDEN, 2)},
        ["linear", "gru", "linear"],
    ),
    "of batch and time merged": (
        lambda m, x: m.gru(m.n(m.l(x).reshape(-1, WIDTH)).reshape(-1, STEPS, WIDTH))[0],
        {"l": nn.Linear(FEATURES, WIDTH), "n": norm()},
        ["linear", "gru"],
    ),
    "between convolutions": (
        lambda m, x: m.gru(m.d(m.n(m.c(x.transpose(1, 2))).relu()).transpose(1, 2))[0],
        {"c": CausalConv1d(FEATURES, WIDTH, 3), "n": norm(), "d": CausalConv1d(WIDTH, WIDTH, 2)},
        ["conv1d", "relu", "conv1d", "gru"],
    ),
    "after a depthwise convolution": (
        lambda m, x: m.gru(m.l(m.n(m.c(x.transpose(1, 2))).transpose(1, 2)))[0],
        {"c": CausalConv1d(FEATURES, FEATURES, 3, groups=FEATURES), "n": norm(FEATURES),
         "l": nn.Linear(FEATURES, WIDTH)},
        ["conv1d", "linear", "gru"],
    ),
    "before a convolution, which pads with zeros": (
        lambda m, x: m.gru(m.c(m.n(x.transpose(1, 2))).transpose(1, 2))[0],
        {"c": CausalConv1d(FEATURES, WIDTH, 3), "n": norm(FEATURES)},
        ["affine", "conv1d", "gru"],
    ),
    "twice": (
        lambda m, x: m.gru(over_time(m.o, over_time(m.n, m.l(x).relu())))[0],
        {"l": nn.Linear(FEATURES, WIDTH), "n": norm(), "o": norm()},
        ["linear", "relu", "gru"],
    ),
    "read twice": (
        lambda m, x: m.gru(over_time(m.n, m.l(x).relu()))[0] + m.s(over_time(m.n, m.l(x).relu())),
        {"l": nn.Linear(FEATURES, WIDTH), "n": norm(), "s": nn.Linear(WIDTH, HIDDEN)},
        ["linear", "relu", "gru", "linear", "relu", "linear", "add"],
    ),
    "read by a layer and a sum": (
        lambda m, x: (lambda z: m.s(z) + m.gru(z)[0] + m.s(z.relu()))(
            over_time(m.n, m.l(x).relu())
        ),
        {"l": nn.Linear(FEATURES, WIDTH), "n": norm(), "s": nn.Linear(WIDTH, HIDDEN)},
        ["linear", "relu", "affine", "linear", "gru", "add", "relu", "linear", "add"],
    ),
    "of what another layer reads as it is": (
        lambda m, x: (lambda z: m.gru(over_time(m.n, z))[0] + m.s(z))(m.l(x)),
        {"l": nn.Linear(FEATURES, WIDTH), "n": norm(), "s": nn.Linear(WIDTH, HIDDEN)},
        ["linear", "gru", "linear", "add"],
    ),
    "returned": (
        lambda m, x: over_time(m.n, m.gru(m.l(x))[0]),
        {"l": nn.Linear(FEATURES, WIDTH), "n": norm(HIDDEN)},
        ["linear", "gru", "affine"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_it_is_folded_where_it_can_be(name: str) -> None:
    forward, layers, kinds = CASES[name]
    torch.manual_seed(1)
    graph = imported(trained(Model(forward, **layers)))
    assert [node.kind for node in graph.nodes] == kinds
    named = {output.value for output in graph.outputs} | set(graph.inputs)
    known = named | {value for node in graph.nodes for value in (*node.reads, *node.outputs)}
    assert set(graph.sizes) == known


@pytest.mark.parametrize(
    "name", ["after a linear", "before a GRU", "between convolutions", "returned",
             "before a convolution, which pads with zeros", "read by a layer and a sum"],
)  # fmt: skip
def test_every_engine(name: str) -> None:
    forward, layers, _ = CASES[name]
    torch.manual_seed(2)
    model, x = trained(Model(forward, **layers), seed=3), sequences((16, STEPS, FEATURES))
    program = edgernn.quantize(model, (torch.from_numpy(x[:2]),), calibration=x)
    assert isinstance(program, Quantized)
    assert worst_error(program, x) < 0.03
    assert assert_same_everywhere(program, 300) > 2000


@pytest.mark.parametrize(("spread", "kinds"), [(SPREAD - 0.5, 0), (SPREAD + 0.5, 1), (1000.0, 1)])
def test_factors_far_apart_stay_out_of_the_weights_behind(spread: float, kinds: int) -> None:
    forward, layers, _ = CASES["of the input"]
    graph = imported(trained(Model(forward, **layers), spread))
    assert [node.kind for node in graph.nodes].count("affine") == kinds
    forward, layers, _ = CASES["after a linear"]
    graph = imported(trained(Model(forward, **layers), spread))
    assert "affine" not in [node.kind for node in graph.nodes]


def test_features_of_very_different_size() -> None:
    """What BatchNorm of the input is for: int8 stays near float, though the factors differ."""
    rng = np.random.default_rng(0)
    sizes = np.array([0.1, 1.0, 20.0], np.float32)
    x = sequences((32, STEPS, FEATURES)) * sizes + rng.normal(0, 3, 3).astype(np.float32) * sizes
    forward, layers, _ = CASES["of the input"]
    torch.manual_seed(0)
    model = Model(forward, **layers)
    for _ in range(40):
        model(torch.from_numpy(x))
    program = edgernn.quantize(model.eval(), (torch.from_numpy(x[:2]),), calibration=x)
    assert isinstance(program, Quantized)
    assert worst_error(program, x) < 0.03


def test_before_an_embedding_nothing_after_it_the_table() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.e, self.n = nn.Embedding(11, WIDTH), norm()
            self.gru = nn.GRU(WIDTH, HIDDEN, batch_first=True)

        def forward(self, ids: Tensor) -> Tensor:
            return self.gru(over_time(self.n, self.e(ids)))[0]

    model = trained(Tokens())
    ids = torch.from_numpy(np.random.default_rng(0).integers(0, 11, (3, STEPS)))
    graph = import_model(model, (ids,))
    assert [node.kind for node in graph.nodes] == ["embedding", "gru"]
    results, _ = run_float(graph, {"x": ids.numpy()[..., None]})
    np.testing.assert_allclose(results["y"], model(ids).detach().numpy(), atol=1e-5)


def test_the_decomposed_operator() -> None:
    forward, layers, _ = CASES["before a GRU"]
    model = Model(forward, **layers)
    model.gru = MGU(WIDTH, HIDDEN, batch_first=True)
    with quiet():
        exported = torch.export.export(trained(model), (torch.zeros(2, STEPS, FEATURES),))
        exported = exported.run_decompositions({})
    targets = {str(node.target) for node in exported.graph.nodes}
    assert "aten._native_batch_norm_legit_no_training.default" in targets
    assert [node.kind for node in import_model(exported).nodes] == ["linear", "relu", "mgu"]


def test_training_mode_is_refused() -> None:
    forward, layers, _ = CASES["after a linear"]
    model = Model(forward, **layers).train()
    with quiet():
        exported = torch.export.export(model, (torch.zeros(2, STEPS, FEATURES),))
    with pytest.raises(UnsupportedError, match=r"nn\.BatchNorm1d.*training mode.*model\.eval\(\)"):
        import_model(exported)


def test_statistics_of_the_batch_are_refused() -> None:
    forward, layers, _ = CASES["after a linear"]
    model = Model(forward, l=layers["l"], n=norm(track_running_stats=False)).eval()
    with pytest.raises(UnsupportedError, match="track_running_stats=True"):
        import_model(model, (torch.zeros(2, STEPS, FEATURES),))


def test_statistics_of_the_sequence_are_refused() -> None:
    forward, layers, _ = CASES["after a linear"]
    model = Model(forward, l=layers["l"], n=nn.InstanceNorm1d(WIDTH)).eval()
    with pytest.raises(UnsupportedError, match=r"use nn\.BatchNorm1d"):
        import_model(model, (torch.zeros(2, STEPS, FEATURES),))
