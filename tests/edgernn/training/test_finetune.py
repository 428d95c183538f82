"""Fine-tuning that did not help leaves nothing behind."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from edgernn.training.base import Dataset, Outputs, Scores, Split
from edgernn.training.finetune import finetune
from edgernn.training.fit import Hardware
from tests.edgernn.training.toy import Slopes, toy


class Settling(Slopes):
    """Settles which network it was, and likes the first one better."""

    def settle(self, network: nn.Module, dataset: Dataset) -> dict[str, Any]:
        return {"settled": type(network).__name__}

    def score(self, outputs: Outputs, split: Split, facts: Mapping[str, Any]) -> Scores:
        return {"accuracy": float(facts["settled"] == "SequenceNetwork")}


def test_what_was_settled_for_a_program_that_is_not_kept_goes_with_it(tmp_path: Path) -> None:
    _, config, dataset = toy(epochs=1)
    recipe = Settling()
    network = recipe.network(dataset.facts, config.layers).eval()
    dataset.facts["settled"] = "SequenceNetwork"
    files, metrics = finetune(
        recipe, config, dataset, network, 1, tmp_path, False, Hardware("cpu", "1")
    )
    assert not files
    assert not metrics["kept"]
    assert dataset.facts["settled"] == "SequenceNetwork"
    assert metrics["scores"]["test"] == {"accuracy": 1.0}
