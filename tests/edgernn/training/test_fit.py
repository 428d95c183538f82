"""The loop: it learns, stops early, goes on after an interruption as if there had been none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgernn.runtime.errors import InputError
from edgernn.training.base import Config, Dataset, Settings, Split
from edgernn.training.fit import Fitted, fit
from tests.edgernn.training.toy import Slopes, toy


def weights(fitted: Fitted) -> torch.Tensor:
    return torch.cat([p.detach().reshape(-1) for p in fitted.network.parameters()])


def timeless(history: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{k: v for k, v in record.items() if k != "seconds"} for record in history]


def test_it_learns_and_keeps_the_best_epoch() -> None:
    recipe, config, dataset = toy(epochs=10)
    settings = replace(config.settings, learning_rate=0.02)
    fitted = fit(recipe, replace(config, settings=settings), dataset)
    assert fitted.scores["test"]["accuracy"] > 0.7
    ranks = [r["accuracy"] - 1e-7 * r["val_loss"] for r in fitted.history]
    assert fitted.best_epoch == int(np.argmax(ranks)) + 1
    assert fitted.scores["val"]["accuracy"] == fitted.history[fitted.best_epoch - 1]["accuracy"]


class Interrupted(Slopes):
    """Stopped by the user in the middle of an epoch."""

    def __init__(self, at: int) -> None:
        self.left = at

    def loss(self, outputs: Any, batch: Any) -> torch.Tensor:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        return super().loss(outputs, batch)


@pytest.mark.parametrize("schedule", ["cosine", "plateau"])
def test_an_interrupted_run_goes_on_to_the_same_bits(tmp_path: Path, schedule: Any) -> None:
    recipe, config, dataset = toy(epochs=5, recurrent_dropout=0.2, dropout=0.2)
    config = replace(config, settings=replace(config.settings, schedule=schedule))
    whole = fit(recipe, config, dataset, tmp_path / "whole")
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        fit(Interrupted(18), config, dataset, tmp_path / "parts")
    resumed = fit(recipe, config, dataset, tmp_path / "parts", resume=True)
    assert torch.equal(weights(whole), weights(resumed))
    assert timeless(whole.history) == timeless(resumed.history)
    assert whole.scores == resumed.scores
    again = fit(recipe, config, dataset, tmp_path / "parts", resume=True)
    assert again.seconds >= resumed.seconds


def test_another_network_is_not_gone_on_with(tmp_path: Path) -> None:
    recipe, config, dataset = toy(epochs=1)
    fit(recipe, config, dataset, tmp_path)
    other = replace(config, layers=replace(config.layers, hidden=9))
    with pytest.raises(InputError, match="does not fit this network"):
        fit(recipe, other, dataset, tmp_path, resume=True)


def test_seeds_decide() -> None:
    recipe, config, dataset = toy(epochs=1)
    first, again = fit(recipe, config, dataset), fit(recipe, config, dataset)
    other = fit(recipe, replace(config, settings=replace(config.settings, seed=4)), dataset)
    assert torch.equal(weights(first), weights(again))
    assert not torch.equal(weights(first), weights(other))


def test_patience_stops_early() -> None:
    recipe, config, dataset = toy(epochs=40)
    config = replace(config, settings=replace(config.settings, patience=2, learning_rate=1e-9))
    assert len(fit(recipe, config, dataset).history) < 10


def test_clipping_bounds_the_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    norms: list[float] = []
    step = torch.optim.AdamW.step

    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        def closure() -> Any:
            loss = args[0]() if args else kwargs["closure"]()
            flat = [p.grad.reshape(-1) for g in self.param_groups for p in g["params"]]
            norms.append(float(torch.cat(flat).norm()))
            return loss

        return step(self, closure)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    recipe, config, dataset = toy(epochs=1)
    fit(recipe, replace(config, settings=replace(config.settings, clip=0.01)), dataset)
    assert max(norms) <= 0.0101
    norms.clear()
    fit(recipe, replace(config, settings=replace(config.settings, clip=0)), dataset)
    assert max(norms) > 0.05


def test_a_student_comes_close_to_its_teacher() -> None:
    recipe, config, dataset = toy("bigru:gate", epochs=6)
    teacher = fit(recipe, config, dataset)
    alone = replace(config, layers=replace(config.layers, cell="gru"))
    distances = {}
    for side in (0.0, 3.0):
        chosen = replace(alone, settings=replace(alone.settings, side=side))
        student = fit(recipe, chosen, dataset, teacher=teacher.network)
        batch = {k: torch.zeros(1) for k in ("mask",)}
        x = torch.from_numpy(np.stack([a[:5] for a in dataset.splits["test"].arrays["x"]]))
        with torch.no_grad():
            told, said = teacher.network(x), student.network(x)
        distances[side] = float(recipe.distance((said,), (told,), batch))
    assert distances[3.0] < distances[0.0]


def test_the_state_is_carried_through_a_stream() -> None:
    """A label of 8 steps ago is out of reach for windows of 4 steps, unless the state goes on."""
    generator = np.random.default_rng(0)
    xs, ys = [], []
    for _ in range(8):
        x = np.repeat(generator.choice([-1.0, 1.0], 25), 8)
        xs.append(x[:, None].astype(np.float32) * (np.arange(200) % 8 == 0)[:, None])
        ys.append((x > 0).astype(np.int64))
    split = Split({"x": xs, "y": ys}, steps=("x", "y"))

    class Latch(Slopes):
        def network(self, facts: Any, layers: Any) -> Any:
            from edgernn.training.network import SequenceNetwork

            return SequenceNetwork(1, 2, layers, "steps")

        def score(self, outputs: Any, split: Split, facts: Any) -> dict[str, float]:
            logits = np.concatenate([o[0] for o in outputs])
            return {"accuracy": float(np.mean(logits.argmax(1) == np.concatenate(ys)))}

    _, config, _ = toy()
    dataset = Dataset(dict.fromkeys(("train", "val", "test"), split), {}, "latch", "-")
    found = {}
    for stateful in (True, False):
        settings = Settings(
            epochs=12 if stateful else 3,
            batch_size=8,
            window=4,
            stateful=stateful,
            learning_rate=0.02,
            seed=1,
        )
        found[stateful] = fit(Latch(), Config("latch", settings, config.layers), dataset)
    assert found[True].scores["val"]["accuracy"] > 0.95
    # A window that begins between two marks cannot know, unless its state does.
    assert found[True].history[-1]["loss"] < 0.1 < found[False].history[-1]["loss"]


def test_a_network_that_reads_backwards_has_no_state_to_carry() -> None:
    recipe, config, dataset = toy("bigru", epochs=1)
    settings = replace(config.settings, window=4, stateful=True)
    with pytest.raises(InputError, match="reads backwards"):
        fit(recipe, replace(config, settings=settings), dataset)


def test_a_loss_that_is_no_number_ends_the_training() -> None:
    recipe, config, dataset = toy("rnn_relu", epochs=9)
    settings = replace(config.settings, learning_rate=1e9, clip=0.0, warmup=0)
    with pytest.raises(InputError, match="diverged"):
        fit(recipe, replace(config, settings=settings), dataset)
