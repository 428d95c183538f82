"""A step program over all steps of a batch, and its gradient back through time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgernn.qat.order import Segment, segments_of
from edgernn.qat.rule import Array, Float32, Rule, Weights
from edgernn.qat.rules import Embedding, rule_of
from edgernn.runtime.program import Operator, Program, State

Gradient = Mapping[str, Float32]
"""Of a product its weight (rows, K) and bias (rows,), of an embedding its table, by these names."""


@dataclass(frozen=True)
class Gradients:
    """Of the loss by one unit of each. inputs: (T, N, size); states: (N, size), the initial ones;
    weights: operator -> its own."""

    inputs: Mapping[str, Float32]
    states: Mapping[str, Float32]
    weights: Mapping[str, Gradient]


_Call = tuple[
    Callable[..., None],
    Float32,
    list[Float32 | None],
    list[Float32],
    Float32 | None,
    Weights | None,
]
"""A rule's `backward` and what it is called with, over all steps."""


class Scan:
    """What runs a program. Arrays are (T, N, size) float64, integers in units of their tensor."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.segments: list[Segment] = segments_of(program)
        self.rules: dict[str, Rule] = {}
        for op in program.operators:
            rule = rule_of(op, program)
            if rule is not None:
                self.rules[op.name] = rule
        self.width = sum(tensor.size for tensor in program.tensors.values())

    def run(
        self,
        inputs: Mapping[str, Array],
        states: Mapping[str, Array],
        weights: Mapping[str, Weights],
    ) -> Tape:
        """Every tensor at every step; states: name -> (N, size), before the first step."""
        steps, streams = next(iter(inputs.values())).shape[:2]
        program, values = self.program, dict(inputs)
        for name, constant in program.constants.items():
            values[name] = np.broadcast_to(
                constant.astype(np.float64), (steps, streams, constant.size)
            )
        for state in program.states:
            values[state.input] = np.empty((steps, streams, len(state.initial)))
        for op in program.operators:
            if op.kind == "split":
                values.update(zip(op.outputs, self._parts(op, values[op.inputs[0]]), strict=True))
            else:
                values[op.name] = np.empty((steps, streams, program.tensors[op.name].size))
        tape = Tape(self, values, dict(states), dict(weights))
        for segment in self.segments:
            self._forward(segment, tape, steps)
        return tape

    def _parts(self, op: Operator, whole: NDArray[Any]) -> list[NDArray[Any]]:
        cuts = np.cumsum([self.program.tensors[n].size for n in op.outputs])[:-1].tolist()
        return np.split(whole, cuts, axis=-1)

    def _forward(self, segment: Segment, tape: Tape, steps: int) -> None:
        values = tape.values
        carried = [
            (values[p.input], values[p.output], tape.states[p.name])
            for p in segment.parts
            if isinstance(p, State)
        ]
        calls = [
            (self.rules[p.name], [values[n] for n in p.inputs], values[p.name])
            for p in segment.parts
            if isinstance(p, Operator) and p.kind != "split"
        ]
        for into, _, initial in carried:
            into[0] = initial
        if not segment.loop:
            for into, source, _ in carried:
                into[1:] = source[:-1]
            for rule, x, y in calls:
                rule.forward(x, y, tape.weights.get(rule.op.name))
            return
        timed = [(rule.forward, x, y, tape.weights.get(rule.op.name)) for rule, x, y in calls]
        for t in range(steps):
            if t:
                for into, source, _ in carried:
                    into[t] = source[t - 1]
            for forward, x, y, w in timed:
                forward([v[t] for v in x], y[t], w)


@dataclass
class Tape:
    """A run, kept for its gradient. values: tensor -> (T, N, size)."""

    scan: Scan
    values: dict[str, Array]
    states: dict[str, Array]
    weights: dict[str, Weights]

    def final(self, state: State) -> Array:
        """(N, size), a state after the last step."""
        last: Array = self.values[state.output][-1]
        return last

    def gradients(
        self,
        outputs: Sequence[tuple[str, NDArray[Any]]],
        final: Mapping[str, NDArray[Any]],
        inputs: Collection[str],
        initial: Collection[str],
        learned: Collection[str],
    ) -> Gradients:
        """outputs: tensor and gradient (T, N, size); final: state -> (N, size) after the last step.

        inputs, initial, learned: the tensors, states and operators whose gradients are wanted. It
        can be called once.
        """
        scan, program = self.scan, self.scan.program
        asked = self._asked(inputs, initial, learned)
        g: dict[str, Float32] = {}
        for name in (*program.inputs, *(state.input for state in program.states)):
            if name in asked and name not in g:
                g[name] = np.zeros(self.values[name].shape, np.float32)
        for op in program.operators:
            if op.kind == "split" and op.inputs[0] in g:
                g.update(zip(op.outputs, scan._parts(op, g[op.inputs[0]]), strict=True))
            elif op.kind != "split" and op.name in asked:
                g[op.name] = np.zeros(self.values[op.name].shape, np.float32)
        for name, value in outputs:
            if name in g:
                g[name] += value
        for state in program.states:
            if state.name in final and state.output in g:
                g[state.output][-1] += final[state.name]
        first = {n: np.zeros(v.shape, np.float32) for n, v in self.states.items()}
        for segment in reversed(scan.segments):
            self._backward(segment, g, first)
        return Gradients(
            {name: g[name] for name in inputs},
            {name: first[name] for name in initial},
            {name: self._of_weights(name, g) for name in learned},
        )

    def _asked(
        self, inputs: Collection[str], initial: Collection[str], learned: Collection[str]
    ) -> set[str]:
        """The tensors that depend on what a gradient is wanted of."""
        program = self.scan.program
        asked = set(inputs)
        asked |= {state.input for state in program.states if state.name in initial}
        while True:
            before = len(asked)
            asked |= {s.input for s in program.states if s.output in asked}
            for op in program.operators:
                rule = self.scan.rules.get(op.name)
                from_ = op.inputs if rule is None else [op.inputs[i] for i in rule.differentiable]
                if op.name in learned or not asked.isdisjoint(from_):
                    asked |= set(op.outputs)
            if len(asked) == before:
                return asked

    def _backward(
        self, segment: Segment, g: Mapping[str, Float32], first: Mapping[str, Float32]
    ) -> None:
        values = self.values
        carried = [
            (g[p.input], g.get(p.output), first[p.name])
            for p in segment.parts
            if isinstance(p, State) and p.input in g
        ]
        calls: list[_Call] = []
        for part in reversed(segment.parts):
            if isinstance(part, State) or part.name not in g or part.kind == "split":
                continue
            rule, x = self.scan.rules[part.name], [values[n] for n in part.inputs]
            calls.append(
                (
                    rule.backward,
                    g[part.name],
                    [
                        g.get(n) if i in rule.differentiable else None
                        for i, n in enumerate(part.inputs)
                    ],
                    [v.astype(np.float32) for v in x] if rule.reads else [],
                    rule.slopes(x, values[part.name]),
                    self.weights.get(part.name),
                )
            )
        if not segment.loop:
            for backward, y, gx, read, s, w in calls:
                backward(y, gx, read, s, w)
            for into, source, _ in carried:
                if source is not None:
                    source[:-1] += into[1:]
        else:
            for t in reversed(range(len(next(iter(values.values()))))):
                for backward, y, gx, read, s, w in calls:
                    backward(
                        y[t],
                        [None if v is None else v[t] for v in gx],
                        [v[t] for v in read],
                        None if s is None else s[t],
                        w,
                    )
                if t:
                    for into, source, _ in carried:
                        if source is not None:
                            source[t - 1] += into[t]
        for into, _, start in carried:
            start += into[0]

    def _of_weights(self, name: str, g: Mapping[str, Float32]) -> Gradient:
        rule, y = self.scan.rules[name], g[name]
        x, flat = self.values[rule.op.inputs[0]], torch.from_numpy(y.reshape(-1, y.shape[-1]))
        if isinstance(rule, Embedding):
            table = torch.zeros(self.weights[name].forward.shape)
            table.index_add_(0, torch.from_numpy(rule.rows(x).reshape(-1)), flat)
            return {"table": table.numpy()}
        # By now the gradient of the accumulator.
        read = torch.from_numpy(x.reshape(-1, x.shape[-1]).astype(np.float32))
        return {"weight": torch.mm(flat.T, read).numpy(), "bias": flat.sum(dim=0).numpy()}
