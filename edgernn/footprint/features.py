"""What a C step consists of, counted: the quantities that its costs are sums of.

A product's instructions are an exact function of its shape. A loop's are proportional to its
elements; the compiler may put it into the step, and knows more or less about its length.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import or_
from typing import Final

from edgernn.exporters.c.actions import Action, Copy, Loop, Multiply, Row
from edgernn.exporters.c.loops import text_of, vectors
from edgernn.exporters.c.model import Model
from edgernn.exporters.c.numbers import fits_32_bits
from edgernn.runtime.state import stored_size

TABLE_USERS: Final = ("logistic", "tanh")
PLAIN_CONSTANTS: Final = ("0", "12", str(1 << 30))
"""No shift, the scale of gates, and a factor of a half: what the engine has shorter code for."""
TRACKED_BYTES: Final = 256
"""Of a larger object GCC does not follow which bytes are overwritten."""
ROW: Final = "row call"
"""An embedding's row is fetched."""
PRODUCT: Final = "product"
"""A matrix product is called."""
CHUNK: Final = 512
"""Columns of a wide product that are summed in 32 bits at a time."""


@dataclass(frozen=True)
class Limits:
    """Most bytes that the compiler sets or copies in place, without calling the C library.

    memset: the state. memcpy: initial states, from constants. copy: between any places.
    """

    memset: int
    memcpy: int
    copy: int


@dataclass(frozen=True)
class Function:
    """A C function of a model: a loop, and the sizes of all its calls.

    calls: the places of its calls among the actions of the step.
    key: equal for loops that do the same to different data, a cell and its like in other sizes.
    Of constants only those count that leave out an instruction.
    """

    loop: Loop
    sizes: tuple[int, ...]
    calls: tuple[int, ...] = ()

    @cached_property
    def key(self) -> str:
        """Of the body."""
        text = re.sub(r", (-?\d+)\b", _constant, _text(self.loop))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def form(self, lanes: int) -> str:
        """What the compiler knows: is there but one call, which then needs no function, and of n
        its value, whether it is one turn of the loop, and whether the last turn is a whole one.

        lanes: elements that a loop takes at a time.
        """
        first = self.sizes[0]
        if len(set(self.sizes)) == 1:
            length = "single" if first <= lanes else "several"
            calls = "once" if len(self.sizes) == 1 else "shared"
            return f"{calls} {length} {'partial' if first % lanes else 'whole'}"
        # GCC knows the bits that all sizes have in common.
        common = ~reduce(or_, (size ^ first for size in self.sizes))
        if first & common & (lanes - 1):
            return "shared any partial"
        return f"shared any {'mixed' if any(size % lanes for size in self.sizes) else 'whole'}"

    def name(self, lanes: int) -> str:
        """Of what a price is kept for."""
        return f"{self.key} {self.form(lanes)}"

    @property
    def pointers(self) -> int:
        """Arrays in memory that the loop works on, tables among them."""
        return len(self.loop.loads) + len(self.loop.stores) + len(self.loop.tables)

    @property
    def accesses(self) -> int:
        """Loads and stores of a turn."""
        loads = sum(vector.size == self.loop.size for vector, _ in self.loop.loads)
        return loads + len(self.loop.stores)

    @cached_property
    def operators(self) -> Counter[str]:
        """Calls of the engine's lane functions in the body; each also with its constants."""
        counts: Counter[str] = Counter()
        for name, arguments in re.findall(r"edgernn_(\w+)\(([^;]*)\);", _text(self.loop)):
            constants = re.findall(r", (-?\d+)\b", arguments)
            counts[name] += 1
            if constants:
                shown = (n if n in PLAIN_CONSTANTS else "n" for n in constants)
                counts[f"{name} {','.join(shown)}"] += 1
        return counts

    @cached_property
    def pressure(self) -> int:
        """What wants a register: pointers, and the most values that wait at the same time."""
        last = {v: i for i, o in enumerate(self.loop.operations) for v in o.inputs}
        end = len(self.loop.operations)
        last |= {v: end for v, _ in self.loop.stores}
        last |= {v: end for v, _ in self.loop.loads if v.size != self.loop.size}
        waiting = {v for v, _ in self.loop.loads if v.size != self.loop.size}
        most = len(waiting)
        for i, operation in enumerate(self.loop.operations):
            waiting |= {*operation.inputs, operation.output}
            most = max(most, len(waiting))
            waiting = {v for v in waiting if last.get(v, -1) > i}
        return most + self.pointers


def _constant(match: re.Match[str]) -> str:
    number = match[1]
    return f", {number if number in PLAIN_CONSTANTS else 'number'}"


def functions(model: Model) -> list[Function]:
    """The loops of a model: those with the same body are one function."""
    calls: dict[str, list[int]] = defaultdict(list)
    actions = model.schedule.actions
    loops: dict[str, Loop] = {}
    for index, action in enumerate(actions):
        if isinstance(action, Loop):
            text = _text(action)
            loops.setdefault(text, action)
            calls[text].append(index)
    return [
        Function(
            loop,
            tuple(a.size for a in (actions[i] for i in calls[text]) if isinstance(a, Loop)),
            tuple(calls[text]),
        )
        for text, loop in loops.items()
    ]


