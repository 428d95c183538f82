"""What a trained network of paths says of one text."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgernn.recipes.paths import Tree, blend
from edgernn.recipes.text.trained import Trained
from edgernn.runtime.errors import InputError
from edgernn.runtime.window import Window
from edgernn.runtime.window_runtime import WindowRuntime

Answer = tuple[NDArray[np.float32], ...]


def answered(trained: Trained, text: str, with_float: bool = False) -> dict[str, list[list[str]]]:
    """What "int8" and "float" say: for each level its name, the class on the likeliest path, and
    its probability; float of a run folder, or with_float.

    InputError for a text without a token, or a folder without its float network.
    """
    ids, tree = trained.vocabulary.encode(text), Tree.from_facts(trained.facts)
    if not len(ids):
        raise InputError("the text has no words")
    column = ids[:, None].astype(np.float32)
    found: dict[str, Answer] = {}
    if trained.program is not None:
        if not isinstance(trained.program, Window):
            raise AssertionError("a network of paths reads windows")
        outputs = WindowRuntime(trained.program).run(column)
        found["int8"] = tuple(value[None] for value in outputs)
    if with_float or trained.program is None:
        found["float"] = _float(trained, column)
    return {name: _rows(tree, answer, trained.facts["alpha"]) for name, answer in found.items()}


def _rows(tree: Tree, answer: Answer, alpha: float) -> list[list[str]]:
    probabilities = blend([answer], tree.sizes, alpha)
    (path,) = tree.best(probabilities)
    return [
        [level, names[i], f"{p[0, i]:.3f}"]
        for level, names, p, i in zip(tree.levels, tree.classes, probabilities, path, strict=True)
    ]


def _float(trained: Trained, column: NDArray[np.float32]) -> Answer:
    from edgernn.float_engine import run_float

    graph: Any = trained.graph
    if graph is None:
        raise InputError(f"{trained.folder} no longer holds its float network; export it again")
    results = run_float(graph, {graph.inputs[0]: column[None]})[0]
    return tuple(value[0, -1:] for value in results.values())
