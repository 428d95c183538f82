"""What a network of a recipe takes on a device, trained or, nearly the same, before it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from edgernn.budget.subject import as_model
from edgernn.exporters.c.model import Model
from edgernn.exporters.c.window_model import WindowModel
from edgernn.training.base import Config, Dataset, Recipe
from edgernn.training.initialize import initialize
from edgernn.training.run_folder import example_of

SEQUENCES = 8
STEPS = 128
"""Of them: the scales that calibration gives hardly matter here."""


@dataclass(frozen=True)
class Priced:
    """model: the integer program on its way to C. steps: of the window that is priced, for one that
    reads windows; 1 for one that streams. parameters: of the float network."""

    model: Model | WindowModel
    steps: int
    parameters: int


def untrained(recipe: Recipe, config: Config, dataset: Dataset) -> Priced:
    """What a network will take, by its shape.

    Bytes and instructions of most cells follow from it; where a scale, which training moves,
    decides whether a value is rescaled, code may differ by some dozens of bytes.
    """
    torch.manual_seed(config.settings.seed)
    network = recipe.network(dataset.facts, config.layers)
    initialize(network)
    return priced(network, config, dataset)


def priced(network: nn.Module, config: Config, dataset: Dataset) -> Priced:
    """The integer program of a network; its weights are rounded the quick way, which costs the
    same bytes.

    A window is as long as those of truncated back-propagation, else as the longest training
    sequence. UnsupportedError for what cannot be lowered.
    """
    from edgernn.importer.load import import_model
    from edgernn.quantization import quantize_graph

    train = dataset.splits["train"]
    graph = import_model(network.eval(), example_of(train))
    rows = range(min(SEQUENCES, len(train)))
    data: dict[str, Any] = {
        name: [train.arrays[own][i][:STEPS] for i in rows]
        for name, own in zip(graph.inputs, train.inputs, strict=False)
    }
    program = quantize_graph(graph, data, rounding="nearest")
    model = as_model(program)
    steps = 1
    if isinstance(model, WindowModel):
        steps = config.settings.window or int(train.lengths.max())
    return Priced(model, steps, sum(p.numel() for p in network.parameters()))
