"""How far back a simple RNN, an LSTM and a GRU remember: recall and adding, by length.

    python -m benchmarks.memory [--seeds 0,1,2] [--save]

recall: eight symbols, the first step shows which one counts, noise follows, and at the end it is
asked for (accuracy; by chance 0.125). adding: two of T numbers are marked, their sum is asked for
(mean square error; 0.167 for always saying 1); both after Hochreiter and Schmidhuber 1997. All
networks have 32 units; trained by `edgernn.training` as a recipe would be.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Final

import click
import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import records
from edgernn.console import table
from edgernn.exporters.c.model import Model
from edgernn.footprint.estimate import estimates
from edgernn.importer import import_model
from edgernn.quantization import quantize_graph
from edgernn.recipes.scores import class_scores
from edgernn.training.base import Config, Dataset, Layers, Outputs, Recipe, Scores, Settings, Split
from edgernn.training.fit import fit
from edgernn.training.gradients import gradient_norms
from edgernn.training.initialize import initialize
from edgernn.training.losses import cross_entropy
from edgernn.training.network import SequenceNetwork

CELLS: Final = ("rnn", "lstm", "gru")
LENGTHS: Final = (10, 30, 100, 200)
SYMBOLS: Final = 8
COUNTS: Final = {"train": 2000, "val": 300, "test": 500}
SETTINGS: Final = Settings(epochs=16, batch_size=50, learning_rate=5e-3, weight_decay=0.0)
CORE: Final = "Cortex-M4"


class Recall(Recipe):
    """The symbol of the first step, asked for at the last."""

    name: ClassVar[str] = "recall"
    headline: ClassVar[str] = "accuracy"
    outputs: ClassVar[int] = SYMBOLS
    features: ClassVar[int] = SYMBOLS + 1

    def read(self, source: str | None, options: Mapping[str, Any], seed: int) -> Dataset:
        """`options["steps"]` of them."""
        splits = {
            name: self.sequences(count, int(options["steps"]), np.random.default_rng((seed, i)))
            for i, (name, count) in enumerate(COUNTS.items())
        }
        facts = {"features": [self.features]}
        return Dataset(splits, facts, f"{self.name} {options['steps']}", "generated")

    def sequences(self, count: int, steps: int, generator: np.random.Generator) -> Split:
        """One-hot symbols and noise; the last column says that it is asked for."""
        x = np.zeros((count, steps, self.features), np.float32)
        noise = generator.integers(SYMBOLS, size=(count, steps))
        np.put_along_axis(x, noise[:, :, None], 0.3, axis=2)
        y = generator.integers(SYMBOLS, size=count)
        x[:, 0] = 0
        x[np.arange(count), 0, y] = 1
        x[:, -1, -1] = 1
        return Split({"x": list(x), "y": list(y)})

    def network(self, facts: Mapping[str, Any], layers: Layers) -> nn.Module:
        """Answers once."""
        return SequenceNetwork(self.features, self.outputs, layers, "once")

    def loss(self, outputs: tuple[Tensor, ...], batch: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy."""
        return cross_entropy(outputs[0], batch["y"])

    def score(self, outputs: Outputs, split: Split, facts: Mapping[str, Any]) -> Scores:
        """Accuracy."""
        logits = np.stack([output[0][-1] for output in outputs])
        return class_scores(logits, np.array(split.arrays["y"]))


