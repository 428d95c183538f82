"""Pooling over time: attention, mean and maximum; the stream gives what the window gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import edgernn  # noqa: E402
from edgernn.importer import import_model  # noqa: E402
from edgernn.nn import AttentionPooling  # noqa: E402
from edgernn.runtime import StepRuntime  # noqa: E402
from edgernn.runtime.errors import UnsupportedError  # noqa: E402
from tests.edgernn.cells import (  # noqa: E402
    assert_same_everywhere,
    float_run,
    sequences,
    signs_task,
    train,
    worst_error,
)

F = 4
Pool = Callable[[Any, Any], Any]
POOLS: dict[str, Pool] = {
    "mean": lambda m, y: y.mean(dim=1),
    "mean, axis kept": lambda m, y: y.mean(-2, keepdim=True).squeeze(1),
    "amax": lambda m, y: y.amax(dim=1),
    "max": lambda m, y: y.max(dim=1).values,
    "torch.max": lambda m, y: torch.max(y, 1)[0],
    "attention": lambda m, y: m.pool(y),
}
MAIN = ("mean", "amax", "attention")


class Model(torch.nn.Module):  # type: ignore[misc,name-defined,unused-ignore]
    def __init__(self, hidden: int, pool: str, features: int = F) -> None:
        super().__init__()
        self.gru = torch.nn.GRU(features, hidden, batch_first=True)
        self.head = torch.nn.Linear(hidden, 2)
        self._pool = POOLS[pool]
        if pool == "attention":
            self.pool = AttentionPooling(hidden, 5)

    def forward(self, x: Any) -> Any:
        return self.head(self._pool(self, self.gru(x)[0]))


def sharp(model: Any) -> Any:
    """Attention that looks at some steps much more than at others."""
    if hasattr(model, "pool"):
        torch.nn.init.normal_(model.pool.vector, 0.0, 2.0)
    return model.eval()


@pytest.mark.parametrize("pool", POOLS)
def test_the_last_step_is_what_torch_gives(pool: str) -> None:
    torch.manual_seed(0)
    model, x = sharp(Model(7, pool)), sequences((6, 50, F))
    program = edgernn.quantize(model, (torch.from_numpy(x[:2]),), calibration=x)
    with torch.no_grad():
        expected = model(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(float_run(program, x)[:, -1], expected, rtol=0, atol=1e-5)
    got = StepRuntime(program).run(x)
    assert np.abs(got[:, -1] - expected).max() < 0.01
    assert program.metadata["last"] == ["y"]
    # In a stream every step has the window up to it.
    with torch.no_grad():
        early = model(torch.from_numpy(x[:, :20])).numpy()
    assert np.abs(got[:, 19] - early).max() < 0.01


@pytest.mark.parametrize("pool", MAIN)
@pytest.mark.parametrize("hidden", [1, 6, 33])
def test_every_engine_gives_the_same_bits(pool: str, hidden: int) -> None:
    torch.manual_seed(hidden)
    model, x = sharp(Model(hidden, pool)), sequences((12, 40, F))
    program = edgernn.quantize(model, (torch.from_numpy(x[:2]),), calibration=x)
    assert worst_error(program, x) < 0.02
    assert_same_everywhere(program, 600, seed=hidden)


@pytest.mark.parametrize(("pool", "worst"), [("mean", 2e-3), ("amax", 1e-2), ("attention", 1e-2)])
def test_long_windows(pool: str, worst: float) -> None:
    torch.manual_seed(3)
    model, x = sharp(Model(8, pool)), sequences((4, 1000, F))
    program = edgernn.quantize(model, (torch.from_numpy(x[:2, :9]),), calibration=x)
    with torch.no_grad():
        expected = model(torch.from_numpy(x)).numpy()
    assert np.abs(StepRuntime(program).run(x)[:, -1] - expected).max() < worst


def test_the_online_form_is_softmax() -> None:
    torch.manual_seed(0)
    pool, y = AttentionPooling(5, 3), torch.from_numpy(10 * sequences((4, 30, 5)))
    torch.nn.init.normal_(pool.vector, 0.0, 5.0)
    scores = torch.tanh(y @ pool.weight.T + pool.bias) @ pool.vector
    expected = (torch.softmax(scores, dim=1)[..., None] * y).sum(dim=1)
    torch.testing.assert_close(pool(y), expected)
    exported = torch.export.export(pool, (y[:1],))
    torch.testing.assert_close(exported.module()(y[:1]), expected[:1], rtol=0, atol=1e-5)


def test_padding_does_not_count() -> None:
    torch.manual_seed(0)
    pool, y = AttentionPooling(5, 3), torch.from_numpy(sequences((3, 9, 5)))
    lengths = torch.tensor([9, 4, 1])
    given = pool(y, lengths=lengths)
    for n, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(given[n], pool(y[n : n + 1, :length])[0])
    mask = (torch.arange(9)[None] < lengths[:, None]).float()
    torch.testing.assert_close(pool(y, mask=mask), given)
    turned = AttentionPooling(5, 3, batch_first=False)
    turned.load_state_dict(pool.state_dict())
    torch.testing.assert_close(turned(y.transpose(0, 1), mask=mask.T), given)
    assert (pool(y, mask=torch.zeros(3, 9)) == 0).all()


def test_a_mask_freezes_what_is_pooled() -> None:
    torch.manual_seed(0)

    class Masked(torch.nn.Module):  # type: ignore[misc,name-defined,unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            self.gru = torch.nn.GRU(F, 6, batch_first=True)
            self.pool = AttentionPooling(6, 3)

        def forward(self, x: Any, lengths: Any) -> Any:
            return self.pool(self.gru(x)[0], lengths=lengths)

    model, x = Masked().eval(), sequences((8, 20, F))
    lengths = torch.arange(8) * 2 + 1
    given = (torch.from_numpy(x), lengths)
    program = edgernn.quantize(model, given, calibration=x)
    assert program.inputs == ("x", "mask")
    mask = (np.arange(20)[None] < lengths.numpy()[:, None]).astype(np.float32)[..., None]
    with torch.no_grad():
        expected = model(*given).numpy()
    got = StepRuntime(program).run(x, mask)
    assert np.abs(got[:, -1] - expected).max() < 0.01
    steps = {"x": (100 * x[0]).astype(np.int16), "mask": mask[4].astype(np.int16)}
    assert_same_everywhere(program, inputs=steps)


@pytest.mark.parametrize("pool", MAIN)
def test_a_trained_model_keeps_its_predictions(pool: str) -> None:
    torch.manual_seed(0)
    x, target = signs_task(128, 20, F)
    model = Model(8, pool)
    first, last = train(model, x, target)
    assert last < 0.8 * first
    program = edgernn.quantize(model, (x[:2],), calibration=x.numpy())
    ours = StepRuntime(program).run(x.numpy())[:, -1]
    with torch.no_grad():
        agree = (ours.argmax(-1) == model(x).argmax(-1).numpy()).mean()
    assert agree > 0.98


def test_the_states_carry_the_layers_name() -> None:
    graph = import_model(sharp(Model(6, "attention")), (torch.zeros(2, 3, F),))
    assert [state.name for state in graph.states] == ["gru_h0", "pool_p0", "pool_L0"]


def test_wrong_use_is_refused() -> None:
    pool, y = AttentionPooling(5, 3), torch.zeros(2, 7, 5)
    with pytest.raises(ValueError, match=r"reads \(N, T, H\) with H = 5, not \(2, 7, 4\)"):
        pool(y[..., :4])
    with pytest.raises(ValueError, match="lengths or mask, not both"):
        pool(y, mask=torch.ones(2, 7), lengths=torch.ones(2))
    with pytest.raises(ValueError, match="at least 1"):
        AttentionPooling(5, 0)

    class Turned(torch.nn.Module):  # type: ignore[misc,name-defined,unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            self.gru, self.pool = torch.nn.GRU(F, 5), AttentionPooling(5, 3)

        def forward(self, x: Any) -> Any:
            return self.pool(self.gru(x)[0])

    with pytest.raises(UnsupportedError, match=r"reads axis 0 as batch.*batch_first"):
        import_model(Turned(), (torch.zeros(6, 2, F),))
