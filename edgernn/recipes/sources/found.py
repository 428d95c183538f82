"""Labelled sequences on their way from a source to a data set."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from numpy.typing import NDArray

Array = NDArray[Any]
LABELS: Final = ("y", "label")
SEQUENCES: Final = ("sequence", "series", "id")


@dataclass
class Part:
    """Sequences of one split; `whole` and `steps` hold further arrays of theirs."""

    x: list[Array]
    labels: Array
    steps: dict[str, list[Array]] = field(default_factory=dict)
    whole: dict[str, list[Array]] = field(default_factory=dict)

    def take(self, places: list[int]) -> Part:
        return Part(
            [self.x[i] for i in places],
            self.labels[places],
            {n: [a[i] for i in places] for n, a in self.steps.items()},
            {n: [a[i] for i in places] for n, a in self.whole.items()},
        )


@dataclass
class Found:
    """parts: by split, or under "" if the data have no splits. tokens: 0, or symbols there are."""

    parts: dict[str, Part]
    columns: list[str]
    classes: list[str] | None = None
    tokens: int = 0
    facts: dict[str, Any] = field(default_factory=dict)
