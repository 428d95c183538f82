"""`edgernn train detect`: what is unusual in a stream, by the error of a forecast."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from edgernn.recipes.alarms import DAY, ROWS, alarm_scores, smoothed, threshold
from edgernn.recipes.future import CONTEXT, following, inputs
from edgernn.recipes.series_demos import faulty_room
from edgernn.recipes.sources import Stream, Streams, read_series
from edgernn.recipes.sources.choices import whole
from edgernn.runtime.errors import InputError
from edgernn.training.base import Dataset, Layers, Outputs, Recipe, Scores, Settings, Split
from edgernn.training.losses import masked_mse, square_distance
from edgernn.training.network import SequenceNetwork
from edgernn.training.predict import float_outputs

Array = NDArray[Any]
LABELS: Final = ("anomaly", "label", "y")
SMOOTH: Final = 30
HORIZON: Final = 10
"""Further ahead than a step: what follows every change closely is never surprised."""
JUDGES: Final = ("both", "error")
EPOCH_STEPS: Final = 8192


class Detect(Recipe):
    """A forecast of every column, trained on normal rows.

    A row is as unusual as its forecast was wrong, and as its values are far from their mean, on
    average over the columns and the last `smooth` rows. The alarm's threshold comes from the normal
    rows of train, the best epoch has the smallest forecast error on those of val.
    """

    name: ClassVar[str] = "detect"
    headline: ClassVar[str] = "mse"
    higher: ClassVar[bool] = False
    settings: ClassVar[Settings] = Settings(epochs=20, batch_size=32, window=64)
    layers: ClassVar[Layers] = Layers(hidden=32)

    def read(self, source: str | None, options: Mapping[str, Any], seed: int) -> Dataset:
        """Streams with or without labels (1: unusual); the demonstration generates a room and
        injects faults of its sensors."""
        smooth, horizon = whole(options, "smooth", SMOOTH), whole(options, "horizon", HORIZON)
        wanted = options.get("alarms")
        if wanted is not None and wanted < 0:
            raise InputError(f"--alarms {wanted} is no number of false alarms; it is 0 or more")
        streams = faulty_room(options) if source is None else read_series(source, options, LABELS)
        streams.require(horizon + 2, f"a forecast {horizon} steps ahead")
        facts = dict(streams.facts) | {
            "horizon": horizon,
            "judge": options.get("judge") or JUDGES[0],
            "smooth": smooth,
            "alarms": 1.0 if wanted is None else float(wanted),
            "observed": bool(streams.facts["missing"]),
            "timed": all(s.time is not None for s in streams.streams),
            "label": _label(streams, options.get("label")),
        }
        streams = _with_probation(streams)
        splits = _splits(streams, facts["label"], horizon)
        facts["features"] = [int(splits["train"].arrays["x"][0].shape[1])]
        facts["outputs"] = len(facts["columns"])
        return Dataset(splits, facts, streams.name, streams.split)

    def network(self, facts: Mapping[str, Any], layers: Layers) -> nn.Module:
        """Answers at every step with all columns, `horizon` steps later.

        It says the values and not their change: what it has not seen in train it must not follow.
        """
        network = SequenceNetwork(facts["features"][0], facts["outputs"], layers, "steps")
        if not network.streams:
            raise InputError(
                f"{layers.cell} reads backwards too, and a forecast must not; choose a cell "
                "without bi in front"
            )
        return network

    def loss(self, outputs: tuple[Tensor, ...], batch: Mapping[str, Tensor]) -> Tensor:
        """Mean square error of normal, observed values."""
        return masked_mse(outputs[0], batch["target"], batch["counts"])

    def score(self, outputs: Outputs, split: Split, facts: Mapping[str, Any]) -> Scores:
        """mse of normal rows; with labels auroc over all rows, and auroc_mean over the streams that
        have both; with a threshold what its alarms are worth."""
        errors = [
            (o[0].astype(np.float64) - t) ** 2
            for o, t in zip(outputs, split.arrays["target"], strict=True)
        ]
        counts = split.arrays["counts"]
        normal = np.concatenate([e[c] for e, c in zip(errors, counts, strict=True)])
        scores = {"mse": float(normal.mean()) if len(normal) else float("nan")}
        if "threshold" not in facts:
            return scores
        unusual = [self._unusual(o, split, i, facts) for i, o in enumerate(outputs)]
        return scores | _judged(unusual, split, facts, facts["threshold"])

    def settle(self, network: nn.Module, dataset: Dataset) -> dict[str, Any]:
        """The threshold, by the normal rows of train."""
        split, facts = dataset.splits["train"], dataset.facts
        outputs = float_outputs(network, split)
        unusual = [self._unusual(o, split, i, facts) for i, o in enumerate(outputs)]
        return {"threshold": _level(unusual, split, facts)}

    def _unusual(
        self, output: tuple[Array, ...], split: Split, i: int, facts: Mapping[str, Any]
    ) -> NDArray[np.float64]:
        """How unusual each row of a sequence is, (T,): the error of the forecast that was made of
        it, smoothed; 0 where none was."""
        target = split.arrays["target"][i]
        error = np.abs(output[0] - target)
        if facts["judge"] == JUDGES[0]:
            error = error + np.abs(target)
        return at_rows(error, split.arrays["known"][i], facts["horizon"], facts["smooth"])

    def augment(self, split: Split, generator: np.random.Generator) -> Split:
        """Short streams several times over, as windows that begin elsewhere."""
        times = -(-EPOCH_STEPS // int(split.lengths.sum()))
        return split.take([*range(len(split))] * times) if times > 1 else split

    def baselines(self, dataset: Dataset) -> dict[str, Scores]:
        """How far a value is from the mean, and from the last one; smoothed alike, with a threshold
        found alike."""
        train, test, facts = dataset.splits["train"], dataset.splits["test"], dataset.facts
        found = {}
        for name in ("distance from the mean", "distance from the last value"):
            step = "last" in name
            per_split = []
            for split in (train, test):
                per_split.append([_plain(split, i, step, facts) for i in range(len(split))])
            level = _level(per_split[0], train, facts)
            found[name] = _judged(per_split[1], test, facts, level)
        return found

    def distance(
        self, student: tuple[Tensor, ...], teacher: tuple[Tensor, ...], batch: Mapping[str, Tensor]
    ) -> Tensor:
        """The mean square of the difference."""
        return square_distance(student[0], teacher[0], batch)

    def card(self, facts: Mapping[str, Any]) -> list[str]:
        """How an application comes from the output to an alarm."""
        both = " + |value|" if facts["judge"] == JUDGES[0] else ""
        lines = [
            f"Says: {', '.join(facts['columns'])} of {facts['horizon']} steps later, standardized.",
            f"A row is as unusual as the mean over the columns of |value - forecast|{both}, of "
            f"standardized values, averaged over the last {facts['smooth']} rows.",
        ]
        if "threshold" in facts:
            lines.append(
                f"Alarm above {facts['threshold']:.4g}: {facts['alarms']:g} false alarms "
                f"{'a day' if facts['timed'] else 'in 1,000 rows'} on the normal rows of train."
            )
        return lines


def at_rows(error: Array, known: Array, horizon: int, smooth: int) -> NDArray[np.float64]:
    """Errors (T, K) of forecasts made at each row, to the rows (T,) that they were made of: the
    mean over observed columns, smoothed."""
    count = known.sum(axis=1)
    mean = np.where(known, error, 0).sum(axis=1) / np.maximum(count, 1)
    rows = np.zeros(len(error))
    rows[horizon:] = mean[:-horizon]
    return smoothed(rows, smooth)


def _plain(split: Split, i: int, step: bool, facts: Mapping[str, Any]) -> NDArray[np.float64]:
    x = split.arrays["x"][i][:, : facts["outputs"]]
    target = split.arrays["target"][i]
    error = np.abs(target - x) if step else np.abs(target)
    return at_rows(error, split.arrays["known"][i], facts["horizon"], facts["smooth"])


def _label(streams: Streams, option: str | None) -> str | None:
    if option:
        return streams.label(LABELS, option)
    there = set.intersection(*(set(s.rows) for s in streams.streams))
    return next((n for n in LABELS if n in there), None)


def _with_probation(streams: Streams) -> Streams:
    """A further split of all rows behind `probation` of each stream, if the data have that."""
    if not all("probation" in s.values for s in streams.streams):
        return streams
    changed = []
    for s in streams.streams:
        begin = min(int(s.values["probation"]), len(s.x) - 1)
        changed.append(replace(s, parts=s.parts | {"after_probation": (begin, len(s.x))}))
    return replace(streams, streams=tuple(changed), splits=(*streams.splits, "after_probation"))


def _splits(streams: Streams, label: str | None, horizon: int) -> dict[str, Split]:
    """Splits with `x`, `target` (T, K), `counts` (which are learnt from: observed, normal, in the
    split), `known` (which are observed), `unusual` (T,) and `time` (T,)."""
    x, _ = inputs(streams)
    targets = [following(s, horizon)[:, -s.shape[1] :] for s in streams.scaled()]
    labels = [_marked(s, label, streams.name) for s in streams.streams]
    times = [np.arange(len(s.x), dtype=np.float64) if s.time is None else s.time
             for s in streams.streams]  # fmt: skip
    arrays: dict[str, list[Array]] = {
        "x": [*x],
        "target": [*targets],
        "unusual": [*labels],
        "time": [*times],
    }
    splits = streams.cut(arrays, CONTEXT)
    for name, split in splits.items():
        counts, known = [], []
        for target, marked, scored in zip(
            split.arrays["target"], split.arrays["unusual"], split.arrays["scored"], strict=True
        ):
            # The row that the forecast is of, must be normal, and in the split.
            usual = np.zeros(len(target), bool)
            usual[:-horizon] = (~marked & scored)[horizon:]
            seen = ~np.isnan(target)
            seen[-horizon:] = False
            known.append(seen)
            counts.append(seen & usual[:, None])
        made = {
            **split.arrays,
            "target": [np.nan_to_num(t, nan=0.0) for t in split.arrays["target"]],
            "counts": counts,
            "known": known,
        }
        splits[name] = replace(split, arrays=made, steps=(*split.steps, "counts", "known"))
    return splits


def _marked(stream: Stream, label: str | None, where: str) -> NDArray[np.bool_]:
    if label is None:
        return np.zeros(len(stream.x), bool)
    found = stream.rows[label]
    if found.dtype.kind not in "iufb" or not np.isin(found, (0, 1)).all():
        raise InputError(
            f"{label} of {stream.name} in {where} is not 0 (normal) or 1 (unusual) in every row"
        )
    marked: NDArray[np.bool_] = found.astype(bool)
    return marked


def _level(unusual: list[Array], split: Split, facts: Mapping[str, Any]) -> float:
    normal = [s & ~m for s, m in zip(split.arrays["scored"], split.arrays["unusual"], strict=True)]
    rows = sum(int(n.sum()) for n in normal)
    units = rows * facts["time_step"] / DAY if facts["timed"] else rows / ROWS
    return threshold(unusual, normal, units, facts["alarms"], facts["smooth"])


def _judged(unusual: list[Array], split: Split, facts: Mapping[str, Any], level: float) -> Scores:
    from sklearn.metrics import roc_auc_score

    scored, marked = split.arrays["scored"], split.arrays["unusual"]
    scores: Scores = {}
    if facts["label"]:
        said = [u[s] for u, s in zip(unusual, scored, strict=True)]
        true = [m[s] for m, s in zip(marked, scored, strict=True)]
        if len(np.unique(np.concatenate(true))) > 1:
            scores["auroc"] = float(roc_auc_score(np.concatenate(true), np.concatenate(said)))
            each = [float(roc_auc_score(t, s)) for t, s in zip(true, said, strict=True)
                    if len(np.unique(t)) > 1]  # fmt: skip
            if each:
                scores["auroc_mean"] = float(np.mean(each))
    return scores | alarm_scores(
        unusual, marked, scored, split.arrays["time"], level, facts["smooth"], facts["timed"]
    )
