"""What would help: computed with the estimator that found what is over, never a rule of thumb."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from edgernn.budget.accuracy import Drop
from edgernn.budget.axes import UNITS, Axis
from edgernn.budget.check import Verdict, check_model
from edgernn.budget.limits import Budget
from edgernn.budget.subject import Subject
from edgernn.budget.swap import ALTERNATIVES, swapped
from edgernn.budget.trial import LARGEST, Trial, largest
from edgernn.exporters.c.window_model import WindowModel
from edgernn.runtime.state import stored_size

STEP: Final = 8
"""Units that savings are averaged over: kernels take 4 or 8 rows at a time."""
LONGEST: Final = 1 << 20
"""Steps of a window that are tried."""
RECURRENT: Final = ("hidden", "projection")
_SIZED: Final = ("flash", "ram", "instructions", "time", "load")


@dataclass(frozen=True)
class Layer:
    """A layer of another size. name: of the layer, or layers tied to each other. what: hidden
    units, channels, ... size: its own; fits: the largest with which everything fits, the other
    layers left as they are, 0 if none, None if that is not known or nothing limits it.
    reaches_limit: everything tried fits. flash, ram, instructions: saved for each unit less, on
    average over the next STEP units; None where there can be no less.
    """

    name: str
    what: str
    size: int
    fits: int | None
    reaches_limit: bool
    flash: float | None
    ram: float | None
    instructions: float | None


@dataclass(frozen=True)
class Swap:
    """Another cell as wide as the own one, everything else equal.

    Of cells whose state has no bound, as FastGRNN's, the ranges found when it is trained decide
    whether several layers share the code of a loop: their flash may differ by some hundred bytes.
    """

    name: str
    flash: int
    ram: int
    instructions: int
    fits: bool


@dataclass
class Advice:
    """What would help on one target.

    together: layer -> size, all recurrent layers in their proportion, as large as fits; empty if
    none fits. blocked: sentences about what no size of these layers helps. window: the longest
    window that fits, 0 if none; None of a stream. notes: what else there is to say.
    """

    layers: list[Layer] = field(default_factory=list)
    together: dict[str, int] = field(default_factory=dict)
    swaps: list[Swap] = field(default_factory=list)
    window: int | None = None
    window_step_bytes: int = 0
    int8_state_bytes: int = 0
    blocked: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """What --json prints."""
        return {
            **vars(self),
            "layers": [vars(layer) for layer in self.layers],
            "swaps": [vars(swap) for swap in self.swaps],
        }


def advise(subject: Subject, budget: Budget, drop: Drop | None = None) -> Advice:
    """What would bring a model within a budget, or how far it may still grow."""
    advice = Advice(int8_state_bytes=_state_bytes_saved(subject))
    limit = budget.accuracy_drop
    if drop is not None and limit is not None and drop.points > limit:
        advice.notes.append(_accuracy(subject))
    if subject.is_window:
        _window(subject, budget, advice)
    if subject.float_model is None:
        advice.notes.append(f"sizes and cells cannot be tried: {subject.no_float}")
        return advice
    trial = Trial(subject, budget)
    base = trial.own
    if not trial.is_possible:
        advice.notes.append("sizes and cells cannot be tried: the float network cannot be lowered")
        return advice
    axes = trial.layouts.axes()
    for i, axis in axes.items():
        advice.layers.append(_layer(trial, base, i, axis))
    recurrent = {i: axis for i, axis in axes.items() if axis.what in RECURRENT}
    _together(trial, recurrent, advice)
    kept = [axis for axis in trial.layouts.fixed().values() if axis.what in RECURRENT]
    for axis in kept:
        names = ", ".join(axis.layers)
        advice.notes.append(f"{names} keeps its {axis.size} {UNITS[axis.what]}: {axis.fixed}")
    if not axes and not kept:
        advice.notes.append("every size is given by the model's inputs, outputs or kind")
    for axis in recurrent.values():
        if axis.returned:
            advice.notes.append(
                f"the model returns the state of {axis.layers[0]}, so its output "
                "changes size with it"
            )
    advice.swaps += _swaps(trial, base)
    return advice


def _layer(trial: Trial, base: Verdict, index: int, axis: Axis) -> Layer:
    least, name, limit = axis.least, ", ".join(axis.layers), max(LARGEST, axis.size)
    smaller = max(least, axis.size - STEP)
    less = trial.of_sizes({index: smaller}) if smaller < axis.size else None
    found = None
    if trial.budget.limits_size and (less is not None or smaller == axis.size):
        found = largest(lambda n: trial.fits({index: n}), least, axis.size, limit)
    saved = [
        None if less is None else (base.value(part) - less.value(part)) / (axis.size - smaller)
        for part in ("flash", "ram", "instructions")
    ]
    return Layer(name, UNITS[axis.what], axis.size, found, found == limit, *saved)


def _together(trial: Trial, axes: Mapping[int, Axis], advice: Advice) -> None:
    """All recurrent layers by the same factor."""
    if not axes or not trial.budget.limits_size:
        return
    size = max(axis.size for axis in axes.values())
    found = largest(lambda n: trial.fits(trial.together(axes, n)), 1, size, LARGEST)
    if found:
        sizes = trial.together(axes, found)
        advice.together = {_named(axes[i]): n for i, n in sizes.items()}
        return
    sizes = trial.together(axes, 1)
    smallest = trial.of_sizes(sizes)
    if smallest is None:
        advice.blocked.append("the smallest network of this kind cannot be lowered")
        return
    for line in smallest.over:
        if line.name in _SIZED:
            named = ", ".join(f"{_named(axes[i])} {n}" for i, n in sizes.items())
            advice.blocked.append(_why(smallest, line.name, named))


def _named(axis: Axis) -> str:
    """A layer, and what of it if that is not its hidden units."""
    name = ", ".join(axis.layers)
    return name if axis.what == "hidden" else f"{name} ({UNITS[axis.what]})"


def _why(smallest: Verdict, name: str, sizes: str) -> str:
    """Why the smallest hidden sizes are still too much."""
    cost, copied = smallest.cost, smallest.budget.device.runs_from_ram
    begin = f"no hidden size fits: at {sizes} "
    if name == "flash":
        return begin + (
            f"it still takes {cost.flash:,} bytes of flash, {cost.code:,} of code, "
            f"{cost.tables:,} of the engine's tables and {cost.weights:,} of weights and constants"
        )
    if name == "ram":
        return begin + (
            f"it still takes {smallest.value('ram'):,.0f} bytes of RAM, {cost.stack:,} of stack, "
            f"{cost.state:,} of state, {cost.ports:,} of arrays for inputs and outputs"
            + (f" and {cost.buffer:,} of the window's buffer" if cost.buffer else "")
            + (f" and {cost.flash:,} of the program, which runs there" if copied else "")
        )
    return begin + f"it still takes {cost.instructions:,} instructions"


def _swaps(trial: Trial, base: Verdict) -> Iterator[Swap]:
    """Other cells that take less of what is over; if nothing is, of flash."""
    short = [line.name for line in base.over if line.name in _SIZED] or ["flash"]
    parts = {name: name if name in ("flash", "ram") else "instructions" for name in short}
    for alternative in ALTERNATIVES:
        graph = swapped(trial.graph, alternative)
        found = None if graph is None else trial.of_graph(graph)
        if found is None:
            continue
        if any(found.value(part) < base.value(part) for part in parts.values()):
            flash, ram, instructions = (
                round(found.value(part)) for part in ("flash", "ram", "instructions")
            )
            yield Swap(alternative.name, flash, ram, instructions, found.fits)


def _window(subject: Subject, budget: Budget, advice: Advice) -> None:
    """The longest window."""
    assert isinstance(subject.model, WindowModel)
    model = subject.model

    def fits(steps: int) -> bool:
        # Flash is the same whatever the window.
        over = check_model(model, steps, budget).over
        return all(line.name == "flash" for line in over)

    one, two = (check_model(model, steps, budget).cost.ram for steps in (1, 2))
    advice.window_step_bytes = two - one
    advice.window = largest(fits, 1, subject.steps, max(LONGEST, subject.steps))


def _accuracy(subject: Subject) -> str:
    """About a drop that is too large, which no size of a layer mends for certain."""
    found: Any = subject.program.metadata.get("calibration")
    found = found if isinstance(found, Mapping) else {}
    used = f"{found.get('steps', '?')} steps of {found.get('sequences', '?')} sequences"
    rounding = found.get("rounding", "compensated")
    other = "" if rounding == "compensated" else "; --rounding compensated, not " + str(rounding)
    return (
        f"what a layer's size does to the accuracy is not known before it is trained; this model "
        f"was calibrated on {used}: more of them, of the kind met in use, help{other}"
    )


def _state_bytes_saved(subject: Subject) -> int:
    """What states of int8 would take less."""
    model = subject.model
    # Of the stages of a window, one has its states at a time.
    steps = model.stages if isinstance(model, WindowModel) else (model,)
    return max(_saved([len(s.initial) for s in step.program.states]) for step in steps)


def _saved(lengths: list[int]) -> int:
    # An array of the state struct is a whole number of words.
    return sum(2 * stored_size(n) - 4 * -(-n // 4) for n in lengths)
