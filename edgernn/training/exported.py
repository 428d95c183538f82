"""From a run folder to an integer program: what `edgernn export run/` needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgernn.exporting import RECIPE_FILE
from edgernn.folder import C_FOLDER
from edgernn.graph import Graph
from edgernn.importer.load import import_model
from edgernn.quantization import Quantized, QuantizedWindow, with_float
from edgernn.runtime.file import load_any
from edgernn.runtime.program import Program
from edgernn.runtime.window import Window
from edgernn.training.base import Scores, Split
from edgernn.training.predict import float_outputs, integer_outputs
from edgernn.training.run_folder import CALIBRATION, FINETUNED, Run, as_json, example_of


@dataclass(frozen=True)
class Compared:
    """One split scored with the float network and with the integer program."""

    split: str
    float_scores: Scores
    int8_scores: Scores


def imported(run: Run, heads: Any = "logits") -> Graph:
    """The float graph of a run's network."""
    return import_model(run.network(), example_of(run.split(CALIBRATION)), heads)


def calibration(split: Split, graph: Graph) -> dict[str, Any]:
    """What was kept of the training data, by the graph's inputs."""
    return {
        name: list(split.arrays[own]) for name, own in zip(graph.inputs, split.inputs, strict=True)
    }


def finetuned(run: Run) -> Quantized | QuantizedWindow | None:
    """The integer program that fine-tuning saw, if the run had it."""
    from edgernn.float_file import FLOAT_FILE, float_model_of
    from edgernn.sample import SAMPLE, read_sample

    folder = run.folder / FINETUNED
    if not (folder / "model.safetensors").is_file():
        return None
    program = load_any(folder / "model.safetensors")
    float_model = float_model_of(program, folder / FLOAT_FILE)
    sample = read_sample(folder / SAMPLE, list(float_model.graph.inputs))
    return with_float(program, float_model, sample)


def compared(run: Run, program: Program | Window) -> list[Compared]:
    """The scores of float and int8 on every split that the run kept."""
    recipe, network = run.recipe, run.network()
    found = []
    for name in run.scored:
        split = run.split(name)
        found.append(
            Compared(
                name,
                recipe.score(float_outputs(network, split), split, run.facts),
                recipe.score(integer_outputs(program, split), split, run.facts),
            )
        )
    return found


def beside(
    run: Run, scores: list[Compared], program: Program | Window, c_name: str | None
) -> dict[str, bytes]:
    """What travels beside the program: recipe.json with the recipe, its facts (columns, mean and
    std of the standardization, classes, vocabulary) and the scores; with a C name, what the recipe
    has in C around the step."""
    recipe, by_split = run.recipe, {one.split: one.int8_scores for one in scores}
    described = {
        "recipe": run.config.recipe,
        "options": run.config.options,
        "layers": vars(run.config.layers),
        "facts": run.facts,
        "application": recipe.application(run.facts, by_split),
        "data": run.data,
        "headline": recipe.ranked_by(run.config.options)[0],
        "scores": {
            one.split: {"float": one.float_scores, "int8": one.int8_scores} for one in scores
        },
    }
    files = {RECIPE_FILE: as_json(described)}
    if c_name is not None:
        own = recipe.device_files(run.facts, by_split, program, c_name)
        files |= {f"{C_FOLDER}/{name}": data for name, data in own.items()}
    return files
