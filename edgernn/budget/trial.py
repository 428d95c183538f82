"""The same model in other sizes and with other cells, priced on one device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from edgernn.budget.axes import Axis
from edgernn.budget.check import Verdict, check, check_model
from edgernn.budget.layouts import Layouts
from edgernn.budget.limits import Budget
from edgernn.budget.resize import lowered, resized
from edgernn.budget.subject import Subject, as_model
from edgernn.graph import Graph
from edgernn.runtime.errors import InputError, UnsupportedError

LARGEST: Final = 1024
"""Sizes beyond it are not tried, unless a layer is larger."""
UNEVEN: Final = 8
"""Kernels take 4 or 8 rows at a time, so one unit more may cost less; so far ahead is looked."""
FEW: Final = 8
"""The smallest sizes, of which one or the other may cost more than the next."""
Sizes = Mapping[int, int]


@dataclass(eq=False)
class Trial:
    """Verdicts on what a subject could be instead, each computed once."""

    subject: Subject
    budget: Budget
    _known: dict[tuple[tuple[int, int], ...], Verdict | None] = field(default_factory=dict)

    @cached_property
    def graph(self) -> Graph:
        """The float network."""
        if self.subject.float_model is None:
            raise InputError(f"other sizes of {self.subject.name} are not known: it has no floats")
        return self.subject.float_model.graph

    @cached_property
    def layouts(self) -> Layouts:
        """Its axes."""
        return Layouts(self.graph)

    @cached_property
    def own(self) -> Verdict:
        """The subject as it is."""
        return check(self.subject, self.budget)

    @cached_property
    def is_possible(self) -> bool:
        """Can the network be lowered again, as it is?"""
        return self._lowered(lambda: self.graph) is not None

    def of_sizes(self, sizes: Sizes) -> Verdict | None:
        """At other sizes, axis -> size; None if the network cannot be lowered so."""
        own = {axis: size for axis, size in sizes.items() if size != self.layouts.size(axis)}
        if not own:
            return self.own
        key = tuple(sorted(own.items()))
        if key not in self._known:
            self._known[key] = self._lowered(lambda: resized(self.layouts, own))
        return self._known[key]

    def of_graph(self, graph: Graph) -> Verdict | None:
        """Of another network; None if it cannot be lowered."""
        return self._lowered(lambda: graph)

    def _lowered(self, make: Callable[[], Graph]) -> Verdict | None:
        try:
            program = lowered(make(), self.subject.amplitudes)
        except (UnsupportedError, InputError):
            return None
        return check_model(as_model(program), self.subject.steps, self.budget)

    def fits(self, sizes: Sizes) -> bool:
        """Does it fit at other sizes?"""
        verdict = self.of_sizes(sizes)
        return verdict is not None and verdict.fits

    def together(self, axes: Mapping[int, Axis], size: int) -> dict[int, int]:
        """Sizes of several axes in the proportion they have, the largest of them `size`."""
        biggest = max(axis.size for axis in axes.values())
        sizes = {i: max(1, round(axis.size * size / biggest)) for i, axis in axes.items()}
        for i, axis in axes.items():
            for j, other in axes.items():
                if other.what == "projection" and axis.what == "hidden" and other.meets(axis):
                    # What is projected is larger than its projection.
                    sizes[i] = max(sizes[i], sizes[j] + 1)
        return sizes


def largest(fits: Callable[[int], bool], least: int, start: int, limit: int) -> int:
    """The largest number from least to limit that fits, of a cost that grows but for steps of its
    own: what is found fits and the next number does not. 0 if not even `least` fits.

    start: where to begin to look.
    """
    low = next((n for n in range(least, min(least + FEW, limit + 1)) if fits(n)), 0)
    if not low:
        return 0
    high = max(start, low)
    while high < limit and fits(high):
        low, high = high, min(limit, 2 * high)
    if fits(high):
        return high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    ahead = [n for n in range(low + 2, min(low + UNEVEN, limit) + 1) if fits(n)]
    return largest_run(fits, max([low, *ahead]), limit)


def largest_run(fits: Callable[[int], bool], size: int, limit: int) -> int:
    """The end of the run of fitting numbers that `size` begins."""
    while size < limit and fits(size + 1):
        size += 1
    return size
