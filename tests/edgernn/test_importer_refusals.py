"""Import: what cannot be taken is refused in one sentence with node, operator, line, way out."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
nn = torch.nn

from edgernn.importer import import_model  # noqa: E402
from edgernn.importer import recurrent as recurrent_module  # noqa: E402
from edgernn.importer.pt2 import quiet  # noqa: E402
from edgernn.importer.refusals import REFUSALS  # noqa: E402
from edgernn.importer.registry import RULES  # noqa: E402
from edgernn.runtime.errors import InputError, UnsupportedError  # noqa: E402
from tests.edgernn.test_importer import F, H, Model, N, T, gru, sequence  # noqa: E402


def pooled(operation: str) -> Callable[..., Any]:
    return lambda m, x: getattr(m.g(x)[0], operation)(1)


def cell_loop(m: Any, x: Any) -> Any:
    h = x.new_zeros(x.shape[0], H)
    for t in range(x.shape[1]):
        h = m.cell(x[:, t], h)
    return h


def lstm_loop(m: Any, x: Any) -> Any:
    state = (torch.zeros(N, H), torch.zeros(N, H))
    return m.cell(m.fc(x)[:, -1], state)[0]


def branch(m: Any, x: Any) -> Any:
    return m.g(x)[0] if x.sum() > 0 else m.g(-x)[0]


def no_grad(m: Any, x: Any) -> Any:
    y = m.g(x)[0]
    with torch.no_grad():
        y = torch.tanh(y)
    return torch.relu(y)


def in_place_part(m: Any, x: Any) -> Any:
    y = m.g(x)[0]
    y[..., :2].relu_()
    return torch.tanh(y)


class Stateful(nn.Module):  # type: ignore[misc,name-defined,unused-ignore]
    def __init__(self) -> None:
        super().__init__()
        self.g = gru()
        self.register_buffer("held", torch.zeros(1, N, H))

    def forward(self, x: Any) -> Any:
        y, h = self.g(x, self.held)
        self.held.copy_(h)
        return y


def case(name: str, forward: Callable[..., Any], *words: str, **layers: Any) -> Any:
    return pytest.param(forward, layers, words, id=name)


CASES = [
    case("layer norm", lambda m, x: m.n(m.g(x)[0]), "aten.layer_norm.default", "nn.LayerNorm",
         "over 2 axes", "nn.LayerNorm(features)", n=nn.LayerNorm((T, H))),
    case("layer norm of one", lambda m, x: m.n(m.fc(m.g(x)[0])), "aten.layer_norm.default",
         "leaves nothing of it", fc=nn.Linear(H, 1), n=nn.LayerNorm(1)),
    case("batch norm", lambda m, x: m.n(m.g(x)[0].transpose(1, 2)), "aten.batch_norm.default",
         "nn.BatchNorm1d", "track_running_stats",
         n=nn.BatchNorm1d(H, track_running_stats=False)),
    case("conv1d", lambda m, x: m.g(m.n(x.transpose(1, 2)).transpose(1, 2))[0],
         "aten.conv1d.default", "nn.Conv1d", "CausalConv1d", n=nn.Conv1d(F, F, 3, padding=1)),
    case("softmax over time", lambda m, x: torch.softmax(m.g(x)[0], 1), "aten.softmax.int",
         "over time", "AttentionPooling"),
    case("log_softmax over time", lambda m, x: nn.functional.log_softmax(m.g(x)[0], 1),
         "aten.log_softmax.int", "over time"),
    case("softplus", lambda m, x: nn.functional.softplus(m.g(x)[0], threshold=1.0),
         "aten.softplus.default", "threshold below 10", "nn.Softplus(beta)"),
    case("mean of features", lambda m, x: m.g(x)[0].mean(-1), "aten.mean.dim",
         "other axes than time", "y.mean(dim=1)"),
    case("mean of all", lambda m, x: m.g(x)[0].mean((1, 2)), "aten.mean.dim", "y.mean(dim=1)"),
    case("mean of the last", lambda m, x: m.g(x)[0][:, -1:].mean(1), "aten.mean.dim", "y.mean"),
    case("sum", pooled("sum"), "aten.sum.dim_IntList", "take the last step"),
    case("max of features", lambda m, x: m.g(x)[0].max(2)[0], "aten.max.dim", "y.amax(dim=1)"),
    case("max of all", lambda m, x: m.g(x)[0].max(), "aten.max.default", "take the last step"),
    case("flip", lambda m, x: m.g(x.flip(1))[0], "aten.flip.default", "oldest step first"),
    case("gru cell", cell_loop, "aten.gru_cell.default", "nn.GRUCell", "the whole layer",
         cell=nn.GRUCell(F, H)),
    case("lstm cell", lstm_loop, "aten.lstm_cell.default", "nn.LSTMCell", "the whole layer",
         cell=nn.LSTMCell(F, H), fc=nn.Linear(F, F)),
    case("attention", lambda m, x: m.a(*[m.g(x)[0]] * 3)[0], "nn.MultiheadAttention",
         "in place of attention", a=nn.MultiheadAttention(H, 2)),
    case("bmm", lambda m, x: (lambda y: y @ y.transpose(1, 2))(m.g(x)[0]), "aten.matmul.default",
         "in place of attention"),
    case("divide", lambda m, x: (lambda y: y / y)(m.g(x)[0]), "aten.div.Tensor", "multiply by a"),
    case("divide by 0", lambda m, x: m.g(x)[0] / 0, "aten.div.Tensor", "divides by zero"),
    case("factor per step", lambda m, x: m.g(x)[0] * torch.ones(T, 1), "aten.mul.Tensor",
         "one number per feature"),
    case("alpha", lambda m, x: torch.sub(m.g(x)[0], m.g(x)[0], alpha=2), "aten.sub.Tensor",
         "multiply it before"),
    case("threshold", lambda m, x: nn.functional.threshold(m.g(x)[0], 0.1, 0.0),
         "aten.threshold.default", "is an activation", "such as ReLU"),
    case("unknown", lambda m, x: torch.erfinv(m.g(x)[0]), "aten.erfinv.default",
         "take it out of the model"),
    case("y[:, 0]", lambda m, x: m.g(x)[0][:, 0], "aten.select.int", "the first step", "y[:, -1]"),
    case("y[:, -2]", lambda m, x: m.g(x)[0][:, -2], "aten.select.int", "takes steps 4", "y[:, -1]"),
    case("y[:, 1:]", lambda m, x: m.g(x)[0][:, 1:], "aten.slice.Tensor", "y[:, -1]"),
    case("y[:, ::2]", lambda m, x: m.g(x)[0][:, ::2], "aten.slice.Tensor", "skips"),
    case("y[-1] of batch", lambda m, x: m.g(x)[0][-1], "aten.select.int", "whole batch"),
    case("last step into a layer", lambda m, x: m.k(m.g(x)[0][:, -1:])[0], "aten.gru.input",
         "feed it the whole sequence", k=nn.GRU(H, H, batch_first=True)),
    case("time into features", lambda m, x: m.fc(m.g(x)[0].reshape(N, -1)), "aten.linear.default",
         "features of one step in the last axis", fc=nn.Linear(T * H, 2)),
    case("frames", lambda m, x: m.k(m.g(x)[0].reshape(N, T // 2, 2 * H))[0],
         "aten.reshape.default", "mixes the numbers", k=nn.GRU(2 * H, H, batch_first=True)),
    case("batch_first by mistake", lambda m, x: m.k(m.g(x)[0])[0], "aten.gru.input",
         "that axis is time", "same batch_first", k=nn.GRU(H, H)),
    case("several states", lambda m, x: m.b(x)[1], "holds 2 layers", "return the state of one",
         "h[-1]", b=gru(num_layers=2)),
    case("encoder to decoder", lambda m, x: m.k(x, m.g(x)[1])[0], "aten.gru.input",
         "a state that the model computes", "start from zeros", k=gru()),
    case("random start", lambda m, x: m.g(x, torch.randn(1, N, H))[0], "aten.randn.default",
         "draws random numbers", "start from zeros"),
    case("rowwise start", lambda m, x: m.g(x, torch.cat([torch.zeros(1, 1, H), torch.ones(1, 1, H)],
         1))[0], "aten.gru.input", "a state of its own", "one learned vector"),
    case("last and every step", lambda m, x: (lambda y: y + y[:, -1:])(m.g(x)[0]),
         "aten.add.Tensor", "joins the last step"),
    case("repeat", lambda m, x: m.g(x)[0][:, -1:].expand(N, T, H), "aten.expand.default",
         "repeats a value"),
    case("no_grad", no_grad, "wrap_with_set_grad_enabled", "take the context out"),
    case("in place on a part", in_place_part, "aten.relu_.default", "without the underscore"),
    case("no recurrent layer", lambda m, x: m.fc(x), "no recurrent layer", "nn.GRU",
         fc=nn.Linear(F, 2)),
    case("branch", branch, "torch.export cannot trace", "remove branches"),
    case("features not last", lambda m, x: m.g(x)[0].transpose(1, 2), "in the last axis",
         "transpose outside"),
    case("constant output", lambda m, x: (m.g(x)[0], torch.zeros(3)), "is a constant"),
    case("no data", lambda m, x: m.g(torch.zeros(N, T, F))[0], "aten.gru.input"),
]  # fmt: skip


@pytest.mark.parametrize(("forward", "layers", "words"), CASES)
def test_the_sentence_names_node_operator_and_way_out(
    forward: Callable[..., Any], layers: dict[str, Any], words: tuple[str, ...]
) -> None:
    model = Model(forward, **{"g": gru(), **layers}).eval()
    with pytest.raises(UnsupportedError) as caught:
        import_model(model, (sequence(N, T, F),))
    text = str(caught.value)
    assert "\n" not in text
    assert text[0] not in "'\""
    for word in words:
        assert word in text
    if "aten." in text:
        assert re.search(r"node \w+ \(aten\.\w+\.\w+", text)
        assert "edgernn takes recurrent layers" in text
        assert re.match(r"\S+test_importer\w*\.py:\d+: ", text), text


def exported(model: Any, *args: Any) -> Any:
    with quiet():
        return torch.export.export(model, args)


def test_a_program_exported_in_training_mode_is_refused() -> None:
    x = sequence(N, T, F)
    dropout = Model(lambda m, x: m.d(m.g(x)[0]), g=gru(), d=nn.Dropout(0.3)).train()
    with pytest.raises(UnsupportedError, match=r"aten.dropout.default, nn.Dropout.*model.eval\(\)"):
        import_model(exported(dropout, x))
    between = Model(lambda m, x: m.g(x)[0], g=gru(num_layers=2, dropout=0.3)).train()
    with pytest.raises(UnsupportedError, match=r"aten.gru.input.*model.eval\(\)"):
        import_model(exported(between, x))
    harmless = Model(lambda m, x: m.d(m.g(x)[0]), g=gru(), d=nn.Dropout(0.0)).train()
    import_model(exported(harmless, x))


def test_packed_sequences_and_tokens_have_ways_out_of_their_own() -> None:
    tokens = torch.zeros(N, T, dtype=torch.long)
    direct = Model(lambda m, i: m.g(i.float().unsqueeze(-1))[0], g=nn.GRU(1, H, batch_first=True))
    with pytest.raises(UnsupportedError, match=r"give token ids to nn\.Embedding"):
        import_model(direct, (tokens,))

    def packed(m: Any, x: Any, lengths: Any) -> Any:
        sequences = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
        return nn.utils.rnn.pad_packed_sequence(m.g(sequences)[0], batch_first=True)[0]

    with pytest.raises(UnsupportedError, match=r"edgernn\.nn\.VariableLength"):
        import_model(Model(packed, g=gru()), (sequence(N, T, F), torch.tensor([T, T - 1])))


def test_a_model_that_keeps_its_own_state_is_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"(copy_|changes held)"):
        import_model(Stateful(), (sequence(N, T, F),))


def test_weights_that_are_not_numbers_are_refused() -> None:
    model = Model(lambda m, x: m.g(x)[0], g=gru())
    with torch.no_grad():
        model.g.weight_hh_l0[0, 0] = float("nan")
    with pytest.raises(UnsupportedError, match=r"NaN or infinity.*g\.weight_hh_l0"):
        import_model(model, (sequence(N, T, F),))


def test_a_wrong_gate_order_is_found_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    right = recurrent_module._weights

    def wrong(*args: Any) -> Any:
        layers, stack = right(*args)
        for arrays in stack:
            for name, array in arrays.items():
                arrays[name] = np.roll(array, H, axis=0)
        return layers, stack

    monkeypatch.setattr(recurrent_module, "_weights", wrong)
    model = Model(lambda m, x: torch.relu(m.g(x)[0]), g=gru())
    with pytest.raises(UnsupportedError, match=r"node getitem .* differs from torch"):
        import_model(model, (sequence(N, T, F),))


def test_wrong_arguments_are_input_errors() -> None:
    with pytest.raises(InputError, match="needs example inputs"):
        import_model(gru())
    with pytest.raises(InputError, match="tuple of example inputs"):
        import_model(gru(), sequence(N, T, F))
    with pytest.raises(InputError, match="not dict"):
        import_model({}, ())


def test_every_operator_is_either_taken_or_refused_and_says_so() -> None:
    assert not set(RULES) & set(REFUSALS)
    for rule in RULES.values():
        assert (rule.__doc__ or "").endswith(".")
    for refusal in REFUSALS.values():
        assert refusal.reason
        assert refusal.way_out