class Adding(Recall):
    """The sum of two marked numbers."""

    name: ClassVar[str] = "adding"
    headline: ClassVar[str] = "mse"
    higher: ClassVar[bool] = False
    outputs: ClassVar[int] = 1
    features: ClassVar[int] = 2

    def sequences(self, count: int, steps: int, generator: np.random.Generator) -> Split:
        """Numbers from 0 to 1, and a mark on one in each half."""
        x = np.zeros((count, steps, 2), np.float32)
        x[:, :, 0] = generator.random((count, steps))
        half, rows = steps // 2, np.arange(count)
        places = (generator.integers(half, size=count), generator.integers(half, steps, size=count))
        y = np.zeros(count, np.float32)
        for place in places:
            x[rows, place, 1] = 1
            y += x[rows, place, 0]
        return Split({"x": list(x), "y": list(y)})

    def loss(self, outputs: tuple[Tensor, ...], batch: Mapping[str, Tensor]) -> Tensor:
        """Mean square error."""
        return (outputs[0][:, 0] - batch["y"]).square().mean()

    def score(self, outputs: Outputs, split: Split, facts: Mapping[str, Any]) -> Scores:
        """Mean square error."""
        found = np.array([output[0][-1, 0] for output in outputs])
        return {"mse": float(np.mean((found - np.array(split.arrays["y"])) ** 2))}


RECIPES: Final[dict[str, Recipe]] = {"recall": Recall(), "adding": Adding()}


def measured(seeds: list[int]) -> Iterator[dict[str, Any]]:
    """A record for each task, length, cell and seed."""
    for name, recipe in RECIPES.items():
        for steps in LENGTHS:
            for cell in CELLS:
                for seed in seeds:
                    settings = Settings(**{**vars(SETTINGS), "seed": seed})
                    config = Config(name, settings, Layers(cell, hidden=32), {"steps": steps})
                    dataset = recipe.read(None, config.options, seed)
                    fitted = fit(recipe, config, dataset)
                    score = fitted.scores["test"][recipe.headline]
                    yield {
                        "task": name, "steps": steps, "cell": cell, "seed": seed,
                        "score": round(score, 5), "seconds": round(fitted.seconds, 1),
                    }  # fmt: skip


def costs() -> dict[str, dict[str, float]]:
    """Of each cell as a layer of 32 units with a head: parameters, bytes, instructions, and the
    steps in which its gradient halves before training."""
    found = {}
    recipe = RECIPES["recall"]
    dataset = recipe.read(None, {"steps": 100}, 0)
    for cell in CELLS:
        torch.manual_seed(0)
        network = recipe.network(dataset.facts, Layers(cell, hidden=32))
        initialize(network)
        norms = gradient_norms(network, recipe, dataset.splits["test"])
        x = np.stack(dataset.splits["train"].arrays["x"][:64])
        graph = import_model(network.eval(), (torch.from_numpy(x[:2]),))
        program: Any = quantize_graph(graph, {"x": x})
        on = next(t for t in estimates(Model(program, "model")).values() if t["core"] == CORE)
        found[cell] = {
            "parameters": sum(p.numel() for p in network.parameters()),
            "flash": on["flash_bytes"],
            "ram": on["ram_bytes"],
            "instructions": on["instructions_per_step"],
            "gradient_after_20": float(norms[20]),
            "gradient_after_80": float(norms[80]),
        }
    return found


@click.command()
@click.option("--seeds", default="0,1,2", show_default=True)
@click.option("--save", is_flag=True, help="Keep it for RESULTS.md and docs/which-cell.md.")
def main(seeds: str, save: bool) -> None:
    """Train them all; some minutes."""
    torch.set_num_threads(1)
    found = []
    for record in measured([int(s) for s in seeds.split(",")]):
        click.echo("  ".join(f"{v}" for v in record.values()), err=True)
        found.append(record)
        if save:
            records.save(records.result("memory", found, costs=costs() if len(found) == 1 else
                                        (records.load("memory") or {}).get("costs")))  # fmt: skip
    rows = []
    for name in RECIPES:
        for cell in CELLS:
            chosen = [r for r in found if r["task"] == name and r["cell"] == cell]
            means = [np.mean([r["score"] for r in chosen if r["steps"] == n]) for n in LENGTHS]
            rows.append([name, cell, *(f"{m:.3f}" for m in means)])
    click.echo(table(["task", "cell", *(f"{n} steps" for n in LENGTHS)], rows))


if __name__ == "__main__":
    main()
