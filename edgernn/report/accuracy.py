"""What labels say: accuracy and confusion of float and of int8, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgernn.budget.accuracy import Outputs, predictions, threshold_of
from edgernn.graph import Graph

Facts = dict[str, Any]


def classification(
    graph: Graph, outputs: Sequence[Outputs], labels: Sequence[NDArray[Any]]
) -> Facts | None:
    """Of the first output: accuracy, agreement, confusion matrices and the numbers of each class.

    outputs: of float and int8, for each sequence. labels: whole numbers, one for each sequence or
    each step. None where they are no classes.
    """
    output = graph.outputs[0]
    threshold = threshold_of(graph, output)
    pairs = [found[output.name] for found in outputs]
    wanted = np.concatenate([np.asarray(label).reshape(-1) for label in labels])
    real, whole = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    width = real.shape[1]
    if wanted.dtype.kind not in "iub" or (width == 1 and threshold is None):
        return None
    if threshold is not None and width > 1:
        # A decision for each feature is no choice of one class.
        return None
    floats, ints = predictions(real, threshold), predictions(whole, threshold)
    if len(floats) != len(wanted):
        return None
    counted = wanted >= 0
    wanted, floats, ints = wanted[counted].astype(np.int64), floats[counted], ints[counted]
    if not len(wanted):
        return None
    classes = width if threshold is None else 2
    if int(wanted.max()) >= classes:
        return None
    return {
        "output": output.name,
        "predictions": len(wanted),
        "classes": classes,
        "agreement": float(np.mean(floats == ints)),
        "float": _scores(wanted, floats, classes),
        "int8": _scores(wanted, ints, classes),
    }


def _scores(wanted: NDArray[np.int64], given: NDArray[np.int64], classes: int) -> Facts:
    """confusion: rows are labels, columns predictions. A share of nothing is None."""
    confusion = np.bincount(wanted * classes + given, minlength=classes**2)
    confusion = confusion.reshape(classes, classes)
    right, labelled, predicted = confusion.diagonal(), confusion.sum(1), confusion.sum(0)

    def shares(of: NDArray[np.int64]) -> list[float | None]:
        return [float(r) / int(n) if n else None for r, n in zip(right, of, strict=True)]

    return {
        "accuracy": float(right.sum()) / len(wanted),
        "confusion": confusion.tolist(),
        "recall": shares(labelled),
        "precision": shares(predicted),
        "support": labelled.tolist(),
    }
