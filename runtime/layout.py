"""Where each tensor of a program lies in the engine's memory.

A matrix product reads its input and a constant 1 (for the bias) as one contiguous vector. Inputs
of a cell are laid side by side, [x | 1 | h], so that x with its 1, h with its 1, and, for small
cells, both at once are contiguous; of stacked cells the chain reads [x | 1 | h0 | 1 | h1].
"""

from __future__ import annotations

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
    aliases = {
        s.output: s.input for s in program.states if _replaceable(program, s.input, s.output)
    }
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


def _replaceable(program: Program, before: str, after: str) -> bool:
    """May `after` overwrite `before`? Only if nothing reads `before` once `after` is written."""
    writer = program.producer(after)
    if writer is None or writer.kind == "split":
        return False
    if sum(s.output == after for s in program.states) > 1 or before in program.outputs.values():
        return False
    index = program.operators.index(writer)
    # The writer itself may still read `before` after its first write.
    return not any(before in op.inputs for op in program.operators[index:])


def _reaches(right_of: dict[str, str], start: str, goal: str) -> bool:
    while start in right_of:
        start = right_of[start]
        if start == goal:
            return True
    return start == goal
