"""SequenceNetwork: padding changes nothing, the state goes on, every cell becomes a program."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgernn.importer import import_model
from edgernn.quantization import quantize_graph
from edgernn.runtime.errors import InputError
from edgernn.runtime.window import Window
from edgernn.training.base import Layers, Split
from edgernn.training.cells import CELLS, MISSING, parse
from edgernn.training.network import SequenceNetwork
from edgernn.training.predict import float_outputs, integer_outputs

NAMES = [
    *(name for name in CELLS if name != MISSING),
    *("bigru", "bilstm:gate", "birnn:fuser", "biln_gru:concat", "gru:fuser"),
    *("conv+fastgrnn", "conv+bimgu:gate", "twingru"),
]
POOLS = ("last", "mean", "max", "attention")


def network(cell: str, seed: int = 0, answers: Any = "once", **layers: Any) -> SequenceNetwork:
    """An untrained one, whose weights are large enough to matter."""
    torch.manual_seed(seed)
    made = SequenceNetwork(3, 4, Layers(cell, 6, **layers), answers)
    with torch.no_grad():
        for name, p in made.named_parameters():
            if "weight" in name:
                p.mul_(1.5)
    return made.eval()


def sequences(seed: int = 0) -> Split:
    generator = np.random.default_rng(seed)
    return Split(
        {"x": [generator.normal(size=(t, 3)).astype(np.float32) for t in (7, 1, 4, 7, 12, 4)]}
    )


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("cell", ["gru", "bilstm", "bigru:gate", "conv+bimgu:fuser"])
def test_padding_changes_nothing(cell: str, pool: Any) -> None:
    made = network(cell, layers=2, pool=pool)
    split = sequences()
    together = float_outputs(made, split)
    for i, x in enumerate(split.arrays["x"]):
        with torch.no_grad():
            alone = made(torch.from_numpy(x)[None])
        torch.testing.assert_close(torch.from_numpy(together[i][0]), alone, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("cell", NAMES)
def test_every_cell_becomes_a_program_that_says_the_same(cell: str) -> None:
    answers: Any = "steps" if NAMES.index(cell) % 2 else "once"
    made = network(cell, answers=answers)
    split = sequences(1)
    graph = import_model(made, (torch.zeros(2, 4, 3),))
    program = quantize_graph(graph, {"x": list(split.arrays["x"])})
    assert isinstance(program, Window) == (not made.streams)
    floats, ints = float_outputs(made, split), integer_outputs(program, split)
    real = np.concatenate([o[0][-1:] for o in floats])
    whole = np.concatenate([o[0][-1:] for o in ints])
    assert np.abs(real - whole).max() < 0.05 * np.abs(real).max()


@pytest.mark.parametrize("cell", ["gru", "lstm", "mgu", "conv+gru:fuser", "jordan"])
def test_the_state_goes_on_where_a_window_ended(cell: str) -> None:
    made = network(cell, answers="steps", layers=2)
    x = torch.randn(2, 20, 3, generator=torch.Generator().manual_seed(0))
    whole, _ = made.run(x)
    first, state = made.run(x[:, :11])
    second, _ = made.run(x[:, 11:], state=state)
    torch.testing.assert_close(torch.cat([first, second], 1), whole, atol=1e-6, rtol=1e-5)


def test_a_twin_teaches_only_while_training() -> None:
    made = network("twingru")
    x, lengths = torch.randn(3, 6, 3), torch.tensor([6, 2, 4])
    made(x, lengths=lengths)
    assert made.side == []
    assert made.penalty is None
    made.train()
    made(x, lengths=lengths)
    penalty, side = made.penalty, made.side[0]
    assert penalty is not None
    x = torch.where(torch.arange(6)[None, :, None] < lengths[:, None, None], x, torch.tensor(9.0))
    made(x, lengths=lengths)
    torch.testing.assert_close(made.penalty, penalty)
    torch.testing.assert_close(made.side[0], side)


def test_a_causal_network_never_sees_the_future() -> None:
    made = network("conv+gru:fuser", answers="steps")
    x = torch.randn(1, 9, 3)
    changed = x.clone()
    changed[:, 6:] += 1
    with torch.no_grad():
        assert torch.equal(made(x)[:, :6], made(changed)[:, :6])
        both = network("bigru", answers="steps")
        assert not torch.equal(both(x)[:, :6], both(changed)[:, :6])


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("grru", "no cell"),
        ("pool+gru", "no cell"),
        ("bigru:sum", "joins no directions"),
        ("gru:gate", "nothing for 'gate' to join"),
        ("gru_d:fuser", "stands alone"),
    ],
)
def test_an_unknown_cell_is_refused(name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse(name)


def test_layers_are_what_the_name_says() -> None:
    assert isinstance(parse("bilstm").layer(3, 4), nn.LSTM)
    assert parse("bilstm").layer(3, 4).bidirectional is True
    assert parse("bigru").fusion == "concat"
    assert parse("gru").fusion == ""
