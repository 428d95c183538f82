"""Where each tensor of a program lies in the engine's memory.

A matrix product reads its input and a constant 1 (for the bias) as one contiguous vector. Inputs
of a cell are laid side by side, [x | 1 | h], so that x with its 1, h with its 1, and, for small
cells, both at once are contiguous; of stacked cells the chain reads [x | 1 | h0 | 1 | h1].
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from edgernn.runtime.program import Operator, Program


@dataclass(frozen=True)
class Pair:
    """Two neighbouring matrix products, `left` and `right`, whose inputs lie side by side."""

    left: Operator
    right: Operator


@dataclass(frozen=True)
class Layout:
    """chains: tensors that share one array, in order, each with a 1 before and after it.

    aliases: the next value of a state -> the state's input, whose memory it takes over.
    pairs: products that one stacked product may compute, by the name of the left one.
    """

    chains: tuple[tuple[str, ...], ...]
    aliases: dict[str, str]
    pairs: dict[str, Pair]


def plan_layout(program: Program) -> Layout:
    """Lay out what the matrix products read, and let states be updated in place."""
    aliases = _replaceable(program)
    right_of: dict[str, str] = {}
    pairs: dict[str, Pair] = {}
    for left, right in zip(program.operators, program.operators[1:], strict=False):
        if left.kind != "linear" or right.kind != "linear":
            continue
        a, b = (aliases.get(op.inputs[0], op.inputs[0]) for op in (left, right))
        if a == b or a in right_of or b in right_of.values() or _reaches(right_of, b, a):
            continue
        right_of[a] = b
        pairs[left.name] = Pair(left, right)
    read = dict.fromkeys(
        aliases.get(op.inputs[0], op.inputs[0]) for op in program.operators if op.kind == "linear"
    )
    heads = [name for name in read if name not in right_of.values()]
    chains = []
    for name in heads:
        chain = [name]
        while chain[-1] in right_of:
            chain.append(right_of[chain[-1]])
        chains.append(tuple(chain))
    return Layout(tuple(chains), aliases, pairs)


def split_roots(program: Program) -> dict[str, str]:
    """Part of a split -> the tensor it was cut from at first, whose memory it may lie in."""
    roots: dict[str, str] = {}
    for op in program.operators:
        if op.kind == "split":
            root = roots.get(op.inputs[0], op.inputs[0])
            roots.update(dict.fromkeys(op.outputs, root))
    return roots


def _replaceable(program: Program) -> dict[str, str]:
    """Next values that may overwrite their state: nothing reads it, or a part, any more."""
    roots = split_roots(program)
    writers = {name: i for i, op in enumerate(program.operators) for name in op.outputs}
    last_read = {
        roots.get(name, name): i for i, op in enumerate(program.operators) for name in op.inputs
    }
    next_values = [s.output for s in program.states]
    # Results are read after the last operator.
    kept = {roots.get(name, name) for name in (*program.outputs.values(), *next_values)}
    shared = {name for name, count in Counter(next_values).items() if count > 1}
    aliases: dict[str, str] = {}
    for state in program.states:
        before, after = state.input, state.output
        # A part lies in the memory of the whole, and an input has no writer.
        if after not in writers or after in roots or after in shared or before in kept:
            continue
        # The writer itself may still read `before` after its first write.
        if last_read.get(before, -1) < writers[after]:
            aliases[after] = before
    return aliases


def _reaches(right_of: dict[str, str], start: str, goal: str) -> bool:
    while start in right_of:
        start = right_of[start]
        if start == goal:
            return True
    return start == goal
