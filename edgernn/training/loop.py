"""The training loop: a LightningModule that knows recipes, and no more."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader

from edgernn.runtime.errors import InputError
from edgernn.training.base import BY_LOSS, Config, Dataset, Recipe, Scores
from edgernn.training.batches import CARRIED, EpochBatches, collate
from edgernn.training.predict import as_tuple, float_outputs

MONITOR = "rank"
"""What the best epoch is chosen by: the headline score, the greater the better; of equal ones the
epoch with the smaller validation loss."""
TIE = 1e-7
VALIDATION_LOSS_ROWS = 64
NO_DECAY = 2
"""Parameters of fewer axes, biases and norms, are not decayed."""


class TrainingLoop(pl.LightningModule):
    """Trains `network` by a recipe's loss, and scores it on the validation split after each epoch.

    teacher: a trained network whose outputs the network should come close to. history: one record
    an epoch. An epoch depends on the seed and its number only, so that a run that was interrupted
    goes on as if it had not been. The number is that of the epochs in history: when Lightning asks
    for the first batches of a run that goes on, its own count is not there yet.
    """

    def __init__(
        self,
        recipe: Recipe,
        config: Config,
        dataset: Dataset,
        network: nn.Module,
        teacher: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.recipe, self.config, self.dataset = recipe, config, dataset
        self.network = network
        # In a list, so that it is no part of the checkpoint and is not trained.
        self._teacher = [] if teacher is None else [teacher.eval()]
        self._state: Any = None
        self._losses: list[Tensor] = []
        self.history: list[dict[str, float]] = []
        self._began, self._spent = time.perf_counter(), 0.0

    @property
    def seconds(self) -> float:
        """Of training so far, interruptions left out."""
        return self._spent + time.perf_counter() - self._began

    # Data

    def train_dataloader(self) -> Any:
        """The batches of this epoch; Lightning asks again for each."""
        settings, epoch = self.config.settings, len(self.history)
        split = self.recipe.augment(
            self.dataset.splits["train"], np.random.default_rng((settings.seed, epoch, 1))
        )
        batches = EpochBatches(
            split, settings, epoch, self.trainer.global_rank, self.trainer.world_size
        )
        return DataLoader(batches, batch_size=None, shuffle=False)  # type: ignore[arg-type]

    # Training

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        """The loss of one batch, whose number decides dropout's masks too."""
        place = (self.config.settings.seed, len(self.history), index, self.global_rank)
        torch.manual_seed(hash(place) % (1 << 63))
        network: Any = self.network
        inputs = [batch[name] for name in self.dataset.splits["train"].inputs]
        if CARRIED in batch:
            found = self._carried_on(network, inputs, batch)
        else:
            found = as_tuple(network(*inputs, lengths=batch["lengths"]))
        loss = self.recipe.loss(found, batch)
        self._losses.append(loss.detach())
        side = self.config.settings.side
        for other in getattr(network, "side", ()):
            loss = loss + side * self.recipe.loss(as_tuple(other), batch)
        penalty = getattr(network, "penalty", None)
        if penalty is not None:
            loss = loss + side * penalty
        for teacher in self._teacher:
            with torch.no_grad():
                told = as_tuple(teacher.to(self.device)(*inputs, lengths=batch["lengths"]))
            loss = loss + side * self.recipe.distance(found, told, batch)
        if not torch.isfinite(loss):
            raise InputError(
                f"the loss is {float(loss.detach())} in epoch {len(self.history) + 1}: the "
                "training diverged; lower --learning-rate or --clip"
            )
        return loss

    def _carried_on(
        self, network: Any, inputs: list[Tensor], batch: dict[str, Tensor]
    ) -> tuple[Any, ...]:
        """Truncated back-propagation: the state goes on, its gradient does not."""
        if not getattr(network, "streams", False):
            raise InputError(
                "a network that reads backwards has no state to go on from; leave out --stateful"
            )
        state = self._state if bool(batch[CARRIED].all()) else None
        if state is not None:
            state = _detached(state, len(batch["lengths"]))
        output, self._state = network.run(*inputs, lengths=batch["lengths"], state=state)
        return as_tuple(output)

    def configure_optimizers(self) -> Any:
        """AdamW; warm-up by step, then the schedule."""
        settings = self.config.settings
        decayed = [p for p in self.network.parameters() if p.dim() >= NO_DECAY]
        others = [p for p in self.network.parameters() if p.dim() < NO_DECAY]
        optimizer = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": settings.weight_decay},
                {"params": others, "weight_decay": 0.0},
            ],
            lr=settings.learning_rate,
        )
        total = max(int(self.trainer.estimated_stepping_batches), 2)
        warm = min(settings.warmup * (total // max(settings.epochs, 1)), total - 1)
        schedulers: list[Any] = []
        if warm:
            schedulers.append(lr_scheduler.LinearLR(optimizer, 0.05, total_iters=warm))
        if settings.schedule == "cosine":
            cosine = lr_scheduler.CosineAnnealingLR(optimizer, total - warm)
            parts = [*schedulers, cosine]
            chained = lr_scheduler.SequentialLR(optimizer, parts, [warm]) if warm else cosine
            return [optimizer], [{"scheduler": chained, "interval": "step"}]
        configured: list[Any] = [{"scheduler": s, "interval": "step"} for s in schedulers]
        if settings.schedule == "plateau":
            plateau = lr_scheduler.ReduceLROnPlateau(optimizer, "max", 0.5, patience=4)
            configured.append({"scheduler": plateau, "interval": "epoch", "monitor": MONITOR})
        return [optimizer], configured

    # Validation

    def on_train_epoch_end(self) -> None:
        """Score the validation split."""
        split = self.dataset.splits["val"]
        scores = self.scores("val")
        loss = validation_loss(self.recipe, self.network, split)
        name, higher = self.recipe.selects(self.config.options)
        value = loss if name == BY_LOSS else scores[name]
        rank = (value if higher else -value) - TIE * min(loss, 1e3)
        self.log(MONITOR, torch.tensor(rank, dtype=torch.float64))
        trained = float(torch.stack(self._losses).mean()) if self._losses else float("nan")
        self._losses = []
        self.history.append(
            {"epoch": len(self.history) + 1.0, "loss": trained, "val_loss": loss, **scores}
        )

    def scores(self, name: str) -> Scores:
        """The network's scores on a split."""
        split = self.dataset.splits[name]
        return self.recipe.score(float_outputs(self.network, split), split, self.dataset.facts)

    # Checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The history travels along, and how long it took."""
        checkpoint["history"] = self.history
        checkpoint["seconds"] = self.seconds

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """And comes back."""
        self.history = list(checkpoint["history"])
        self._spent = float(checkpoint["seconds"])


def validation_loss(recipe: Recipe, network: nn.Module, split: Any) -> float:
    """The mean loss over a split, in evaluation mode."""
    training = network.training
    network.eval()
    total = 0.0
    device = next(iter(network.parameters())).device
    with torch.no_grad():
        for begin in range(0, len(split), VALIDATION_LOSS_ROWS):
            chosen = range(begin, min(begin + VALIDATION_LOSS_ROWS, len(split)))
            batch = {k: v.to(device) for k, v in collate(split, chosen).items()}
            inputs = [batch[name] for name in split.inputs]
            found = as_tuple(network(*inputs, lengths=batch["lengths"]))
            total += float(recipe.loss(found, batch)) * len(chosen)
    network.train(training)
    return total / len(split)


def _detached(state: Any, rows: int) -> Any:
    """A state, cut to the rows that go on, without what led to it. Tensors are (1, N, S)."""
    if isinstance(state, Tensor):
        return state[:, :rows].detach().contiguous()
    if isinstance(state, Mapping):
        return {k: _detached(v, rows) for k, v in state.items()}
    kind = tuple if isinstance(state, tuple) else list
    return None if state is None else kind(_detached(s, rows) for s in state)
