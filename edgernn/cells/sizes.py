"""Sizes of a cell's arrays and values, as products of a few numbers, and those numbers from them.

A size is written as its factors, "3*hidden": numbers and names, each name one of NAMES or FACTORS.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Final

NAMES: Final = (
    "input", "hidden", "output", "projection", "attention", "filters", "columns", "groups",
    "w_rank", "u_rank",
)  # fmt: skip
"""Numbers of features. input: of each input of the cell; hidden: of its units."""
FACTORS: Final = ("taps", "span")
"""How often features are repeated: taps of a convolution, frames that a buffer holds."""


def names_of(size: str) -> tuple[int, tuple[str, ...]]:
    """The numbers of a size multiplied, and its names."""
    parts = size.split("*")
    number = math.prod(int(part) for part in parts if part.isdecimal())
    return number, tuple(part for part in parts if not part.isdecimal())


def evaluate(size: str, values: Mapping[str, int]) -> int:
    """ "3*hidden" with hidden = 8 -> 24."""
    number, names = names_of(size)
    return number * math.prod(values[name] for name in names)


def solve(known: Iterable[tuple[str, int]], values: Mapping[str, int]) -> dict[str, int]:
    """The value of every name in sizes that are known; `values`: names known beforehand.

    ValueError if two sizes contradict each other, or say too little.
    """
    found, left = dict(values), list(known)
    while left:
        open_sizes = []
        for size, total in left:
            number, names = names_of(size)
            unknown = [name for name in names if name not in found]
            product = number * math.prod(found[name] for name in names if name in found)
            if len(unknown) > 1:
                open_sizes.append((size, total))
            elif unknown and product and total % product == 0:
                found[unknown[0]] = total // product
            elif unknown or product != total:
                raise ValueError(f"a size is {total}, which is not {size}")
        if len(open_sizes) == len(left):
            raise ValueError(f"nothing says what {left[0][0]} is made of")
        left = open_sizes
    return found
