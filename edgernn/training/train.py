"""A whole training: data, perhaps a teacher, the network, perhaps fine-tuning; then run/."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch

from edgernn.runtime.errors import InputError
from edgernn.training.base import SPLITS, Config, Dataset, Recipe, Scores
from edgernn.training.card import model_card
from edgernn.training.curves import draw_curves
from edgernn.training.fit import Fitted, Hardware, fit, is_main
from edgernn.training.run_folder import (
    CARD,
    CHECKPOINTS,
    CONFIG,
    CURVES,
    METRICS,
    WEIGHTS,
    as_json,
    digest,
    write_run,
)

Say = Callable[[str], object]
STARTED: Final = "started.json"
COLUMNS: Final = 7
"""Scores that a table shows; metrics.json has all."""


@dataclass(frozen=True)
class Plan:
    """What is trained beside the network itself. teacher: the cell of a network that is trained
    first, whose outputs the network then comes close to; "" for none. finetune: epochs of
    quantization-aware fine-tuning afterwards; 0 for none."""

    teacher: str = ""
    finetune: int = 0


@dataclass
class Trained:
    """What came of it."""

    dataset: Dataset
    fitted: Fitted
    metrics: dict[str, Any]


def train(
    recipe: Recipe,
    config: Config,
    source: str | None,
    out: Path,
    *,
    plan: Plan | None = None,
    resume: bool = False,
    hardware: Hardware | None = None,
    say: Say = lambda _: None,
) -> Trained:
    """Train, score, and write the run folder `out`.

    source: the data; None for the recipe's demonstration. resume: go on with an interrupted run,
    which must be the same one. say: told what begins.
    """
    plan = plan or Plan()
    if source and Path(source).is_dir() and Path(source).resolve() in out.resolve().parents:
        raise InputError(f"{out} lies in the data, {source}; write the run elsewhere with --out")
    dataset = recipe.read(source, config.options, config.settings.seed)
    require_sound(dataset)
    # What cannot be built is refused before anything is said or written.
    recipe.network(dataset.facts, config.layers)
    checkpoints = out / CHECKPOINTS
    if is_main():
        _begin(checkpoints, config, plan, source, resume)
    else:
        # One of them tells.
        say = str
    hardware = hardware or Hardware()
    try:
        return _trained(recipe, config, dataset, source, out, plan, resume, hardware, say)
    except InputError:
        if is_main() and not resume:
            # There is nothing to go on from: the same would happen again.
            shutil.rmtree(checkpoints, ignore_errors=True)
            with contextlib.suppress(OSError):
                out.rmdir()
        raise


def _trained(
    recipe: Recipe,
    config: Config,
    dataset: Dataset,
    source: str | None,
    out: Path,
    plan: Plan,
    resume: bool,
    hardware: Hardware,
    say: Say,
) -> Trained:
    checkpoints = out / CHECKPOINTS
    teacher: Fitted | None = None
    if plan.teacher:
        say(f"training the teacher, {plan.teacher}, that reads the future too")
        taught = replace(config, layers=replace(config.layers, cell=plan.teacher))
        if config.settings.stateful:
            taught = replace(taught, settings=replace(config.settings, stateful=False))
        teacher = fit(
            recipe, taught, dataset, checkpoints / "teacher",
            resume=resume, hardware=hardware, label="teacher",
        )  # fmt: skip
    say(f"training {config.layers.cell}({config.layers.hidden}) on {_described(dataset)}")
    fitted = fit(
        recipe, config, dataset, checkpoints / "network",
        teacher=None if teacher is None else teacher.network, resume=resume, hardware=hardware,
    )  # fmt: skip
    metrics = metrics_of(recipe, config, fitted, recipe.baselines(dataset) if fitted.main else {})
    if teacher is not None:
        metrics["teacher"] = {
            "cell": plan.teacher,
            "scores": teacher.scores,
            "parameters": teacher.parameters,
            "seconds": round(teacher.seconds, 1),
        }
    files: dict[str, bytes] = {}
    if plan.finetune:
        from edgernn.training.finetune import finetune

        say(f"fine-tuning the integer program for {plan.finetune} epochs")
        files, metrics["finetuned"] = finetune(
            recipe, config, dataset, fitted.network, plan.finetune,
            checkpoints / "finetune", resume, hardware,
        )  # fmt: skip
    if fitted.main:
        write_finished(out, recipe, config, dataset, source, fitted, metrics, files)
    return Trained(dataset, fitted, metrics)


def metrics_of(
    recipe: Recipe, config: Config, fitted: Fitted, baselines: dict[str, Scores]
) -> dict[str, Any]:
    """What metrics.json says of a trained network."""
    headline, higher = recipe.selects(config.options)
    return {
        "headline": headline,
        "higher_is_better": higher,
        "scores": fitted.scores,
        "baselines": baselines,
        "parameters": fitted.parameters,
        "best_epoch": fitted.best_epoch,
        "seconds": round(fitted.seconds, 1),
        "history": fitted.history,
    }


def write_finished(
    out: Path,
    recipe: Recipe,
    config: Config,
    dataset: Dataset,
    source: str | None,
    fitted: Fitted,
    metrics: dict[str, Any],
    files: dict[str, bytes],
) -> None:
    """Write the run folder of a trained network; files: further ones, by name."""
    from safetensors.torch import save

    checkpoints = out / CHECKPOINTS
    checkpoints.mkdir(parents=True, exist_ok=True)
    picture = checkpoints / CURVES
    draw_curves(fitted.history, metrics["headline"], fitted.best_epoch, picture)
    state = {k: v.detach().contiguous() for k, v in fitted.network.state_dict().items()}
    files = files | {
        WEIGHTS: save(state),
        METRICS: as_json(metrics),
        CURVES: picture.read_bytes(),
        CARD: model_card(recipe, config, dataset, metrics).encode(),
    }
    write_run(out, config, dataset, source, files)
    shutil.rmtree(checkpoints, ignore_errors=True)


def _begin(checkpoints: Path, config: Config, plan: Plan, source: str | None, resume: bool) -> None:
    """Note what is trained, or see that it is what was begun."""
    import json

    described: dict[str, Any] = config.as_json() | {"plan": asdict(plan)}
    described["sha256"] = digest(Path(source)) if source else None
    note = checkpoints / STARTED
    if resume:
        if not note.is_file():
            finished = (checkpoints.parent / CONFIG).is_file()
            raise InputError(
                f"{checkpoints.parent} holds no interrupted run"
                + (", but a finished one" if finished else "")
                + "; leave out --resume to train anew"
            )
        begun = json.loads(note.read_text(encoding="utf-8"))
        wrong = sorted(k for k in described if begun.get(k) != json.loads(as_json(described))[k])
        if wrong:
            raise InputError(
                f"the interrupted run in {checkpoints.parent} has other {', '.join(wrong)}; give "
                "what it was begun with, or leave out --resume to train anew"
            )
        return
    if checkpoints.is_dir():
        shutil.rmtree(checkpoints)
    try:
        checkpoints.mkdir(parents=True)
        note.write_bytes(as_json(described))
    except OSError as error:
        raise InputError(
            f"cannot write to {checkpoints.parent}: {error.strerror or error}; choose another "
            "folder with --out"
        ) from None


def require_sound(dataset: Dataset) -> None:
    """InputError for a dataset that nothing can be learnt from, whatever the recipe."""
    for name in SPLITS:
        split = dataset.splits.get(name)
        if split is None or not len(split):
            raise InputError(
                f"{dataset.name} has nothing in its {name} split; give more data, or say with "
                "--split what share each one gets"
            )
        if split.lengths.min() < 1:
            raise InputError(f"a sequence of the {name} split of {dataset.name} has no steps")
        for key in split.inputs:
            for i, array in enumerate(split.arrays[key]):
                if array.dtype.kind == "f" and not torch.isfinite(torch.from_numpy(array)).all():
                    raise InputError(
                        f"{key} of sequence {i} of the {name} split of {dataset.name} has a value "
                        "that is no finite number"
                    )


def _described(dataset: Dataset) -> str:
    train = dataset.splits["train"]
    many = f"{len(train):,} sequences" if len(train) > 1 else "one sequence"
    return f"{dataset.name}: {many}, {int(train.lengths.sum()):,} steps"


def score_tables(metrics: dict[str, Any]) -> list[tuple[list[str], list[list[str]]]]:
    """The tables of a run's scores, header and a row for each network and split: one table for all
    splits that are scored alike."""
    named: list[tuple[str, str, Scores]] = [("network", n, s) for n, s in metrics["scores"].items()]
    for key in ("teacher", "finetuned"):
        if key in metrics:
            label = "int8, fine-tuned" if metrics[key].get("kept") else "int8, as quantized"
            label = key if key == "teacher" else label
            named += [(label, n, s) for n, s in metrics[key]["scores"].items()]
    named += [(name, "test", scores) for name, scores in metrics["baselines"].items()]
    groups: dict[tuple[str, ...], list[str]] = {}
    for split, scores in metrics["scores"].items():
        groups.setdefault(tuple(k for k in scores if not k.startswith("_")), []).append(split)
    tables = []
    for names, splits in groups.items():
        columns = names[:COLUMNS]
        rows = [
            [label, split, *(f"{s[c]:.4f}" if c in s else "-" for c in columns)]
            for label, split, s in named
            if split in splits
        ]
        tables.append((["", "split", *(c.replace("_", " ") for c in columns)], rows))
    return tables
