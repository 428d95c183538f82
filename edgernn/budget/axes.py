"""Sizes of a network, as its layers have them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

Layout = tuple[int, ...]
"""Axes, in the order of the features."""
UNITS: Final = {
    "hidden": "hidden units",
    "projection": "projected units",
    "output": "fed-back outputs",
    "attention": "attention units",
    "filters": "channels",
    "features": "features",
    "rows": "tokens",
}
"""Axes of their own, and what they count; any other is fixed."""


@dataclass
class Axis:
    """A size. layers: the nodes whose size it is. what: of UNITS, or "" for none of its own.
    fixed: why it cannot change, "" if it can. least: the smallest it may be. returned: the model
    returns values of this size."""

    size: int
    what: str = ""
    layers: list[str] = field(default_factory=list)
    fixed: str = ""
    least: int = 1
    returned: bool = False

    def meets(self, other: Axis) -> bool:
        """Is there a layer that has both?"""
        return not set(self.layers).isdisjoint(other.layers)
