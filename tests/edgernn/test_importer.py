"""Import: every supported layer and idiom gives the numbers torch gives."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
nn = torch.nn

from edgernn.float_engine import run_float  # noqa: E402
from edgernn.graph import Graph  # noqa: E402
from edgernn.importer import import_model  # noqa: E402
from edgernn.importer.pt2 import quiet  # noqa: E402
from edgernn.importer.values import Names, sanitize  # noqa: E402

F, H, N, T = 3, 4, 2, 6


class Model(nn.Module):  # type: ignore[misc,name-defined,unused-ignore]
    """Layers by name, and a forward given as a function of the module and its inputs."""

    def __init__(self, forward: Callable[..., Any], **layers: Any) -> None:
        super().__init__()
        for name, layer in layers.items():
            setattr(self, name, layer)
        self.body = forward

    def forward(self, *inputs: Any) -> Any:
        return self.body(self, *inputs)


def sequence(*shape: int, seed: int = 0) -> Any:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def gru(**options: Any) -> Any:
    return nn.GRU(F, H, **{"batch_first": True, **options})


def same(ours: Any, theirs: Any, tolerance: float = 1e-5) -> None:
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=0, atol=tolerance)


def batch_first(x: Any, graph: Graph) -> Any:
    x = x.detach().numpy()
    if x.ndim == 2:
        return x[None]
    return x if graph.batch_first else x.swapaxes(0, 1)


@pytest.mark.parametrize("start", ["default", "learned", "input"])
@pytest.mark.parametrize(
    ("cell", "layers", "bias", "first"),
    [
        (cell, layers, *rest)
        for cell in ("GRU", "LSTM", "tanh", "relu")
        for layers, rest in zip((1, 2), itertools.product((True,), (True, False)), strict=True)
    ]
    + [(cell, 2, False, True) for cell in ("GRU", "LSTM", "tanh", "relu")]
    + [("GRU", 3, False, False)],
)
def test_every_cell_gives_torchs_numbers(
    cell: str, layers: int, bias: bool, first: bool, start: str
) -> None:
    torch.manual_seed(layers)
    options = {"num_layers": layers, "bias": bias, "batch_first": first}
    if cell in ("tanh", "relu"):
        layer = nn.RNN(F, H, nonlinearity=cell, **options)
    else:
        layer = getattr(nn, cell)(F, H, **options)
    count = 2 if cell == "LSTM" else 1
    learned = [nn.Parameter(0.5 * sequence(layers, 1, H, seed=i)) for i in range(count)]
    model = Model(lambda m, x, *h: m.layer(x, m.start(x, h))[0], layer=layer)
    model.learned = nn.ParameterList(learned)

    def begin(x: Any, h: tuple[Any, ...]) -> Any:
        if start == "default":
            return None
        states = list(h)
        if start == "learned":
            rows = x.shape[0 if first else 1]
            states = [p.expand(-1, rows, -1).contiguous() for p in model.learned]
        return tuple(states) if count == 2 else states[0]

    model.start = begin
    x = sequence(N, T, F) if first else sequence(T, N, F)
    states = [0.5 * sequence(layers, N, H, seed=9 + i) for i in range(count)]
    args = (x, *(states if start == "input" else []))
    graph = import_model(model, args)

    assert graph.inputs == ("x",)
    assert [o.name for o in graph.outputs] == ["y"]
    assert graph.batch_first is first
    names = [f"layer_{kind}{i}" for i in range(layers) for kind in ("hc"[:count])]
    assert [state.name for state in graph.states] == names
    given = {
        f"layer_{'hc'[k]}{i}": states[k][i].numpy() for k in range(count) for i in range(layers)
    }
    run, _ = run_float(graph, {"x": batch_first(x, graph)}, given if start == "input" else None)
    same(run["y"], model(*args) if first else model(*args).transpose(0, 1))
    zeros = all(not state.initial.any() for state in graph.states)
    assert zeros is (start != "learned")


def two_outputs(model: Any, x: Any) -> Any:
    y, h = model.g(x)
    return model.fc(y), h


IDIOMS: dict[str, tuple[Callable[..., Any], bool]] = {
    "every step": (lambda m, x: m.fc(m.g(x)[0]), False),
    "y[:, -1]": (lambda m, x: m.fc(m.g(x)[0][:, -1]), True),
    "y[:, -1, :]": (lambda m, x: m.fc(m.g(x)[0][:, -1, :]), True),
    "y[:, -1:]": (lambda m, x: m.fc(m.g(x)[0][:, -1:]), True),
    "y[:, T-1]": (lambda m, x: m.fc(m.g(x)[0][:, x.shape[1] - 1]), True),
    "linear, then y[:, -1]": (lambda m, x: m.fc(m.g(x)[0])[:, -1], True),
    "h[-1]": (lambda m, x: m.fc(m.g(x)[1][-1]), True),
    "h[0]": (lambda m, x: m.fc(m.g(x)[1][0]), True),
    "h.squeeze(0)": (lambda m, x: m.fc(m.g(x)[1].squeeze(0)), True),
    "h.view(N, H)": (lambda m, x: m.fc(m.g(x)[1].view(-1, H)), True),
    "fc(h).squeeze": (lambda m, x: m.fc(m.g(x)[1]).squeeze(0), True),
    "h only": (lambda m, x: m.g(x)[1], True),
    "y.reshape(N*T, H)": (
        lambda m, x: m.fc(m.g(x)[0].reshape(-1, H)).reshape(x.shape[0], x.shape[1], -1),
        False,
    ),
    "flatten(0, 1)": (
        lambda m, x: m.fc(m.g(x)[0].flatten(0, 1)).unflatten(0, (x.shape[0], -1)),
        False,
    ),
    "states returned": (lambda m, x: two_outputs(m, x), False),
    "dict": (lambda m, x: {"logits": m.fc(m.g(x)[0])}, False),
    "activations": (
        lambda m, x: torch.tanh(torch.sigmoid(torch.relu(m.fc(m.g(x)[0])))), False,
    ),
    "in place": (lambda m, x: m.fc(m.g(x)[0].relu_()).sigmoid_().tanh_(), False),
    "dropout, casts": (
        lambda m, x: nn.functional.dropout(
            m.fc(m.g(x.contiguous())[0].clone().detach().float()), 0.5, m.training
        ),
        False,
    ),
    "residual": (lambda m, x: (lambda y: y + torch.tanh(y))(m.g(x)[0]), False),
    "cat with the input": (lambda m, x: torch.cat([m.g(x)[0], x], dim=-1), False),
    "feature slice": (lambda m, x: m.g(x)[0][..., 1:3], False),
    "one feature": (lambda m, x: m.g(x)[0][..., 2], False),
    "narrow": (lambda m, x: m.g(x)[0].narrow(2, 1, 2), False),
    "split and chunk": (
        lambda m, x: torch.cat(m.g(x)[0].split([1, 3], -1)[::-1] + m.g(x)[0].chunk(2, -1), -1),
        False,
    ),
    "input slice": (lambda m, x: m.g(torch.cat([x[..., 1:], x[..., :1]], -1))[0], False),
    "linear before": (lambda m, x: m.g(torch.tanh(m.before(x)))[0], False),
    "matmul": (lambda m, x: torch.matmul(m.g(x)[0], m.fc.weight.t()), False),
    "permute there and back": (
        lambda m, x: m.fc(m.g(x)[0].permute(1, 0, 2)).transpose(0, 1), False,
    ),
    "gate sum of the last step": (
        lambda m, x: (lambda y, h: y[:, -1] + torch.tanh(h[-1]))(*m.g(x)), True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("idiom", IDIOMS)
def test_every_idiom_gives_torchs_numbers(idiom: str) -> None:
    torch.manual_seed(0)
    forward, last = IDIOMS[idiom]
    model = Model(forward, g=gru(), fc=nn.Linear(H, 2), before=nn.Linear(F, F)).eval()
    x = sequence(N, T, F)
    graph = import_model(model, (x,))
    assert [(o.name, o.last) for o in graph.outputs] == [("y", last)]
    expected = model(x)
    if isinstance(expected, dict):
        expected = expected["logits"]
    if isinstance(expected, tuple):
        expected = expected[0]
    ours = run_float(graph, {"x": x.numpy()})[0]["y"]
    ours = ours[:, -1] if last else ours
    same(ours.reshape(expected.shape), expected)


def test_time_first_layers_take_the_last_step_at_axis_zero() -> None:
    model = Model(lambda m, x: m.g(x)[0][-1], g=gru(batch_first=False))
    x = sequence(T, N, F)
    graph = import_model(model, (x,))
    assert graph.outputs[0].last
    assert not graph.batch_first
    same(run_float(graph, {"x": x.numpy().swapaxes(0, 1)})[0]["y"][:, -1], model(x))


def test_a_transpose_around_a_time_first_layer_keeps_the_models_layout() -> None:
    model = Model(
        lambda m, x: m.g(x.transpose(0, 1))[0].transpose(0, 1)[:, -1], g=gru(batch_first=False)
    )
    x = sequence(N, T, F)
    graph = import_model(model, (x,))
    assert graph.batch_first
    assert graph.outputs[0].last
    same(run_float(graph, {"x": x.numpy()})[0]["y"][:, -1], model(x))


def test_an_unbatched_sequence_and_a_single_feature() -> None:
    layer = nn.LSTM(1, H)
    model = Model(
        lambda m, x: m.fc(m.g(x.unsqueeze(-1))[0]).squeeze(-1), g=layer, fc=nn.Linear(H, 1)
    )
    x = sequence(T)
    graph = import_model(model, (x,))
    same(run_float(graph, {"x": x.numpy()[None, :, None]})[0]["y"][0, :, 0], model(x))


def test_an_example_of_one_sequence_is_not_a_property() -> None:
    model = Model(lambda m, x: m.fc(m.g(x)[0]).squeeze(0), g=gru(), fc=nn.Linear(H, 2))
    graph = import_model(model, (sequence(1, T, F),))
    x = sequence(5, 9, F)
    same(run_float(graph, {"x": x.numpy()})[0]["y"], model.fc(model.g(x)[0]))


def test_a_model_of_one_step_takes_its_state_as_an_input() -> None:
    def forward(m: Any, x: Any, h: Any) -> Any:
        y, h = m.g(x.unsqueeze(1), h)
        return m.fc(y.squeeze(1)), h

    model = Model(forward, g=gru(num_layers=2), fc=nn.Linear(H, 2))
    graph = import_model(model, (sequence(N, F), sequence(2, N, H)))
    assert [(o.name, o.last) for o in graph.outputs] == [("y", False)]
    x, h = sequence(N, T, F), torch.zeros(2, N, H)
    steps = []
    for t in range(T):
        y, h = model(x[:, t], h)
        steps.append(y)
    same(run_float(graph, {"x": x.numpy()})[0]["y"], torch.stack(steps, 1))


def test_layers_states_side_by_side_and_lstm_cells_are_outputs() -> None:
    def forward(m: Any, x: Any) -> Any:
        _, (h, c) = m.g(x)
        both = h.transpose(0, 1).reshape(x.shape[0], -1)
        return torch.cat([h[-2], h[-1]], -1), both, c[-1], (h, c)

    model = Model(forward, g=nn.LSTM(F, H, 2, batch_first=True))
    x = sequence(N, T, F)
    graph = import_model(model, (x,))
    assert [(o.name, o.last) for o in graph.outputs] == [("y0", True), ("y1", True), ("y2", True)]
    run = run_float(graph, {"x": x.numpy()})[0]
    for name, expected in zip(("y0", "y1", "y2"), model(x), strict=False):
        same(run[name][:, -1], expected)


def test_several_inputs_and_outputs_are_numbered_and_named_after_modules() -> None:
    def forward(m: Any, a: Any, b: Any) -> Any:
        y = m.encoder.rnn(torch.cat([a, b], -1))[0]
        z = m.second(y)[0]
        return m.fc(y + z), m.fc_out(z[:, -1])

    encoder = Model(lambda m, x: x, rnn=gru())
    model = Model(forward, encoder=encoder, second=nn.LSTM(H, H, batch_first=True),
                  fc=nn.Linear(H, 2), fc_out=nn.Linear(H, 2))  # fmt: skip
    a, b = sequence(N, T, 1), sequence(N, T, 2, seed=1)
    graph = import_model(model, (a, b))
    assert graph.inputs == ("x0", "x1")
    assert [state.name for state in graph.states] == ["encoder_rnn_h0", "second_h0", "second_c0"]
    run = run_float(graph, {"x0": a.numpy(), "x1": b.numpy()})[0]
    every, last = model(a, b)
    same(run["y0"], every)
    same(run["y1"][:, -1], last)
    names = [name for name in graph.sizes if name not in graph.inputs]
    clashes = [(p, q) for p in names for q in names if p != q and q.startswith(f"{p}_")]
    assert clashes == []


def test_a_root_layer_has_states_without_prefix() -> None:
    graph = import_model(nn.LSTM(F, H, 2, batch_first=True), (sequence(N, T, F),))
    assert [state.name for state in graph.states] == ["h0", "c0", "h1", "c1"]


def test_one_layer_called_twice_has_two_states() -> None:
    model = Model(lambda m, a, b: m.g(a)[0] + m.g(b)[0], g=gru())
    graph = import_model(model, (sequence(N, T, F), sequence(N, T, F, seed=1)))
    assert [state.name for state in graph.states] == ["g_h0", "g2_h0"]


@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "float16"])
def test_other_float_types_become_float32(dtype: str) -> None:
    model = Model(lambda m, x: m.fc(m.g(x)[0]), g=gru(), fc=nn.Linear(H, 2))
    kind = getattr(torch, dtype)
    graph = import_model(model.to(kind), (sequence(N, T, F).to(kind),))
    assert {a.dtype for node in graph.nodes for a in node.arrays.values()} == {np.dtype("float32")}
    x = sequence(N, T, F)
    same(run_float(graph, {"x": x.numpy()})[0]["y"], model.float()(x))


def test_a_symbolic_batch_is_read_like_a_number() -> None:
    def forward(m: Any, x: Any) -> Any:
        n, t, _ = x.shape
        y = m.g(x, x.new_zeros(1, n, H))[0]
        return m.fc(y.reshape(n * t, H)).reshape(n, t, -1)[:, -1]

    model = Model(forward, g=gru(), fc=nn.Linear(H, 2)).eval()
    batch = torch.export.Dim("batch", max=64)
    x = sequence(N, T, F)
    dynamic = {"inputs": ({0: batch},)}
    with quiet():
        program = torch.export.export(model, (x,), dynamic_shapes=dynamic)
    graph = import_model(program)
    same(run_float(graph, {"x": x.numpy()})[0]["y"][:, -1], model(x))


def test_a_model_in_training_comes_out_as_it_went_in() -> None:
    model = Model(lambda m, x: m.fc(m.drop(m.g(x)[0])), g=gru(num_layers=2, dropout=0.5),
                  drop=nn.Dropout(0.5), fc=nn.Linear(H, 2))  # fmt: skip
    model.train()
    model.fc.eval()
    before = {name: (value.data_ptr(), value.clone()) for name, value in model.state_dict().items()}
    flat = [id(weight) for weight in model.g._flat_weights]
    graph = import_model(model, (sequence(N, T, F),))
    assert [model.training, model.g.training, model.drop.training, model.fc.training] == [
        True, True, True, False
    ]  # fmt: skip
    assert [id(weight) for weight in model.g._flat_weights] == flat
    for name, value in model.state_dict().items():
        assert value.data_ptr() == before[name][0]
        assert torch.equal(value, before[name][1])
    # The graph keeps copies: training on does not change it.
    kept = graph.nodes[-1].arrays["weight"].copy()
    with torch.no_grad():
        model.fc.weight.add_(1)
    np.testing.assert_array_equal(graph.nodes[-1].arrays["weight"], kept)


def test_in_place_operators_change_every_view_of_their_operand() -> None:
    def forward(m: Any, x: Any) -> Any:
        y = m.g(x)[0]
        torch.relu_(y)
        return m.fc(y)

    model = Model(forward, g=gru(), fc=nn.Linear(H, 2))
    x = sequence(N, T, F)
    graph = import_model(model, (x,))
    assert [node.kind for node in graph.nodes] == ["gru", "relu", "linear"]
    same(run_float(graph, {"x": x.numpy()})[0]["y"], model(x))


def test_names_never_begin_another_name_up_to_an_underscore() -> None:
    names = Names()
    names.reserve("x")
    assert names.state("gru", "h", 2) == ["gru_h0", "gru_h1"]
    assert names.state("gru", "h", 1) == ["gru2_h0"]
    chosen = [
        names.value(w) for w in ("fc", "fc_a", "fc_a", "gru", "x", "gru_h0_in", "relu_1", "relu")
    ]
    assert len(set(chosen)) == len(chosen)
    everything = [*chosen, "gru_h0_in", "gru_h1_in", "x"]
    assert not [(p, q) for p in chosen for q in everything if q.startswith(f"{p}_")]
    assert sanitize("0.weight-é") == "m0_weight"
