"""A program's step in float64, for several runs at once that differ in what is rounded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgernn.attribution import rules
from edgernn.attribution.meaning import Float64Array, Meaning
from edgernn.attribution.sources import LOWEST, Run
from edgernn.runtime.program import Operator, Program

Values = dict[str, Float64Array]


class Stepper:
    """Runs a program; what is on in a run is rounded there as the integer engines do.

    runs: what is on in each. Every array is (runs, streams, size) float64, in units of its tensor.
    """

    def __init__(
        self, program: Program, meaning: Meaning, runs: Sequence[Run], stage: int = 0
    ) -> None:
        self.program, self.meaning, self.count = program, meaning, len(runs)
        self._on: dict[tuple[str, str], NDArray[np.bool_]] = {}
        self._rounds = np.array([bool(run) for run in runs])
        for i, run in enumerate(runs):
            for s in run:
                if s.stage == stage:
                    self._on.setdefault((s.kind, s.tensor), np.zeros(len(runs), np.bool_))[i] = True
        self._calls = [(self._compile(op), op.inputs, op.outputs) for op in program.operators]
        self._constants = {name: self._constant(name) for name in program.constants}

    def _where(self, kind: str, tensor: str) -> NDArray[np.bool_]:
        return self._on.get((kind, tensor), np.zeros(self.count, np.bool_))

    def _constant(self, name: str) -> Float64Array:
        integers = self.program.constants[name].astype(np.float64)
        real = self.meaning.constants.get(name)
        if real is None:
            return np.tile(integers, (self.count, 1))[:, None]
        real = real / float(self.program.tensors[name].scale)
        return np.where(self._where("constant", name)[:, None], integers, real)[:, None]

    def start(self, streams: int) -> Values:
        """The initial states, by state name."""
        states: Values = {}
        for s in self.program.states:
            integers = s.initial.astype(np.float64)
            real = self.meaning.initial.get(s.name)
            both = integers[None].repeat(self.count, 0)
            if real is not None:
                units = real / float(self.program.tensors[s.input].scale)
                on = self._where("initial", s.name)
                # Below every value, which is no place that rounds.
                if np.all(real < LOWEST):
                    on = self._rounds
                both = np.where(on[:, None], integers, units)
            states[s.name] = both[:, None].repeat(streams, 1)
        return states

    def step(
        self, inputs: Mapping[str, Float64Array], states: Mapping[str, Float64Array]
    ) -> Values:
        """Every tensor by name; the next value of a state is that of its output tensor."""
        values: Values = {**self._constants, **inputs}
        for s in self.program.states:
            values[s.input] = states[s.name]
        for call, ins, outs in self._calls:
            results = call(*(values[n] for n in ins))
            values.update(zip(outs, results, strict=True))
        return values

    def following(self, values: Values) -> Values:
        """The states after a step."""
        return {s.name: values[s.output] for s in self.program.states}

    def _compile(self, op: Operator) -> Any:
        tensors = self.program.tensors
        ins, outs = [tensors[n] for n in op.inputs], [tensors[n] for n in op.outputs]
        on, table = self._where("rounding", op.name), self._where("table", op.name)
        weights, bias = self._where("weights", op.name), self._where("bias", op.name)
        call: rules.Step
        if op.kind == "linear":
            before = rules.linear(op, ins[0], outs[0], self.meaning, weights, bias)
            choice = rules.Choice(on)
            call = lambda x: choice(rules.half_up, np.copy, before(x))  # noqa: E731
        elif op.kind in ("add", "sub"):
            call = rules.add((ins[0], ins[1]), outs[0], 1 if op.kind == "add" else -1, on)
        elif op.kind == "mul":
            call = rules.mul(on)
        elif op.kind == "rescale":
            call = rules.rescale(ins[0], outs[0], on)
        elif op.kind in ("logistic", "tanh"):
            call = rules.activated(op.kind, ins[0], table, on)
        elif op.kind == "lookup":
            function = self.meaning.functions.get(op.name)
            call = rules.looked_up(op, ins[0], outs[0], function, table, on)
        elif op.kind == "rsqrt":
            call = rules.rsqrt(ins[0], outs[0], on)
        elif op.kind == "embedding":
            call = rules.embedding(op, outs[0], self.meaning, weights)
        elif op.kind == "split":
            cuts = np.cumsum([t.size for t in outs])[:-1].tolist()
            return lambda x: np.split(x, cuts, axis=-1)
        else:
            call = _MOVES[op.kind]
        return lambda *x: (call(*x),)


def _select(mask: Float64Array, a: Float64Array, b: Float64Array) -> Float64Array:
    return np.where(mask != 0, a, b)


def _concat(*parts: Float64Array) -> Float64Array:
    # A constant has one stream, which stands for all.
    shape = np.broadcast_shapes(*(p.shape[:-1] for p in parts))
    return np.concatenate([np.broadcast_to(p, (*shape, p.shape[-1])) for p in parts], axis=-1)


_MOVES: Final[Mapping[str, rules.Step]] = {
    "relu": lambda x: np.maximum(x, 0.0),
    "maximum": np.maximum,
    "select": _select,
    "concat": _concat,
}
