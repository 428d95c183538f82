"""Attribution: how much of the error of outputs and states each source makes.

Every source runs through the same data twice: alone, everything else as in float, and as the only
one that is left out. Alone says how large its error is; left out says what it would bring to keep
it finer, which is what counts, for errors may cancel and a recurrent network may damp them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from edgernn.attribution.meaning import Float64Array, Meaning
from edgernn.attribution.sources import Group, Run, Source, groups_of, sources_of, stages_of
from edgernn.attribution.trace import Moment, Sequence_, trace
from edgernn.progress import Progress
from edgernn.runtime.program import Program, Tensor
from edgernn.runtime.window import Window

WORK: Final = 1_000_000_000
"""Elements of tensors that are computed, over all runs and steps, unless it is too few steps."""
STEPS: Final = (200, 4_000)


@dataclass(frozen=True)
class Target:
    """What the error is measured of: an output or a state. at: "step", "first" or "last"."""

    name: str
    stage: int
    tensor: Tensor
    at: str = "step"
    output: bool = True


@dataclass(frozen=True)
class Effect:
    """What one source, or a group of them, does.

    only, without: target -> signal to error in dB, with this source alone and with all but it; None
    where there is no error at all. only_db, without_db: of all outputs together. gain_db: what
    leaving it out brings the outputs. rms: target -> root mean square error of it alone, in the
    target's unit.
    """

    label: str
    layer: str
    group: str
    kind: str
    tensor: str
    only: Mapping[str, float | None]
    without: Mapping[str, float | None]
    rms: Mapping[str, float]
    only_db: float | None
    without_db: float | None
    gain_db: float


@dataclass(frozen=True)
class Attribution:
    """steps, sequences: what it was computed on. total: target -> SNR in dB with everything on.

    groups, sources: ordered by what leaving them out brings.
    """

    steps: int
    sequences: int
    total: Mapping[str, float | None]
    total_db: float | None
    rms: Mapping[str, float]
    groups: tuple[Effect, ...]
    sources: tuple[Effect, ...]


@dataclass
class Errors:
    """Sums over moments, of one target: signal of the run without any rounding, error of all."""

    signal: float = 0.0
    count: int = 0
    error: Float64Array = field(default_factory=lambda: np.zeros(0))

    def add(self, values: Float64Array) -> None:
        """values (runs, n, size); the first run is the float one."""
        self.signal += float(np.vdot(values[0], values[0]))
        difference = values - values[:1]
        squared = np.einsum("rns,rns->r", difference, difference)
        self.error = squared + (self.error if len(self.error) else 0.0)
        self.count += values[0].size

    def snr(self) -> list[float | None]:
        """In dB, of each run; None without error, or without signal."""
        return [decibels(self.signal, float(e)) for e in self.error]

    def rms(self) -> Float64Array:
        """Root mean square error of each run, in units of the tensor."""
        root: Float64Array = np.sqrt(self.error / max(self.count, 1))
        return root


def decibels(signal: float, error: float) -> float | None:
    """Signal to error power; None if there is no error or no signal."""
    return 10.0 * float(np.log10(signal / error)) if signal > 0 and error > 0 else None


def targets_of(program: Program | Window) -> list[Target]:
    """Outputs, then states."""
    found = []
    if isinstance(program, Window):
        tensors = program.tensors()
        made = {n: i for i, s in enumerate(program.stages) for n in s.program.outputs}
        for name, source in program.outputs.items():
            if source.value in made:
                stage = program.stages[made[source.value]].program
                inner = stage.tensors[stage.outputs[source.value]]
                assert inner.size == tensors[source.value].size
                found.append(Target(name, made[source.value], inner, source.at))
    else:
        found = [Target(n, 0, program.tensors[t]) for n, t in program.outputs.items()]
    for number, stage in enumerate(stages_of(program)):
        found += [
            Target(f"state {s.name}", number, stage.tensors[s.output], output=False)
            for s in stage.states
        ]
    return found


def excerpt(sequences: Sequence[Sequence_], steps: int, whole: bool) -> list[Sequence_]:
    """From the start, `steps` steps in all; the last sequence is cut unless all must be whole."""
    chosen: list[Sequence_] = []
    for sequence in sequences:
        left = steps - sum(len(next(iter(s.values()))) for s in chosen)
        length = len(next(iter(sequence.values())))
        if left <= 0 or (whole and chosen and length > left):
            break
        cut = length if whole else left
        chosen.append({name: v[:cut] for name, v in sequence.items()})
    return chosen


def attribute(
    program: Program | Window,
    meanings: Sequence[Meaning],
    sequences: Sequence[Sequence_],
    progress: Progress | None = None,
) -> Attribution:
    """Measure every source on float data, input name -> (T, F) each, from the initial state.

    As much of the data is taken as WORK allows, between 200 and 4,000 steps.
    """
    sources = sources_of(program, meanings)
    everything = frozenset(sources)
    groups = groups_of(sources)
    parts: list[Run] = [frozenset((s,)) for s in sources]
    parts += [frozenset(g.sources) for g in groups if len(g.sources) > 1]
    runs = [frozenset[Source](), everything, *parts, *(everything - part for part in parts)]
    given = excerpt(sequences, steps_for(program, len(runs)), isinstance(program, Window))
    targets = targets_of(program)
    sums = {target: Errors() for target in targets}
    total = sum(len(next(iter(s.values()))) for s in given) * len(stages_of(program))
    done = 0
    for moment in trace(program, meanings, runs, given):
        for target, errors in sums.items():
            if counts(target, moment):
                errors.add(moment.values[target.tensor.name][:, moment.valid])
        done += int(np.count_nonzero(moment.valid))
        if progress:
            progress(min(done, total), total)
    found = _Results(sums)
    number = {part: i for i, part in enumerate(parts)}
    effects = [found.effect(s, 2 + number[frozenset((s,))], len(parts)) for s in sources]
    together = [found.effect(g, 2 + number[frozenset(g.sources)], len(parts)) for g in groups]
    return Attribution(
        steps=sum(len(next(iter(s.values()))) for s in given),
        sequences=len(given),
        total=found.of_run(1),
        total_db=found.joint[1],
        rms=found.rms_of(1),
        groups=_ranked(together),
        sources=_ranked(effects),
    )


def counts(target: Target, moment: Moment) -> bool:
    """Is this moment one at which the target is returned?"""
    if moment.stage != target.stage:
        return False
    return target.at == "step" or (moment.last if target.at == "last" else moment.step == 0)


def steps_for(program: Program | Window, runs: int) -> int:
    """How many steps WORK allows."""
    stages = stages_of(program)
    elements = sum(s.tensors[n].size for s in stages for op in s.operators for n in op.outputs)
    elements += sum(stage.weight_count for stage in stages) // 8
    low, high = STEPS
    return max(low, min(high, WORK // (runs * elements)))


class _Results:
    def __init__(self, sums: Mapping[Target, Errors]) -> None:
        self._sums = {t: e for t, e in sums.items() if len(e.error)}
        outputs = [e for t, e in self._sums.items() if t.output and e.signal > 0]
        ratios = [e.error / e.signal for e in outputs]
        mean: Any = np.mean(ratios, axis=0) if ratios else np.zeros(0)
        self._snr = {t.name: e.snr() for t, e in self._sums.items()}
        self._rms = {t.name: e.rms() * float(t.tensor.scale) for t, e in self._sums.items()}
        self._ratio = mean
        self.joint = [decibels(1.0, float(r)) for r in mean] or [None] * 2

    def of_run(self, run: int) -> dict[str, float | None]:
        """Target -> SNR of one run."""
        return {name: values[run] for name, values in self._snr.items()}

    def rms_of(self, run: int) -> dict[str, float]:
        """Target -> root mean square error of one run."""
        return {name: float(values[run]) for name, values in self._rms.items()}

    def effect(self, what: Source | Group, run: int, parts: int) -> Effect:
        """run: the one with it alone; `parts` further on it is left out."""
        group = what.name if isinstance(what, Group) else what.group
        single = what.sources if isinstance(what, Group) else (what,)
        gain = 0.0
        if len(self._ratio):
            with_all, without = self._ratio[1], self._ratio[run + parts]
            # All the error there was: as much as its own ratio, which is finite.
            gain = 10.0 * float(np.log10(max(with_all, 1e-30) / max(without, 1e-30)))
        return Effect(
            label=what.label,
            layer=what.layer,
            group=group,
            kind="group" if isinstance(what, Group) else what.kind,
            tensor=what.tensor if isinstance(what, Source) else f"{len(single)} places",
            only=self.of_run(run),
            without=self.of_run(run + parts),
            rms=self.rms_of(run),
            only_db=self.joint[run] if len(self._ratio) else None,
            without_db=self.joint[run + parts] if len(self._ratio) else None,
            gain_db=gain,
        )


def _ranked(effects: Sequence[Effect]) -> tuple[Effect, ...]:
    """What brings most first; of equals the one that is larger alone."""
    return tuple(
        sorted(
            effects,
            key=lambda e: (-round(e.gain_db, 3), np.inf if e.only_db is None else e.only_db),
        )
    )
