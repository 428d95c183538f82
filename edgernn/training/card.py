"""The model card of a run: what it is, what it was trained on, how well it does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from edgernn.training.base import Config, Dataset, Recipe
from edgernn.training.run_folder import CURVES, versions

LISTED: Final = 24
"""Columns and classes, at most; facts.json has all."""


def model_card(recipe: Recipe, config: Config, dataset: Dataset, metrics: dict[str, Any]) -> str:
    """Markdown."""
    settings, layers = config.settings, config.layers
    shape = f"{layers.layers} x " if layers.layers > 1 else ""
    used = {k: v for k, v in config.options.items() if v not in (None, (), [], "")}
    train = dataset.splits["train"]
    lines = [
        f"# {config.recipe}: {shape}{layers.cell}({layers.hidden}) on {dataset.name}",
        "",
        f"Trained by edgernn in {metrics['seconds']:.0f} s; {metrics['parameters']:,} parameters; "
        f"the weights of epoch {metrics['best_epoch']} of {len(metrics['history'])}, which scored "
        f"best on the validation split by {metrics['headline'].replace('_', ' ')}.",
        "",
        "## Data",
        "",
        f"- {dataset.name}; split {dataset.split}",
        *(
            f"- {name}: {len(split):,} sequence{'s' * (len(split) != 1)}, "
            f"{int(split.lengths.sum()):,} steps"
            for name, split in dataset.splits.items()
        ),
        f"- inputs: {', '.join(train.inputs)}; features {dataset.facts['features']}",
        *_standardized(dataset.facts),
        *(f"- {k}: {dataset.facts[k]}" for k in ("source", "licence") if dataset.facts.get(k)),
        *(f"- {line}" for line in recipe.card(dataset.facts)),
        "",
        "## Scores",
        "",
        *_tables(metrics),
        "",
        f"![learning curves]({CURVES})",
        "",
        "## How",
        "",
        f"- settings: {_listed(vars(settings))}",
        f"- layers: {_listed(vars(layers))}",
        *([f"- options: {_listed(used)}"] if used else []),
        f"- versions: {_listed(versions())}",
        "",
        "## Use",
        "",
        "```",
        "edgernn export . --int8 --out build/",
        "```",
        "",
    ]
    return "\n".join(lines)


def _standardized(facts: Mapping[str, Any]) -> list[str]:
    """What a device does to its samples first."""
    columns, mean, std = (facts.get(name) for name in ("columns", "mean", "std"))
    if not columns or mean is None or std is None:
        return []
    if isinstance(mean, Mapping):
        said, how = list(columns), "less the mean, over std, of each stream: see facts.json"
    else:
        said = [f"{c} ({m:.6g}, {s:.6g})" for c, m, s in zip(columns, mean, std, strict=True)]
        how = "(mean, std): less the mean, over std"
    more = f" and {len(said) - LISTED} more in facts.json" if len(said) > LISTED else ""
    logs = f"; log(1 + value) first of {', '.join(facts['log'])}" if facts.get("log") else ""
    return [f"- columns: {', '.join(said[:LISTED])}{more}; {how}{logs}"]


def class_line(facts: Mapping[str, Any]) -> str:
    """The classes, in the order of the outputs."""
    classes = facts["classes"]
    more = f" and {len(classes) - LISTED} more in facts.json" if len(classes) > LISTED else ""
    return f"classes, in the order of the outputs: {', '.join(classes[:LISTED])}{more}"


def _listed(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _tables(metrics: dict[str, Any]) -> list[str]:
    from edgernn.training.train import score_tables

    lines: list[str] = []
    for header, rows in score_tables(metrics):
        lines += [""] if lines else []
        lines += ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
        lines += ["| " + " | ".join(row) + " |" for row in rows]
    return lines
