"""Element-wise arithmetic, fusion of two directions and twin networks: float, bits, refusals."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import edgernn
import edgernn.nn as enn
from edgernn.runtime import StepRuntime, WindowRuntime
from edgernn.runtime.errors import UnsupportedError
from tests.edgernn.cells import assert_same_everywhere, sequences, worst_error

FORMS: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "gate": lambda m, y: torch.sigmoid(m.a(y)) * y + (1 - torch.sigmoid(m.a(y))) * torch.relu(y),
    "factor per feature": lambda m, y: y * m.w,
    "offset per feature": lambda m, y: y + 20 * m.w,
    "both": lambda m, y: (m.w * y - 0.25) / 3,
    "difference": lambda m, y: torch.relu(m.a(y)) - y,
    "negative": lambda m, y: -y - m.w,
    "constant minus": lambda m, y: m.w - y,
    "the larger one": lambda m, y: torch.maximum(m.a(y), y),
    "the larger one, read by a table": lambda m, y: torch.tanh(torch.max(torch.relu(y), m.a(y))),
    "square": lambda m, y: m.a(y) * m.a(y),
    "one weight a step": lambda m, y: y * torch.sigmoid(m.e(y)),
    "weight first": lambda m, y: torch.tanh(m.e(y)) * y,
    "a sum of products, read by a table": lambda m, y: torch.tanh(m.a(y) * y + y * 2.5),
}


class Arithmetic(nn.Module):
    def __init__(self, form: Callable[[nn.Module, Tensor], Tensor], hidden: int = 6) -> None:
        super().__init__()
        self.form = form
        self.gru = nn.GRU(4, hidden, batch_first=True)
        self.a, self.e = nn.Linear(hidden, hidden), nn.Linear(hidden, 1)
        self.w = nn.Parameter(torch.linspace(-1.5, 2.0, hidden))

    def forward(self, x: Tensor) -> Tensor:
        return self.form(self, self.gru(x)[0])


@pytest.mark.parametrize("form", FORMS)
def test_arithmetic_between_values(form: str) -> None:
    torch.manual_seed(len(form))
    x = sequences((8, 20, 4))
    model = Arithmetic(FORMS[form]).eval()
    program = edgernn.quantize(model, (torch.from_numpy(x[:2]),), calibration=x)
    assert worst_error(program, x) < 0.01
    assert_same_everywhere(program, 400)


def test_factors_and_offsets_on_the_input_too() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru = nn.GRU(4, 5, batch_first=True)
            self.mean = nn.Parameter(torch.tensor([1.0, -2.0, 0.0, 30.0]))

        def forward(self, x: Tensor) -> Tensor:
            return self.gru((x - self.mean) / 4.0)[0]

    x = sequences((8, 20, 4)) * 4 + np.array([1.0, -2.0, 0.0, 30.0], np.float32)
    program = edgernn.quantize(Scaled().eval(), (torch.from_numpy(x[:2]),), calibration=x)
    assert worst_error(program, x) < 0.02
    assert_same_everywhere(program, 400)


def test_a_value_of_other_width_is_refused() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gru = nn.GRU(4, 6, batch_first=True)
            self.a = nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            y = self.gru(x)[0]
            return torch.cat([y, y[..., :3] * self.a(y)[..., :3]], -1) * y.repeat(1, 1, 2)[..., :9]

    with pytest.raises(UnsupportedError, match="repeat"):
        edgernn.quantize(Odd().eval(), (torch.zeros(2, 5, 4),), calibration=sequences((2, 5, 4)))


@pytest.mark.parametrize("kind", ["gated", "recurrent", "concatenation"])
@pytest.mark.parametrize("cell", [nn.GRU, nn.LSTM, nn.RNN])
def test_fusion_of_two_directions(kind: str, cell: type[nn.Module]) -> None:
    class Fused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.both = cell(4, 6, batch_first=True, bidirectional=True)
            self.fuse = {
                "gated": lambda: enn.GatedFusion(6),
                "recurrent": lambda: enn.RecurrentFusion(6, batch_first=True),
                "concatenation": nn.Identity,
            }[kind]()
            self.head = nn.LazyLinear(3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.fuse(self.both(x)[0]))

    torch.manual_seed(3)
    x = sequences((6, 15, 4))
    model = Fused().eval()
    expected = model(torch.from_numpy(x)).detach().numpy()
    program = edgernn.quantize(model, (torch.from_numpy(x[:2]),), calibration=x)
    got = WindowRuntime(program).run(x)
    assert np.abs(got - expected).max() < 0.02 * np.abs(expected).max()


def test_a_twin_teaches_and_only_the_student_is_exported() -> None:
    torch.manual_seed(0)
    x = torch.from_numpy(sequences((16, 12, 4)))
    twin = enn.TwinGRU(4, 6, batch_first=True)
    optimizer = torch.optim.Adam([*twin.gru.parameters(), *twin.affine.parameters()], 0.02)
    losses = []
    for _ in range(40):
        loss = twin.twin_loss(x, twin(x)[0])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert all(p.grad is None for p in twin.twin.parameters())
    program = edgernn.quantize(twin.eval(), (x[:2],), calibration=x.numpy())
    assert {s.name for s in program.states} == {"gru_h0"}
    expected = twin(x)[0].detach().numpy()
    assert np.abs(StepRuntime(program).run(x.numpy()) - expected).max() < 0.02
    assert_same_everywhere(program, 300)


def test_the_twin_reads_the_future() -> None:
    twin = enn.TwinGRU(3, 5)
    x = torch.randn(7, 2, 3)
    changed = x.clone()
    changed[-1] += 1.0
    assert not torch.equal(twin.backward(x)[0], twin.backward(changed)[0])
    assert torch.equal(twin(x)[0][0], twin(changed)[0][0])
