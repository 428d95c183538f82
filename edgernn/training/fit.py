"""Train one network: Lightning runs the loop, stops it early, keeps checkpoints and goes on."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from edgernn.runtime.errors import InputError, MissingExtraError
from edgernn.training.base import Config, Dataset, Recipe, Scores

LAST: Final = "last.ckpt"


@dataclass(frozen=True)
class Hardware:
    """Where training runs, as Lightning's Trainer takes it."""

    accelerator: str = "auto"
    devices: str = "auto"
    nodes: int = 1
    strategy: str = "auto"


@dataclass
class Fitted:
    """A trained network, in evaluation mode, with the weights of its best epoch.

    scores: of every split but `train`. history: one record an epoch. seconds: of training,
    interruptions left out. main: whether this process is the one that writes, of several that
    trained together.
    """

    network: nn.Module
    scores: dict[str, Scores]
    history: list[dict[str, float]]
    best_epoch: int
    seconds: float
    parameters: int
    main: bool = True


def fit(
    recipe: Recipe,
    config: Config,
    dataset: Dataset,
    folder: Path | None = None,
    *,
    network: nn.Module | None = None,
    teacher: nn.Module | None = None,
    resume: bool = False,
    hardware: Hardware | None = None,
    label: str = "training",
) -> Fitted:
    """Train a recipe's network, or `network`, on the `train` split and score it.

    folder: where checkpoints go while it trains; with resume, the last one in there is gone on
    from, with the result that a run without interruption has. teacher: see TrainingLoop.
    Raises InputError if training diverges or a checkpoint does not fit.
    """
    pl = _lightning()
    from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint

    from edgernn.training.initialize import initialize
    from edgernn.training.loop import MONITOR, TrainingLoop

    settings = config.settings
    if network is None:
        torch.manual_seed(settings.seed)
        network = recipe.network(dataset.facts, config.layers)
        initialize(network)
    loop = TrainingLoop(recipe, config, dataset, network, teacher)
    place = hardware or Hardware()
    with contextlib.ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        last = folder / LAST
        best = ModelCheckpoint(
            dirpath=folder,
            filename="best",
            monitor=MONITOR,
            mode="max",
            save_last=True,
            enable_version_counter=False,
        )
        callbacks: list[Callback] = [best]
        if settings.patience:
            callbacks.append(EarlyStopping(MONITOR, patience=settings.patience, mode="max"))
        stack.enter_context(_quiet())
        shown = sys.stderr.isatty()
        trainer = _trainer(
            pl,
            place,
            max_epochs=settings.epochs,
            gradient_clip_val=settings.clip or None,
            gradient_clip_algorithm="norm",
            deterministic="warn",
            callbacks=[*callbacks, *([_bar(label)] if shown else [])],
            enable_progress_bar=shown,
            enable_model_summary=False,
            logger=False,
            num_sanity_val_steps=0,
            limit_val_batches=0,
            reload_dataloaders_every_n_epochs=1,
            use_distributed_sampler=False,
            default_root_dir=folder,
        )
        path = last if resume and last.is_file() else None
        try:
            trainer.fit(loop, ckpt_path=path, weights_only=True)
        except (RuntimeError, KeyError) as error:
            if path is None:
                raise
            raise InputError(
                f"{path} does not fit this network: {str(error).splitlines()[0]}; start anew "
                "without --resume"
            ) from None
        if trainer.interrupted:
            raise KeyboardInterrupt
        seconds = loop.seconds
        state = torch.load(best.best_model_path, weights_only=True)
    loop.load_state_dict(state["state_dict"])
    network = loop.network.cpu().eval()
    dataset.facts.update(recipe.settle(network, dataset))
    return Fitted(
        network=network,
        scores={name: loop.scores(name) for name in dataset.splits if name != "train"},
        history=loop.history,
        best_epoch=int(state["epoch"]) + 1,
        seconds=seconds,
        parameters=sum(p.numel() for p in network.parameters()),
        main=bool(trainer.is_global_zero),
    )


def is_main() -> bool:
    """Whether this is the process that was started by hand, of several that train together."""
    ranks = (os.environ.get(name, "0") for name in ("LOCAL_RANK", "NODE_RANK", "GROUP_RANK"))
    return all(rank == "0" for rank in ranks)


def _lightning() -> Any:
    try:
        with _quiet():
            import lightning.pytorch as pl
    except ModuleNotFoundError:
        raise MissingExtraError(
            "training needs Lightning; install it with: pip install 'edgernn[train]'"
        ) from None
    return pl


def _trainer(pl: Any, place: Hardware, **settings: Any) -> Any:
    """Lightning's Trainer; InputError for hardware that it does not find."""
    devices = int(place.devices) if place.devices.isdecimal() else place.devices
    try:
        return pl.Trainer(
            accelerator=place.accelerator,
            devices=devices,
            num_nodes=place.nodes,
            strategy=place.strategy,
            **settings,
        )
    except (ValueError, TypeError, RuntimeError, pl.utilities.exceptions.MisconfigurationException):
        raise InputError(
            f"there is no training with --accelerator {place.accelerator} --devices "
            f"{place.devices} --nodes {place.nodes} --strategy {place.strategy} here; "
            "leave them out to train on one processor"
        ) from None


def _bar(label: str) -> Any:
    from lightning.pytorch.callbacks import TQDMProgressBar

    class Bar(TQDMProgressBar):
        """Says what is trained, and no version number."""

        def get_metrics(self, *args: Any) -> Mapping[str, Any]:  # type: ignore[override]
            """Only what is ours."""
            found = super().get_metrics(*args)
            return {label: ""} | {k: v for k, v in found.items() if k != "v_num"}

    return Bar(leave=False)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without Lightning's advice, which is not for the users of a recipe."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    deterministic = torch.are_deterministic_algorithms_enabled()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\..*")
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(deterministic)
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