def _text(loop: Loop) -> str:
    return text_of(loop, {v: f"v{i}" for i, v in enumerate(vectors(loop))})


def instruction_features(model: Model, limits: Limits) -> Counter[str]:
    """Quantities that the instructions of one step are a weighted sum of, loops apart."""
    counts = step_features(model)
    for action in model.schedule.actions:
        counts.update(action_features(action, limits))
    return +counts


def step_features(model: Model) -> Counter[str]:
    """Of a step that does nothing."""
    program = model.program
    return Counter(step=1, port=len(program.inputs) + len(program.outputs))


def action_features(action: Action, limits: Limits) -> Counter[str]:
    """Of one action; none of a loop."""
    if isinstance(action, Multiply):
        return product_features(action)
    if isinstance(action, Copy):
        how = "in place" if 2 * action.size <= limits.copy else "call"
        return Counter({f"copy {how}": 1, f"copied {how}": action.size})
    return Counter({ROW: 1, "row element": action.size} if isinstance(action, Row) else {})


def product_features(action: Multiply) -> Counter[str]:
    """Of one product. Kernels take 4 or 8 rows at a time, and 4, 8 or 16 columns."""
    rows, columns = (int(n) for n in action.matrix.weight.shape)
    groups, blocks, rest = -(-rows // 4), columns // 8, columns % 8
    if not fits_32_bits(action.matrix):
        return _wide_features(action, rows, columns)
    # A source at an odd element is not where words are; inputs are taken to lie there.
    skewed = action.source.offset % 2 == 1 and rest == 0
    kind = f"linear {'skewed' if skewed else rest}"
    counts: Counter[str] = Counter({f"{kind} call": 1, "linear call": 1})
    for unit, number in (("pair", groups // 2), ("group", groups % 2)):
        counts[f"{kind} {unit}"] += number
        counts[f"{kind} {unit} block"] += number * blocks
        counts[f"{kind} {unit} odd"] += number * (blocks % 2)
        counts[f"{kind} {unit} none"] += number * (blocks == 0)
    counts[f"linear end {rows % 8}"] += 1
    if action.add:
        counts["add call"] += 1
        counts["add group"] += groups
        counts[f"add end {rows % 8}"] += 1
    return counts


def _wide_features(action: Multiply, rows: int, columns: int) -> Counter[str]:
    groups = -(-rows // 4)
    counts = Counter({"wide call": 1, "wide group": groups, "wide row": rows})
    counts["wide chunk"] = groups * -(-columns // CHUNK)
    counts["wide block"] = groups * (columns // 8)
    counts[f"wide rest {columns % 8}"] = groups
    counts["wide partial"] = int(rows % 4 != 0)
    counts["wide added row"] = rows if action.add else 0
    return counts


def code_features(model: Model, limits: Limits) -> Counter[str]:
    """Quantities that the bytes of code are a weighted sum of, loops apart."""
    program = model.program
    counts: Counter[str] = Counter(port=len(program.inputs) + len(program.outputs))
    counts[engine_feature(model)] = 1
    copies = [2 * a.size for a in model.schedule.actions if isinstance(a, Copy)]
    initial = [2 * len(s.initial) for s in program.states if s.initial.any()]
    for name, limit, sizes in (
        ("memset", limits.memset, [n for n in (cleared_bytes(model),) if n]),
        ("memcpy", limits.memcpy, initial),
        ("copy", limits.copy, copies),
    ):
        for size in sizes:
            if size <= limit:
                counts[f"{name} in place"] += 1
                counts[f"{name} bytes"] += size
            else:
                counts[f"{name} call"] += 1
    if counts["memset call"]:
        counts["memset"] = 1
    if counts["memcpy call"] or counts["copy call"]:
        counts["memcpy"] = 1
    for action in model.schedule.actions:
        counts[PRODUCT] += isinstance(action, Multiply)
        counts[ROW] += isinstance(action, Row)
    counts["row function"] = int(counts[ROW] > 0)
    return +counts


def cleared_bytes(model: Model) -> int:
    """What is left of the reset's memset: GCC leaves out what it sees overwritten afterwards."""
    if model.state_bytes > TRACKED_BYTES:
        return model.state_bytes
    covered = [True] * 4
    for state in model.program.states:
        used, stored = len(state.initial), stored_size(len(state.initial))
        covered += [bool(state.initial.any())] * (2 * used) + [False] * (2 * (stored - used))
    left = [i for i, done in enumerate(covered) if not done]
    return left[-1] + 1 - left[0] if left else 0


def engine_feature(*models: Model) -> str:
    """The functions of the engine that models call, linked together."""
    names = set()
    for action in (action for model in models for action in model.schedule.actions):
        if isinstance(action, Multiply):
            wide = "" if fits_32_bits(action.matrix) else "wide"
            names.add(f"{wide}{'add' if action.add else ''}" or "plain")
    return f"engine {'+'.join(sorted(names))}"
