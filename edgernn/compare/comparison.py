"""Cells times seeds, and the table of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from edgernn.compare.significance import Test, wilcoxon
from edgernn.compare.trials import FOLDER, Trial, config_for, run_trial
from edgernn.placing import put_in_place
from edgernn.runtime.errors import EdgernnError, InputError
from edgernn.training.base import Config, Recipe, Scores
from edgernn.training.fit import Hardware
from edgernn.training.run_folder import as_json, digest
from edgernn.training.train import require_sound

STARTED: Final = "started.json"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Entry:
    """One cell and its trainings."""

    cell: str
    trials: tuple[Trial, ...]

    def values(self, split: str, score: str) -> list[float]:
        """A score of each training."""
        return [trial.scores[split][score] for trial in self.trials]

    def mean(self, split: str, score: str) -> float:
        """Over the seeds."""
        return float(np.mean(self.values(split, score)))

    def deviation(self, split: str, score: str) -> float | None:
        """The standard deviation of a sample; None of one training."""
        values = self.values(split, score)
        return float(np.std(values, ddof=1)) if len(values) > 1 else None

    @property
    def flash(self) -> int | None:
        """Bytes on a Cortex-M4, the most of all trainings; None if one cannot be lowered."""
        sizes = [trial.flash for trial in self.trials]
        known = [size for size in sizes if size is not None]
        return max(known) if len(known) == len(sizes) else None

    @property
    def losses(self) -> list[float]:
        """Of each test sequence, the mean over seeds."""
        return [float(v) for v in np.mean([t.losses for t in self.trials], axis=0)]


@dataclass(frozen=True)
class Comparison:
    """entries: best first, by the validation split. tests: of the best two, on the test split."""

    recipe: str
    data: str
    headline: str
    higher: bool
    seeds: tuple[int, ...]
    entries: tuple[Entry, ...]
    baselines: dict[str, Scores]
    tests: tuple[Test, ...]

    @property
    def splits(self) -> list[str]:
        """The splits that have the headline score, validation first."""
        scored = self.entries[0].trials[0].scores
        found = [name for name, scores in scored.items() if self.headline in scores]
        return sorted(found, key=lambda name: name != "val")

    def as_json(self) -> dict[str, Any]:
        """What comparison.json holds."""
        return {
            "recipe": self.recipe,
            "data": self.data,
            "headline": self.headline,
            "higher_is_better": self.higher,
            "seeds": list(self.seeds),
            "ranked_by": "mean over seeds on the validation split",
            "cells": [
                {
                    "cell": entry.cell,
                    "scores": {
                        split: {
                            score: {
                                "mean": entry.mean(split, score),
                                "standard_deviation": entry.deviation(split, score),
                                "values": entry.values(split, score),
                            }
                            for score in entry.trials[0].scores[split]
                        }
                        for split in entry.trials[0].scores
                    },
                    "parameters": entry.trials[0].parameters,
                    "minutes": [trial.seconds / 60 for trial in entry.trials],
                    "best_epoch": [trial.best_epoch for trial in entry.trials],
                    "int8_flash_bytes_cortex_m4": entry.flash,
                }
                for entry in self.entries
            ],
            "baselines": self.baselines,
            "best_two": [entry.cell for entry in self.entries[:2]],
            "tests": [test.as_json() for test in self.tests],
        }


def compare(
    recipe: Recipe,
    config: Config,
    source: str | None,
    cells: Sequence[str],
    seeds: int,
    out: Path,
    *,
    resume: bool = False,
    hardware: Hardware | None = None,
    say: Say = lambda _: None,
) -> Comparison:
    """Train every cell with `seeds` seeds from config's on, and write comparison.json and .svg.

    The data are read once: every training has the same split. With resume, what an earlier call
    finished in `out` is kept, with further cells or seeds if there are; the rest of config must be
    the same. InputError if it is not, or for a cell that the recipe cannot have.
    """
    from edgernn.compare.picture import draw_comparison

    if len(set(cells)) < len(cells) or len(cells) < 1:
        raise InputError("name the cells to compare once each, separated by commas")
    dataset = recipe.read(source, config.options, config.settings.seed)
    require_sound(dataset)
    # What a recipe cannot have is refused before anything is trained.
    for cell in cells:
        recipe.network(dataset.facts, config_for(config, cell, 0).layers)
    _begin(out, config, source, resume)
    numbers = tuple(range(config.settings.seed, config.settings.seed + seeds))
    trained: dict[str, list[Trial]] = {cell: [] for cell in cells}
    headline, higher = recipe.ranked_by(config.options)
    for seed in numbers:
        for cell in cells:
            trial = run_trial(recipe, config_for(config, cell, seed), dataset, out, hardware)
            trained[cell].append(trial)
            say(f"{cell}, seed {seed}: {headline} {trial.scores['test'][headline]:.4f} on test")
    entries = [Entry(cell, tuple(trained[cell])) for cell in cells]
    sign = -1 if higher else 1
    entries.sort(key=lambda entry: sign * entry.mean("val", headline))
    found = Comparison(
        recipe.name,
        dataset.name,
        headline,
        higher,
        numbers,
        tuple(entries),
        recipe.baselines(dataset),
        _tests(entries, headline, higher),
    )
    draw_comparison(found, out / "comparison.svg")
    put_in_place(out, {"comparison.json": as_json(found.as_json())})
    return found


def _tests(entries: Sequence[Entry], headline: str, higher: bool) -> tuple[Test, ...]:
    if len(entries) < 2:
        return ()
    one, other = entries[:2]
    names = one.cell, other.cell
    both, sequences = f"{names[0]} against {names[1]} on test", len(one.losses)
    over_seeds = wilcoxon(
        f"{both}, {headline.replace('_', ' ')} over {len(one.trials)} seeds",
        one.values("test", headline),
        other.values("test", headline),
        names,
        higher,
    )
    if sequences < 2:
        return (over_seeds,)
    over_sequences = wilcoxon(
        f"{both}, loss over {sequences} sequences, mean over seeds",
        one.losses, other.losses, names, higher=False,
    )  # fmt: skip
    return over_seeds, over_sequences


def _begin(out: Path, config: Config, source: str | None, resume: bool) -> None:
    """Note what is compared, or see that it is what was begun."""
    settings = replace(config.settings, seed=0)
    described = replace(config, settings=settings).as_json()
    del described["layers"]["cell"], described["settings"]["seed"]
    # The split of the data, too, follows from the first seed.
    described |= {
        "seed": config.settings.seed,
        "sha256": digest(Path(source)) if source else None,
    }
    note = out / FOLDER / STARTED
    if not note.is_file():
        put_in_place(out / FOLDER, {STARTED: as_json(described)})
        return
    if not resume:
        raise InputError(
            f"{out} holds a comparison already; add --resume to go on with it, with further cells "
            "or seeds if you like, or choose another folder with --out"
        )
    try:
        begun = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EdgernnError(f"cannot read {note}: {error}") from None
    now = json.loads(as_json(described))
    wrong = sorted(key for key in now if begun.get(key) != now[key])
    if wrong:
        raise InputError(
            f"the comparison in {out} has other {', '.join(wrong)}; give what it was begun with, "
            "or choose another folder with --out"
        )
