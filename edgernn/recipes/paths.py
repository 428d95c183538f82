"""Paths of labels: which class is under which, and the best path for what a network says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgernn.runtime.errors import InputError

Probabilities = list[NDArray[np.float64]]
"""For each level (N, C)."""
Places = NDArray[np.int64]


@dataclass(frozen=True)
class Tree:
    """Classes of several levels. levels: their names. classes: of each level. parents: for each
    level but the first, the place in the level above of each class's parent."""

    levels: tuple[str, ...]
    classes: tuple[tuple[str, ...], ...]
    parents: tuple[tuple[int, ...], ...]

    @classmethod
    def of(
        cls,
        source: str,
        classes: Mapping[str, Sequence[str]],
        labels: Mapping[str, Sequence[str]],
    ) -> Tree:
        """The tree that labels, level -> one for each text, are paths of.

        InputError for a class that is under several others.
        """
        levels = tuple(classes)
        parents = []
        for above, level in pairwise(levels):
            found: dict[str, str] = {}
            for parent, child in zip(labels[above], labels[level], strict=True):
                if found.setdefault(child, parent) != parent:
                    raise InputError(
                        f"{source}: {level} {child!r} is under {found[child]!r} and under "
                        f"{parent!r}; give each its own name, such as {parent + '/' + child!r}"
                    )
            places = {name: i for i, name in enumerate(classes[above])}
            parents.append(tuple(places[found[name]] for name in classes[level]))
        return cls(levels, tuple(tuple(classes[level]) for level in levels), tuple(parents))

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Tree:
        """The tree that the facts of a data set hold."""
        return cls(
            tuple(facts["levels"]),
            tuple(tuple(names) for names in facts["classes"]),
            tuple(tuple(parents) for parents in facts["parents"]),
        )

    @property
    def sizes(self) -> tuple[int, ...]:
        """Classes of each level."""
        return tuple(len(names) for names in self.classes)

    def paths(self) -> Places:
        """The classes on the way to each class of the last level: (C_last, levels)."""
        columns = [np.arange(self.sizes[-1])]
        for parents in reversed(self.parents):
            columns.append(np.array(parents)[columns[-1]])
        return np.stack(columns[::-1], axis=1).astype(np.int64)

    def best(self, probabilities: Probabilities) -> Places:
        """The path with the largest product of probabilities, (N, levels)."""
        paths = self.paths()
        total = sum(
            np.log(np.maximum(p, 1e-30))[:, paths[:, i]] for i, p in enumerate(probabilities)
        )
        best: Places = paths[np.asarray(total).argmax(axis=1)]
        return best

    def consistency(self, chosen: Places) -> float:
        """The share of (N, levels) classes below the first level whose parent was chosen too."""
        held = [
            np.array(parents)[chosen[:, i + 1]] == chosen[:, i]
            for i, parents in enumerate(self.parents)
        ]
        return float(np.mean(held))


def alone(probabilities: Probabilities) -> Places:
    """The likeliest class of each level for itself, (N, levels)."""
    return np.stack([p.argmax(axis=1) for p in probabilities], axis=1)


def blend(
    outputs: Sequence[tuple[NDArray[np.float32], ...]], sizes: Sequence[int], alpha: float
) -> Probabilities:
    """(1 - alpha) P_L + alpha P_G of each level, (N, C).

    outputs: for each text the logits of each level (1, C) and those of all together.
    """
    logits = [np.stack([o[i][-1] for o in outputs]) for i in range(len(sizes) + 1)]
    overall = np.split(logits[-1], np.cumsum(sizes)[:-1], axis=1)
    return [
        (1 - alpha) * softmax(own) + alpha * softmax(part)
        for own, part in zip(logits[:-1], overall, strict=True)
    ]


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """softmax over the last axis."""
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    result: NDArray[np.float64] = powers / powers.sum(axis=-1, keepdims=True)
    return result
