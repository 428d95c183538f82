"""Numbers for symbolic sizes, so that a graph exported for any batch can be read and checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from torch.export import ExportedProgram

_PRIMES: Final = (3, 5, 7, 11, 13, 17, 19, 23)


def symbol_values(program: ExportedProgram) -> dict[Any, int]:
    """A small number for every symbol in the inputs' shapes, within its allowed range.

    They differ from each other, so that batch and time cannot be taken for one another.
    """
    chosen: dict[Any, int] = {}
    for node in program.graph.nodes:
        if node.op != "placeholder":
            continue
        for size in getattr(node.meta.get("val"), "shape", ()):
            for symbol in () if isinstance(size, int) else size.node.expr.free_symbols:
                if symbol not in chosen:
                    chosen[symbol] = _choose(program, symbol, chosen.values())
    return chosen


def concrete_shape(shape: Iterable[Any], symbols: Mapping[Any, int]) -> tuple[int, ...]:
    """A shape with numbers in place of symbols."""
    return tuple(n if isinstance(n, int) else int(n.node.expr.subs(symbols)) for n in shape)


def _choose(program: ExportedProgram, symbol: Any, taken: Iterable[int]) -> int:
    bounds: Any = program.range_constraints.get(symbol)
    low, high = 2, 1 << 30
    if bounds is not None:
        low = max(low, _bound(bounds.lower, low))
        high = _bound(bounds.upper, high)
    used = set(taken)
    candidates: list[int] = [*_PRIMES, *range(low, low + 64)]
    for candidate in candidates:
        if low <= candidate <= high and candidate not in used:
            return candidate
    return min(low, high)


def _bound(value: Any, otherwise: int) -> int:
    # Infinity is a sympy object of its own.
    return int(value) if isinstance(value, int) or value.is_Integer else otherwise
