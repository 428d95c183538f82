"""What a classifier of text says after each word, and how far the word moved its state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgernn.graph import Graph
from edgernn.recipes.text.trained import Trained
from edgernn.recipes.text.vocabulary import UNKNOWN
from edgernn.runtime.engine import StepRuntime
from edgernn.runtime.errors import InputError
from edgernn.runtime.program import Program
from edgernn.runtime.window import Window
from edgernn.runtime.window_runtime import WindowRuntime

POOLS = ("mean_pooling", "max_pooling", "attention_pooling")


@dataclass(frozen=True)
class Reading:
    """A text word by word. ids: (T,). integer, float: probabilities (T, C) after each word, of the
    integer program and of the float network, None where there is none. moved: (T,) root mean square
    change of the recurrent states; None for a network that reads windows."""

    words: list[str]
    ids: NDArray[np.int64]
    classes: list[str]
    integer: NDArray[np.float64] | None
    float: NDArray[np.float64] | None
    moved: NDArray[np.float64] | None


def read_along(trained: Trained, text: str, with_float: bool = False) -> Reading:
    """Read a text. The integer program streams, token by token; one that reads windows reads each
    beginning of the text anew.

    with_float: the float network too; it is all there is in a run folder.
    InputError for a text without a token, or a network that does not classify.
    """
    vocabulary, classes = trained.vocabulary, trained.facts.get("classes")
    if not isinstance(classes, list):
        raise InputError(
            f"{trained.folder} is of the recipe {trained.recipe}, which has no classes; use "
            "--generate"
        )
    ids = vocabulary.encode(text)
    if not len(ids):
        raise InputError("the text has no words")
    integer = moved = floats = None
    if isinstance(trained.program, Window):
        integer = _softmax(_beginnings(trained.program, ids))
    elif trained.program is not None:
        logits, moved = _streamed(trained.program, ids)
        integer = _softmax(logits)
    if with_float or trained.program is None:
        if trained.graph is None:
            raise InputError(f"{trained.folder} no longer holds its float network; export it again")
        floats = _softmax(_float(trained.graph, ids))
    return Reading(vocabulary.split(text), ids, list(classes), integer, floats, moved)


def rows(reading: Reading) -> tuple[list[str], list[list[str]]]:
    """The table of a reading: header, and a row for each word."""
    header, found = ["word", "id"], [reading.integer, reading.float]
    if reading.moved is not None:
        header.append("state moved")
    named = {"int8": found[0], "float": found[1]}
    given: Mapping[str, NDArray[np.float64]] = {k: v for k, v in named.items() if v is not None}
    two = len(reading.classes) == 2
    for name in given:
        header += [f"p({reading.classes[1]}), {name}"] if two else [f"class, {name}", "p"]
    table = []
    for t, (word, token) in enumerate(zip(reading.words, reading.ids.tolist(), strict=True)):
        row = [word, "unknown" if token == UNKNOWN else str(token)]
        if reading.moved is not None:
            row.append(f"{reading.moved[t]:.3f}")
        for p in given.values():
            best = int(p[t].argmax())
            row += [f"{p[t, 1]:.3f}"] if two else [reading.classes[best], f"{p[t, best]:.3f}"]
        table.append(row)
    return header, table


def verdict(reading: Reading) -> str:
    """The class at the end."""
    p = reading.integer if reading.integer is not None else reading.float
    assert p is not None
    best = int(p[-1].argmax())
    return f"{reading.classes[best]}, p {p[-1, best]:.3f}"


def _streamed(
    program: Program, ids: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    runtime = StepRuntime(program)
    network: Any = program.metadata.get("network", [])
    pooled = {s for node in network if node["kind"] in POOLS for s in node.get("states", ())}
    scales = {
        s.name: float(program.tensors[s.input].scale)
        for s in program.states
        if s.name not in pooled
    }
    logits, moved, before = [], [], runtime.state
    for token in ids:
        logits.append(np.ravel(runtime.step(np.array([token], np.float32))))
        after = runtime.state
        change = [(after[n].astype(np.float64) - before[n]) * scale for n, scale in scales.items()]
        moved.append(float(np.sqrt(np.mean(np.square(np.concatenate(change))))))
        before = after
    return np.array(logits, np.float64), np.array(moved)


def _beginnings(window: Window, ids: NDArray[np.int64]) -> NDArray[np.float64]:
    runtime = WindowRuntime(window)
    column = ids[:, None].astype(np.float32)
    return np.array([np.ravel(runtime.run(column[: t + 1])) for t in range(len(ids))], np.float64)


def _float(graph: Graph, ids: NDArray[np.int64]) -> NDArray[np.float64]:
    from edgernn.float_engine import run_float

    (name,) = graph.inputs
    column = ids[None, :, None].astype(np.float32)
    if not graph.is_window:
        (logits,) = run_float(graph, {name: column})[0].values()
        wide: NDArray[np.float64] = logits[0].astype(np.float64)
        return wide
    found = []
    for t in range(len(ids)):
        (logits,) = run_float(graph, {name: column[:, : t + 1]})[0].values()
        found.append(logits[0, -1])
    return np.array(found, np.float64)


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return result
