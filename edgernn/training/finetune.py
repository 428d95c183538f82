"""Quantization-aware fine-tuning of a trained network, as a part of a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from torch import nn

from edgernn.float_file import FLOAT_FILE, float_to_bytes
from edgernn.importer.load import import_model
from edgernn.qat import IntegerNetwork
from edgernn.quantization import quantize_graph
from edgernn.runtime.file import to_bytes
from edgernn.sample import SAMPLE, write_sample
from edgernn.training.base import Config, Dataset, Recipe, Scores
from edgernn.training.exported import calibration
from edgernn.training.fit import Hardware, fit
from edgernn.training.predict import integer_outputs
from edgernn.training.run_folder import FINETUNED, calibration_split, example_of

RATE: Final = 0.1
"""Of the learning rate: the network is trained already."""


def finetune(
    recipe: Recipe,
    config: Config,
    dataset: Dataset,
    network: nn.Module,
    epochs: int,
    checkpoints: Path,
    resume: bool,
    hardware: Hardware,
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The files of the fine-tuned program, and its metrics beside those of the program that it
    began with. Where fine-tuning did not raise the validation score, that program is kept, and
    there are no files."""
    split = calibration_split(dataset.splits["train"], config.settings.seed)
    graph = import_model(network, example_of(split))
    quantized = quantize_graph(graph, calibration(split, graph))
    settings = replace(
        config.settings,
        epochs=epochs,
        learning_rate=RATE * config.settings.learning_rate,
        weight_decay=0.0,
        warmup=0,
        patience=0,
    )
    facts = dict(dataset.facts)
    fitted = fit(
        recipe,
        replace(config, settings=settings),
        dataset,
        checkpoints,
        network=IntegerNetwork(quantized),
        # Further training alone would leave the float network behind.
        teacher=network,
        resume=resume,
        hardware=replace(hardware, accelerator="cpu", devices="1", nodes=1, strategy="auto"),
        label="fine-tuning",
    )
    tuned: Any = fitted.network
    program = tuned.program()

    def scores(of: Any, facts: dict[str, Any]) -> dict[str, Scores]:
        return {
            name: recipe.score(integer_outputs(of, part), part, facts)
            for name, part in dataset.splits.items()
            if name != "train"
        }

    before, after = scores(quantized, facts), scores(program, dataset.facts)
    headline, higher = recipe.ranked_by(config.options)
    gain = after["val"][headline] - before["val"][headline]
    kept = gain >= 0 if higher else gain <= 0
    metrics: dict[str, Any] = {
        "scores": after if kept else before,
        "quantized": before,
        "kept": kept,
        "epochs": epochs,
        "best_epoch": fitted.best_epoch,
        "seconds": round(fitted.seconds, 1),
        "weights": dict(program.metadata["fine_tuning"]),
    }
    if not kept:
        # What was settled for the tuned program, such as a threshold, is not of this one.
        dataset.facts.clear()
        dataset.facts.update(facts)
        return {}, metrics
    files = {
        f"{FINETUNED}/model.safetensors": to_bytes(program),
        f"{FINETUNED}/{FLOAT_FILE}": float_to_bytes(program.float_model),
        f"{FINETUNED}/{SAMPLE}": write_sample(program.sample),
    }
    return files, metrics
