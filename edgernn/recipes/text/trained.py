"""A trained network of text: read from what `edgernn export` or `edgernn train` wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edgernn.exporting import RECIPE_FILE
from edgernn.graph import Graph
from edgernn.recipes.text.vocabulary import Vocabulary
from edgernn.runtime.errors import FileFormatError, InputError
from edgernn.runtime.program import Program
from edgernn.runtime.window import Window

PROGRAM: Final = "model.safetensors"


@dataclass(frozen=True)
class Trained:
    """program: None in a run folder, which has the float network alone. graph: the float network,
    None if the exported folder has lost it. facts: of the recipe."""

    folder: Path
    recipe: str
    facts: Mapping[str, Any]
    vocabulary: Vocabulary
    program: Program | Window | None
    graph: Graph | None


def read_trained(folder: Path) -> Trained:
    """The network in a folder and how it reads text.

    InputError for a folder of something else; FileFormatError for one that is damaged.
    """
    folder = folder if folder.is_dir() else folder.parent
    if (folder / RECIPE_FILE).is_file():
        return _exported(folder)
    if (folder / "config.json").is_file():
        return _run(folder)
    raise InputError(
        f"{folder} is of no network that reads text: it has no {RECIPE_FILE}; train one with "
        "`edgernn train sentiment` or `edgernn train generate`, and export it"
    )


def _exported(folder: Path) -> Trained:
    from edgernn.float_file import FLOAT_FILE, float_model_of
    from edgernn.runtime.file import load_any

    path = folder / RECIPE_FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        recipe, facts = str(found["recipe"]), dict(found["facts"])
    except (OSError, ValueError, TypeError, LookupError, RecursionError) as error:
        raise FileFormatError(f"{path} is damaged ({error}); export the run again") from None
    program = load_any(folder / PROGRAM)
    floats = folder / FLOAT_FILE
    graph = float_model_of(program, floats).graph if floats.is_file() else None
    return Trained(folder, recipe, facts, _vocabulary(path, recipe, facts), program, graph)


def _run(folder: Path) -> Trained:
    from edgernn.training.run_folder import FACTS, read_run

    run = read_run(folder)
    vocabulary = _vocabulary(folder / FACTS, run.config.recipe, run.facts)
    # Here because it brings torch.
    from edgernn.training.exported import imported

    return Trained(folder, run.config.recipe, run.facts, vocabulary, None, imported(run))


def _vocabulary(path: Path, recipe: str, facts: Mapping[str, Any]) -> Vocabulary:
    if "vocabulary" not in facts:
        raise InputError(f"{path} is of the recipe {recipe}, which does not read text")
    return Vocabulary.from_json(facts["vocabulary"], str(path))
