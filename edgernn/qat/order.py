"""Which operators run step by step: those in a loop through a state; all others need no loop.

Operators and states are the nodes of a graph. Its strongly connected components are what must take
turns over time; in topological order, one after the other runs over all steps.
Source: Tarjan 1972, "Depth-first search and linear graph algorithms".
"""

from __future__ import annotations

from dataclasses import dataclass

from edgernn.runtime.program import Operator, Program, State

Part = Operator | State


@dataclass(frozen=True)
class Segment:
    """Parts that run together. loop: step by step; else there is one part, for all steps at once.

    In a loop the states come first, then the operators in the program's order.
    """

    parts: tuple[Part, ...]
    loop: bool


def segments_of(program: Program) -> list[Segment]:
    """A program's operators and states, each once, in an order of execution."""
    parts: list[Part] = [*program.states, *program.operators]
    writer: dict[str, int] = {}
    for i, part in enumerate(parts):
        for name in (part.input,) if isinstance(part, State) else part.outputs:
            writer[name] = i
    reads = [
        [writer[n] for n in ((p.output,) if isinstance(p, State) else p.inputs) if n in writer]
        for p in parts
    ]
    segments = []
    for group in _components(reads):
        loop = len(group) > 1 or group[0] in reads[group[0]]
        segments.append(Segment(tuple(parts[i] for i in sorted(group)), loop))
    return segments


def _components(reads: list[list[int]]) -> list[list[int]]:
    """The strongly connected components, what is read before what reads it."""
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    found: list[list[int]] = []
    for root in range(len(reads)):
        if root in index:
            continue
        # Without recursion: a program may have more operators than Python has frames.
        work = [(root, iter(reads[root]))]
        index[root] = low[root] = len(index)
        stack.append(root)
        while work:
            node, rest = work[-1]
            for other in rest:
                if other not in index:
                    index[other] = low[other] = len(index)
                    stack.append(other)
                    work.append((other, iter(reads[other])))
                    break
                if other in stack:
                    low[node] = min(low[node], index[other])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    at = stack.index(node)
                    found.append(stack[at:])
                    del stack[at:]
    return found
