"""Error over time: one stream without a reset, the data over and over if they are shorter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn.attribution.meaning import Meaning
from edgernn.attribution.measure import Errors, Target, counts, targets_of
from edgernn.attribution.sources import Group, Source, groups_of, sources_of
from edgernn.attribution.trace import Sequence_, trace
from edgernn.float_engine import run_float
from edgernn.graph import Graph
from edgernn.progress import Progress
from edgernn.runtime.engine import StepRuntime, quantize
from edgernn.runtime.program import Program
from edgernn.runtime.window import Window

STEPS: Final = 100_000
SOURCE_STEPS: Final = 10_000
WORK: Final = 300_000_000
PER_DECADE: Final = 4
_PIECE: Final = 2_000


@dataclass(frozen=True)
class Curve:
    """Root mean square error by step. ends: the last step of each bin, from 1; rms: in the unit of
    the target."""

    label: str
    target: str
    ends: tuple[int, ...]
    rms: tuple[float, ...]


def bins(steps: int) -> list[int]:
    """The last step of each bin: four a decade, evenly on a log axis."""
    count = int(np.ceil(PER_DECADE * np.log10(max(steps, 1)))) + 1
    ends = sorted({round(10 ** (k / PER_DECADE)) for k in range(count)})
    return [e for e in ends if e < steps] + [steps]


def total_growth(
    program: Program,
    graph: Graph,
    sequences: Sequence[Sequence_],
    steps: int = STEPS,
    progress: Progress | None = None,
) -> list[Curve]:
    """Outputs and states of the integer program against the float network, by their engines."""
    ends = bins(steps)
    values = {f"state {s.name}": s.value for s in graph.states}
    shown = {**program.outputs, **{f"state {s.name}": s.output for s in program.states}}
    runtime = StepRuntime(replace(_plain(program), outputs=shown))
    squares = {name: np.zeros(len(ends)) for name in shown}
    counted = {name: np.zeros(len(ends)) for name in shown}
    states: Mapping[str, NDArray[np.float32]] | None = None
    done = 0
    for piece in _pieces(sequences, steps):
        seen: dict[str, NDArray[np.float32]] = {}

        def observe(
            name: str,
            value: NDArray[np.float32],
            seen: dict[str, NDArray[np.float32]] = seen,
        ) -> None:
            if name in values.values():
                seen[name] = value[0].copy()

        real, states = run_float(graph, {n: v[None] for n, v in piece.items()}, states, observe)
        ints = runtime.run_int(*(quantize(piece[n], program.tensors[n]) for n in program.inputs))
        listed = ints if isinstance(ints, tuple) else (ints,)
        length = len(listed[0])
        where = np.searchsorted(ends, np.arange(done + 1, done + length + 1))
        for name, found in zip(shown, listed, strict=True):
            wanted = seen[values[name]] if name in values else real[name][0]
            scale = float(program.tensors[shown[name]].scale)
            error = np.square(found * scale - wanted.astype(np.float64)).sum(axis=1)
            squares[name] += np.bincount(where, error, len(ends))
            counted[name] += np.bincount(where, minlength=len(ends)) * found.shape[1]
        done += length
        if progress:
            progress(done, steps)
    return [
        Curve("int8", name, tuple(ends), tuple(np.sqrt(squares[name] / counted[name]).tolist()))
        for name in shown
    ]


def _plain(program: Program) -> Program:
    """Without what a subclass has more."""
    return Program(
        program.tensors,
        program.inputs,
        program.outputs,
        program.states,
        program.operators,
        program.metadata,
        program.constants,
    )


def source_growth(
    program: Program | Window,
    meanings: Sequence[Meaning],
    sequences: Sequence[Sequence_],
    labels: Sequence[str] = (),
    most: int = SOURCE_STEPS,
    progress: Progress | None = None,
) -> list[Curve]:
    """The same of each group of sources alone; of a window program over the steps of its windows,
    which are not joined.

    labels: of the groups to follow, in this order; all of them by default. most: steps, of which
    large networks are given fewer, 1,000 at least.
    """
    sources = sources_of(program, meanings)
    groups = [g for g in groups_of(sources) if not labels or g.label in labels]
    if labels:
        groups.sort(key=lambda g: labels.index(g.label))
    runs = [frozenset[Source](), frozenset(sources), *(frozenset(g.sources) for g in groups)]
    if isinstance(program, Window):
        given = list(sequences)
        steps = max(len(next(iter(s.values()))) for s in given)
    else:
        size = sum(program.tensors[n].size for op in program.operators for n in op.outputs)
        size += program.weight_count // 8
        steps = min(most, max(1_000, WORK // (len(runs) * size)))
        given = [_joined(sequences, steps)]
    ends = bins(steps)
    targets = [t for t in targets_of(program) if t.at == "step"]
    sums: dict[tuple[Target, int], Errors] = {}
    done, total = 0, sum(len(next(iter(s.values()))) for s in given)
    for moment in trace(program, meanings, runs, given):
        place = int(np.searchsorted(ends, moment.step + 1))
        for target in targets:
            if counts(target, moment):
                own = sums.setdefault((target, place), Errors())
                own.add(moment.values[target.tensor.name][:, moment.valid])
        done += int(np.count_nonzero(moment.valid))
        if progress:
            progress(min(done, total), total)
    return list(_curves(groups, targets, sums, ends))


def _curves(
    groups: Sequence[Group],
    targets: Sequence[Target],
    sums: Mapping[tuple[Target, int], Errors],
    ends: Sequence[int],
) -> Iterator[Curve]:
    for target in targets:
        places = [k for k in range(len(ends)) if (target, k) in sums]
        for run, label in enumerate(["int8", *(g.label for g in groups)], 1):
            scale = float(target.tensor.scale)
            rms = [float(sums[target, k].rms()[run]) * scale for k in places]
            yield Curve(label, target.name, tuple(ends[k] for k in places), tuple(rms))


def _pieces(sequences: Sequence[Sequence_], steps: int) -> Iterator[Sequence_]:
    """One stream of that many steps, in pieces."""
    joined = {n: np.concatenate([s[n] for s in sequences]) for n in sequences[0]}
    length = len(next(iter(joined.values())))
    for begin in range(0, steps, _PIECE):
        at = np.arange(begin, min(begin + _PIECE, steps)) % length
        yield {name: value[at] for name, value in joined.items()}


def _joined(sequences: Sequence[Sequence_], steps: int) -> Sequence_:
    pieces = list(_pieces(sequences, steps))
    return {n: np.concatenate([p[n] for p in pieces]) for n in pieces[0]}
