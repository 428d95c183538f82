"""One cell with one seed: trained, scored, noted, and not trained again."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from edgernn.budget.cost import cost_of
from edgernn.footprint import load_targets
from edgernn.placing import put_in_place
from edgernn.runtime.errors import FileFormatError, UnsupportedError
from edgernn.training.base import Config, Dataset, Recipe, Scores, Split
from edgernn.training.batches import collate
from edgernn.training.cells import parse
from edgernn.training.device_cost import priced
from edgernn.training.fit import Hardware, fit
from edgernn.training.predict import as_tuple
from edgernn.training.run_folder import as_json

FOLDER: Final = "trials"
CORE: Final = "cortex-m4"


@dataclass(frozen=True)
class Trial:
    """What one training gave. scores: by split, at the best epoch. losses: the recipe's, of each
    sequence of the test split; NaN where it says nothing. flash: bytes of the int8 program on a
    Cortex-M4, None if it cannot be lowered. seconds: of training."""

    cell: str
    seed: int
    scores: dict[str, Scores]
    losses: list[float]
    flash: int | None
    parameters: int
    best_epoch: int
    epochs: int
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """NaN as null."""
        losses = [loss if math.isfinite(loss) else None for loss in self.losses]
        return asdict(self) | {"losses": losses}

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Trial:
        """The inverse."""
        losses = [math.nan if loss is None else float(loss) for loss in found["losses"]]
        return cls(**(found | {"losses": losses}))


def slug(cell: str) -> str:
    """A cell's name as that of a folder: `conv+bigru:gate` -> `conv-bigru-gate`."""
    return cell.replace("+", "-").replace(":", "-")


def config_for(config: Config, cell: str, seed: int) -> Config:
    """The same training with another cell and seed."""
    settings = replace(config.settings, seed=seed)
    if parse(cell).both:
        # What reads backwards has no state to go on from.
        settings = replace(settings, stateful=False)
    return replace(config, settings=settings, layers=replace(config.layers, cell=cell))


def run_trial(
    recipe: Recipe, config: Config, dataset: Dataset, out: Path, hardware: Hardware | None = None
) -> Trial:
    """Train config's cell with config's seed, or read what an earlier call noted in `out`.

    A training that was interrupted is gone on with, to the same result.
    """
    cell, seed = config.layers.cell, config.settings.seed
    folder = out / FOLDER / slug(cell)
    note = folder / f"seed{seed}.json"
    if note.is_file():
        try:
            return Trial.from_json(json.loads(note.read_text(encoding="utf-8")))
        except (ValueError, TypeError, KeyError) as error:
            raise FileFormatError(f"{note} is damaged ({error}); delete it") from None
    checkpoints = folder / f"seed{seed}"
    fitted = fit(
        recipe, config, dataset, checkpoints,
        resume=checkpoints.is_dir(), hardware=hardware, label=f"{cell}, seed {seed}",
    )  # fmt: skip
    trial = Trial(
        cell,
        seed,
        fitted.scores,
        sequence_losses(recipe, fitted.network, dataset.splits["test"]),
        flash_bytes(fitted.network, config, dataset),
        fitted.parameters,
        fitted.best_epoch,
        len(fitted.history),
        round(fitted.seconds, 2),
    )
    put_in_place(folder, {note.name: as_json(trial.as_json())})
    shutil.rmtree(checkpoints, ignore_errors=True)
    return trial


def flash_bytes(network: nn.Module, config: Config, dataset: Dataset) -> int | None:
    """Of the int8 program on a Cortex-M4; None if there is none."""
    try:
        found = priced(network, config, dataset)
    except UnsupportedError:
        return None
    return cost_of(found.model, load_targets()[CORE], found.steps).flash


def sequence_losses(recipe: Recipe, network: nn.Module, split: Split) -> list[float]:
    """The recipe's loss of each sequence by itself."""
    losses = []
    with torch.no_grad():
        for i in range(len(split)):
            batch = collate(split, [i])
            inputs: Sequence[Any] = [batch[name] for name in split.inputs]
            outputs = as_tuple(network(*inputs, lengths=batch["lengths"]))
            losses.append(float(recipe.loss(outputs, batch)))
    return losses
