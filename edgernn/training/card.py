"""The model card of a run: what it is, what it was trained on, how well it does."""

from __future__ import annotations

from typing import Any

from edgernn.training.base import Config, Dataset, Recipe
from edgernn.training.run_folder import CURVES, versions


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
            f"- {name}: {len(split):,} sequences, {int(split.lengths.sum()):,} steps"
            for name, split in dataset.splits.items()
        ),
        f"- inputs: {', '.join(train.inputs)}; features {dataset.facts['features']}",
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
