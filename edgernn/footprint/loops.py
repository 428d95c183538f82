"""What a fused loop costs, counted: in all loops, in its like, and in those called in its way."""

from __future__ import annotations

from collections import Counter
from typing import Final

from edgernn.footprint.features import Function

PRESSURES: Final = (3, 6, 10, 15, 22)
"""Values that want registers: what is beyond such a number costs more."""


def loop_instructions(function: Function, lanes: int) -> list[Counter[str]]:
    """The same for the calls of a loop: of all loops what they have in common, of its like, and of
    those that are called in the same way."""
    return [_call_instructions(function, size, lanes) for size in function.sizes]


def _call_instructions(function: Function, size: int, lanes: int) -> Counter[str]:
    form, turns = function.form(lanes), -(-size // lanes)
    single, partial = "single" in form, size % lanes != 0
    counts = Counter({"loop call": 1, f"loop call {form}": 1})
    counts["loop call pointer"] = function.pointers
    counts["loop turn"] = turns
    counts[f"loop turn {form}"] = turns
    counts["loop turn partial access"] = turns * function.accesses * partial
    for operator, number in function.operators.items():
        counts[f"turn {operator}"] = turns * number
        counts[f"call {operator}"] = number
        counts[f"single {operator}"] = single * number
    for limit in PRESSURES:
        excess = max(0, function.pressure - limit)
        counts[f"turn pressure {limit}"] = turns * excess
        counts[f"call pressure {limit}"] = excess
    for name in (function.key, function.name(lanes)):
        # A function for several sizes may have two loops, one for those that are multiples.
        kind = "partial " if "mixed" in form and partial and name != function.key else ""
        counts[f"{kind}call {name}"] = 1
        counts[f"{kind}turn {name}"] = turns
    return +counts


def loop_code(function: Function, lanes: int) -> Counter[str]:
    """The same for a loop; one function whatever the number of its calls."""
    form = function.form(lanes)
    counts = Counter({"loop": 1, f"loop {form}": 1, "loop pointer": function.pointers})
    single = "single" in form
    for operator, number in function.operators.items():
        counts[f"code {operator}"] = number
        counts[f"single {operator}"] = single * number
        counts[f"several {operator}"] = ("any" in form or "partial" in form) * number
    counts["loop access"] = function.accesses
    counts["loop partial access"] = function.accesses * ("partial" in form or "mixed" in form)
    for limit in PRESSURES:
        counts[f"loop pressure {limit}"] = max(0, function.pressure - limit)
    counts[f"code {function.key}"] = counts[f"code {function.name(lanes)}"] = 1
    further = len(function.sizes) - 1
    counts["loop further call"] = further
    counts["loop further argument"] = further * (function.pointers + 1)
    return +counts


def frame(function: Function, lanes: int) -> Counter[str]:
    """What the stack of a loop is a sum of."""
    form = function.form(lanes)
    counts = Counter({"frame": 1, f"frame {form}": 1, "frame pointer": function.pointers})
    for operator, number in function.operators.items():
        # However many there are: what they work with lies in the same place.
        counts[f"frame {operator}"] = min(number, 3)
    for limit in PRESSURES:
        counts[f"frame pressure {limit}"] = max(0, function.pressure - limit)
    counts[f"frame {function.key}"] = counts[f"frame {function.name(lanes)}"] = 1
    return +counts
