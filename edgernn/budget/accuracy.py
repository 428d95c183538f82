"""What int8 costs in accuracy: the integer program beside the float network, on the same data.

With labels, the accuracy of both. Without, how often their predictions differ, which no loss of
accuracy can exceed: a prediction that is the same is as right as it was.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgernn.budget.subject import Subject
from edgernn.float_engine import run_float
from edgernn.graph import FloatArray, Graph, Output
from edgernn.runtime.engine import StepRuntime, quantize
from edgernn.runtime.errors import InputError
from edgernn.runtime.program import Program
from edgernn.runtime.window import Window
from edgernn.runtime.window_runtime import WindowRuntime

Sequences = Sequence[Mapping[str, FloatArray]]
Values = NDArray[np.float64]
Outputs = dict[str, tuple[Values, Values]]
"""Output -> its float and its int8 values (K, O) of one sequence."""
BATCH: Final = 256
Z: Final = 1.959964
"""Of a two-sided 95 % interval."""


@dataclass(frozen=True)
class Drop:
    """A loss of accuracy. points: percentage points; less than 0 is a gain.

    kind: "accuracy", with labels; "predictions", the share of them that differ; "error", the
    relative root mean square error of int8 less that of float, with labels; "difference", the root
    mean square difference to float, relative to its spread. count: predictions, or values, that it
    was measured on. margin: half of its 95 % interval, None where it has none. float_value,
    int_value: accuracy or error of both, in %, with labels. output: which it is of. data: what it
    was measured on.
    """

    points: float
    kind: str
    count: int
    output: str
    margin: float | None = None
    float_value: float | None = None
    int_value: float | None = None
    data: str = ""

    def sentence(self) -> str:
        """What was measured, in one sentence."""
        return f"{self._measured()}; measured on {self.data}"

    def _measured(self) -> str:
        if self.kind == "accuracy":
            return (
                f"accuracy of {self.output} on {self.count:,} labelled predictions: float "
                f"{self.float_value:.2f} %, int8 {self.int_value:.2f} %, a drop of "
                f"{self.points:.2f} +-{self.margin:.2f} points (95 %)"
            )
        if self.kind == "predictions":
            return (
                f"{round(self.points * self.count / 100):,} of {self.count:,} predictions of "
                f"{self.output} differ from float: {self.points:.2f} %, which the drop cannot "
                f"exceed on this data (95 %: below {self.points + (self.margin or 0):.2f} % on "
                "more of its kind); labels would give the drop itself"
            )
        if self.kind == "error":
            return (
                f"root mean square error of {self.output} on {self.count:,} labelled values, "
                f"relative to the labels' spread: float {self.float_value:.2f} %, int8 "
                f"{self.int_value:.2f} %"
            )
        return (
            f"root mean square difference of {self.output} to float on {self.count:,} values: "
            f"{self.points:.2f} % of its spread; no labels, so no drop is known"
        )

    def as_json(self) -> dict[str, Any]:
        """Every field."""
        return {**vars(self), "sentence": self.sentence()}


def accuracy_drop(
    subject: Subject,
    sequences: Sequences,
    labels: NDArray[Any] | Sequence[Any] | None = None,
    data: str = "the folder's sample of the calibration data",
) -> Drop:
    """The loss of accuracy on sequences, input -> (T, F); of several outputs the largest.

    labels: one for each sequence, or one for each step where the model answers at every step; of
    the first output. Whole numbers are classes, others are what a regression should give.
    data: what a report calls the sequences. InputError if there is nothing to compare, or labels
    do not fit.
    """
    if subject.float_model is None:
        raise InputError(f"the accuracy of {subject.name} cannot be known: {subject.no_float}")
    if not sequences:
        raise InputError("there is no data to measure accuracy on; give some with --data")
    graph = subject.float_model.graph
    return drop_of(graph, both_outputs(subject, graph, sequences), labels, data)


def drop_of(
    graph: Graph,
    pairs: Sequence[Outputs],
    labels: NDArray[Any] | Sequence[Any] | None,
    data: str,
) -> Drop:
    """The same from what `both_outputs` found for each sequence."""
    if labels is None:
        drops = [_unlabelled(graph, o, [p[o.name] for p in pairs]) for o in graph.outputs]
        return replace(max(drops, key=lambda drop: drop.points), data=data)
    if len(labels) != len(pairs):
        raise InputError(f"there are {len(labels)} labels for {len(pairs)} sequences")
    first = graph.outputs[0]
    drop = _labelled(graph, first, [p[first.name] for p in pairs], labels)
    return replace(drop, data=data)


def both_outputs(subject: Subject, graph: Graph, sequences: Sequences) -> list[Outputs]:
    """For each sequence what both return: of the last step, or of all."""
    first = graph.inputs[0]
    by_length: dict[int, list[int]] = {}
    for i, sequence in enumerate(sequences):
        by_length.setdefault(len(sequence[first]), []).append(i)
    results: list[Outputs] = [{} for _ in sequences]
    for indices in by_length.values():
        for begin in range(0, len(indices), BATCH):
            group = indices[begin : begin + BATCH]
            x = {n: np.stack([sequences[i][n] for i in group]) for n in graph.inputs}
            floats, _ = run_float(graph, x)
            ints = _integer(subject.program, x)
            for output in graph.outputs:
                real = floats[output.name].astype(np.float64)
                # What there is once in a window has no axis of time.
                whole = ints[output.name].reshape(len(group), -1, real.shape[2])
                for row, i in enumerate(group):
                    pair = (real[row, -1:], whole[row, -1:])
                    if not output.last:
                        counts = _counted(graph, sequences[i], real.shape[1])
                        pair = (real[row, counts], whole[row, counts])
                    results[i][output.name] = pair
    return results


def _integer(program: Program | Window, x: Mapping[str, FloatArray]) -> dict[str, Values]:
    """Output -> (N, T, O) or (N, O), of a batch (N, T, F)."""
    if isinstance(program, Window):
        found = WindowRuntime(program).run_int(*(quantize(x[t.name], t) for t in program.inputs))
        tensors = program.tensors()
        scales = [tensors[source.value].scale for source in program.outputs.values()]
    else:
        given = (quantize(x[name], program.tensors[name]) for name in program.inputs)
        found = StepRuntime(program).run_int(*given)
        scales = [program.tensors[name].scale for name in program.outputs.values()]
    listed = found if isinstance(found, tuple) else (found,)
    return {
        name: value.astype(np.float64) * float(scale)
        for name, value, scale in zip(program.outputs, listed, scales, strict=True)
    }


def _counted(graph: Graph, sequence: Mapping[str, FloatArray], steps: int) -> NDArray[np.bool_]:
    """The steps (T,) that are no padding."""
    result = np.ones(steps, bool)
    for name in set(graph.masks) - {f.given for f in graph.feedback}:
        if len(sequence[name]) == steps:
            result &= sequence[name][:, 0] != 0
    return result


def threshold_of(graph: Graph, output: Output) -> float | None:
    """Where a decision for each value is taken; None for classes or plain numbers."""
    producer = next((n for n in graph.nodes if output.value in n.outputs), None)
    if output.head == "sigmoid":
        return 0.0
    return 0.5 if producer is not None and producer.kind == "sigmoid" else None


def predictions(values: Values, threshold: float | None) -> NDArray[np.int64]:
    """Classes (K,) of values (K, O); with a threshold, 0 or 1 for each value."""
    if threshold is not None:
        return (values > threshold).astype(np.int64).reshape(-1)
    classes: NDArray[np.int64] = values.argmax(axis=1)
    return classes


def _unlabelled(graph: Graph, output: Output, pairs: list[tuple[Values, Values]]) -> Drop:
    real, whole = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    if not len(real):
        raise InputError("the data is all padding; there is nothing to compare")
    threshold = threshold_of(graph, output)
    if real.shape[1] == 1 and threshold is None:
        return Drop(_relative(whole - real, real), "difference", real.size, output.name)
    differ = predictions(real, threshold) != predictions(whole, threshold)
    share, count = float(differ.mean()), differ.size
    upper = _wilson(share, count)
    return Drop(100 * share, "predictions", count, output.name, 100 * (upper - share))


def _labelled(
    graph: Graph,
    output: Output,
    pairs: list[tuple[Values, Values]],
    labels: NDArray[Any] | Sequence[Any],
) -> Drop:
    real, whole = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    threshold, width = threshold_of(graph, output), real.shape[1]
    kinds = {np.asarray(label).dtype.kind for label in labels}
    classes = kinds <= set("iub") and (width > 1 or threshold is not None)
    each = width if threshold is not None or not classes else 1
    parts = []
    for i, (label, pair) in enumerate(zip(labels, pairs, strict=True)):
        flat = np.asarray(label).reshape(-1)
        if flat.size != len(pair[0]) * each:
            asked = "" if classes else " numbers (classes are labelled with integers)"
            raise InputError(
                f"label {i} holds {flat.size} values; {output.name} has {len(pair[0])} x {each}"
                f"{asked or ' predictions'} of that sequence"
            )
        parts.append(flat)
    wanted = np.concatenate(parts)
    if not classes:
        if wanted.dtype.kind not in "fiub" or not np.isfinite(wanted).all():
            raise InputError("the labels are not numbers, or not finite")
        wanted = wanted.astype(np.float64).reshape(real.shape)
        errors = [_relative(values - wanted, wanted) for values in (real, whole)]
        return Drop(
            errors[1] - errors[0], "error", real.size, output.name,
            float_value=errors[0], int_value=errors[1],
        )  # fmt: skip
    if threshold is None and int(wanted.max()) >= width:
        raise InputError(f"label {int(wanted.max())} is no class: {output.name} has {width}")
    # torch.nn.CrossEntropyLoss leaves out labels below 0 too.
    counted = wanted >= 0
    if not counted.any():
        raise InputError("no label is 0 or more; there is nothing to compare")
    right = [
        (predictions(values, threshold) == wanted)[counted].astype(np.float64)
        for values in (real, whole)
    ]
    lost = right[0] - right[1]
    margin = Z * float(lost.std()) / math.sqrt(lost.size)
    return Drop(
        100 * float(lost.mean()), "accuracy", lost.size, output.name, 100 * margin,
        100 * float(right[0].mean()), 100 * float(right[1].mean()),
    )  # fmt: skip


def _relative(error: Values, reference: Values) -> float:
    """Root mean square of an error in % of the reference's standard deviation."""
    spread = float(reference.std())
    found = float(np.sqrt(np.mean(error**2)))
    if spread == 0.0:
        raise InputError("the values to compare with are all the same; give more data with --data")
    return 100 * found / spread


def _wilson(share: float, count: int) -> float:
    """Upper end of the 95 % score interval of a share (Wilson 1927)."""
    z2 = Z * Z / count
    centre = share + z2 / 2
    half = Z * math.sqrt(share * (1 - share) / count + z2 / (4 * count))
    return (centre + half) / (1 + z2)
