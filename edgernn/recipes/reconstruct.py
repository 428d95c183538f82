"""`edgernn train reconstruct`: the missing values of a series, and how sure they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgernn.recipes.gaps import FILLS, crops, interpolated, random_gaps, windows, with_gaps
from edgernn.recipes.series_demos import el_nino
from edgernn.recipes.sources import Streams, read_series
from edgernn.recipes.sources.choices import names_of, whole
from edgernn.recipes.sources.missing import held
from edgernn.runtime.errors import InputError
from edgernn.training.base import Dataset, Layers, Outputs, Recipe, Scores, Settings, Split
from edgernn.training.network import SequenceNetwork, State

SPAN: Final = 96
MARGIN: Final = 3
"""One part in so many of a window, at either end, is read only: what it answers for lies within
what it knows."""
BLOCK: Final = 12
FLOOR: Final = 1e-3
"""Least precision, in 1 / variance of the standardized values."""
OF_TRAIN: Final = ("values", "times", "span", "block", "fill")
EPOCH_STEPS: Final = 16384
FILLED: Final = {
    "linear": "linearly between their neighbours in the window",
    "hold": "the last value",
    "zero": "0, the mean",
}
HIDE: Final = "hide"
INTERVALS: Final = {50: 0.6744897501960817, 80: 1.2815515655446004, 95: 1.959963984540054}
"""Half the width of the central intervals of a normal distribution, in standard deviations."""


class MeanAndPrecision(nn.Module):
    """Two heads: the mean (..., K), and what the precision (..., K) is the softplus of."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.mean = nn.Linear(width, outputs)
        self.precision = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Of x (..., width)."""
        return self.mean(x), self.precision(x)


def precision_of(raw: Tensor) -> Tensor:
    """1 / variance from what the head says."""
    return functional.softplus(raw) + FLOOR


class ReconstructNetwork(SequenceNetwork):
    """A SequenceNetwork that says by how much the value that fills a gap is wrong, and how sure it
    is: to the mean the first `targets` features are added, in the integer program too, if
    `corrects`. Untrained it says the filled value."""

    def __init__(self, features: int, targets: int, layers: Layers, corrects: bool) -> None:
        super().__init__(features, targets, layers, "steps")
        heads = MeanAndPrecision(self.head.in_features, targets)
        self.targets, self.corrects = targets, corrects
        if corrects:
            nn.init.zeros_(heads.mean.weight)
            nn.init.zeros_(heads.mean.bias)
        self.head = heads  # type: ignore[assignment]

    def run(
        self,
        x: Tensor,
        *more: Tensor,
        lengths: Tensor | None = None,
        state: State | None = None,
    ) -> tuple[Any, State]:
        """See SequenceNetwork; the answer is a pair."""
        (mean, raw), after = super().run(x, *more, lengths=lengths, state=state)
        if self.corrects:
            mean = mean + x[..., : self.targets]
            twins: list[Any] = [(m + x[..., : self.targets], r) for m, r in self.side]
            self.side = twins
        return (mean, raw), after


class Reconstruct(Recipe):
    """Windows with gaps in, for each value a normal distribution out; trained and scored on values
    that were hidden. The score is the mean square error of standardized values."""

    name: ClassVar[str] = "reconstruct"
    headline: ClassVar[str] = "mse"
    higher: ClassVar[bool] = False
    settings: ClassVar[Settings] = Settings(epochs=60, batch_size=16, learning_rate=1e-2)
    layers: ClassVar[Layers] = Layers(cell="bigru", hidden=32)

    def read(self, source: str | None, options: Mapping[str, Any], seed: int) -> Dataset:
        """Streams; the demonstration reads the temperature of the sea off Peru."""
        streams = el_nino(options) if source is None else read_series(source, options)
        targets = names_of(options.get("target")) or list(streams.facts["columns"])
        streams = streams.first(targets)
        span, block = whole(options, "span", SPAN, 4), whole(options, "block", BLOCK)
        streams.require(4, "a window")
        fill = options.get("fill") or FILLS[0]
        splits = _splits(streams, len(targets), span, block, fill)
        for name, split in splits.items():
            if not sum(int(c.sum()) for c in split.arrays["counts"]):
                raise InputError(f"nothing is hidden in {name} of {streams.name}; give more rows")
        facts = dict(streams.facts) | {
            "features": [2 * len(streams.facts["columns"])],
            "targets": targets,
            "span": span,
            "block": block,
            "fill": fill,
            "hidden": "by the data" if _given(streams) else "by chance, the same every time",
        }
        return Dataset(splits, facts, streams.name, streams.split)

    def network(self, facts: Mapping[str, Any], layers: Layers) -> nn.Module:
        """Answers at every step with a mean, and the precision before its softplus."""
        network = ReconstructNetwork(
            facts["features"][0], len(facts["targets"]), layers, facts["fill"] != "zero"
        )
        if network.streams and facts["fill"] == "linear":
            raise InputError(
                f"{layers.cell} reads forwards only, and a linear interpolation looks ahead; fill "
                f"its gaps with the last value: --fill hold"
            )
        return network

    def loss(self, outputs: tuple[Tensor, ...], batch: Mapping[str, Tensor]) -> Tensor:
        """Negative log-likelihood of the hidden values, weighted."""
        mean, raw = outputs
        precision = precision_of(raw)
        terms = 0.5 * (precision * (mean - batch["target"]).square() - torch.log(precision))
        # Without this weight the mean learns hardly anything where the network is unsure (Seitzer
        # et al. 2022, arXiv 2203.09168, with beta 0.5).
        terms = terms * precision.detach().rsqrt()
        counts = batch["counts"]
        return torch.where(counts, terms, torch.zeros_like(terms)).sum() / counts.sum().clamp(min=1)

    def score(self, outputs: Outputs, split: Split, facts: Mapping[str, Any]) -> Scores:
        """Over the hidden values: mse and error_sd (mean error) standardized, rmse_<column> in the
        data's units, and how well the precision is calibrated: nll (without its constant),
        inside_<percent> of the values that the interval of so many per cent holds."""
        counts = np.concatenate(split.arrays["counts"])
        wanted = np.concatenate(split.arrays["target"])
        error = np.concatenate([o[0] for o in outputs]).astype(np.float64) - wanted
        unit = np.concatenate(
            [np.broadcast_to(u, t.shape) for u, t in zip(
                split.arrays["unit"], split.arrays["target"], strict=True)]
        )  # fmt: skip
        off = error[counts]
        scores = {"mse": float(np.mean(off**2)), "error_sd": float(np.mean(np.abs(off)))}
        if len(outputs[0]) > 1:
            raw = torch.from_numpy(np.concatenate([o[1] for o in outputs]).astype(np.float64))
            precision = precision_of(raw).numpy()[counts]
            scores["nll"] = float(np.mean(0.5 * (precision * off**2 - np.log(precision))))
            z = np.abs(off) * np.sqrt(precision)
            scores |= {f"inside_{p}": float(np.mean(z < half)) for p, half in INTERVALS.items()}
        for k, name in enumerate(facts["targets"]):
            own = (error * unit)[:, k][counts[:, k]]
            if len(own):
                scores[f"rmse_{name}"] = float(np.sqrt(np.mean(own**2)))
        return scores

    def augment(self, split: Split, generator: np.random.Generator) -> Split:
        """Random windows with other gaps."""
        values, targets = split.arrays["values"], split.arrays["target"][0].shape[1]
        span, block = int(split.arrays["span"][0]), int(split.arrays["block"][0])
        total = int(split.lengths.sum())
        count = max(EPOCH_STEPS, 2 * total) // span + 1
        found: dict[str, list[Any]] = {"x": [], "target": [], "counts": []}
        for i, begin, end in crops(split.lengths.tolist(), span, count, generator):
            part = values[i][begin:end]
            hidden = random_gaps(part.shape, block, generator, varied=True)
            times = split.arrays["times"][i][begin:end]
            _add(found, part, hidden, targets, int(split.arrays["fill"][i]), times)
        return Split(found, ("x",), ("x", "target", "counts"))

    def baselines(self, dataset: Dataset) -> dict[str, Scores]:
        """Linear interpolation, the last value, and the mean."""
        test = dataset.splits["test"]
        zeros = [np.zeros_like(t) for t in test.arrays["target"]]
        found = {
            "linear interpolation": test.arrays["linear"],
            "last value": test.arrays["last"],
            "mean of train": zeros,
        }
        return {
            name: self.score([(rows,) for rows in said], test, dataset.facts)
            for name, said in found.items()
        }

    def distance(
        self, student: tuple[Tensor, ...], teacher: tuple[Tensor, ...], batch: Mapping[str, Tensor]
    ) -> Tensor:
        """Kullback-Leibler divergence of the student's distribution from the teacher's, of the
        hidden values."""
        own, other = precision_of(student[1]), precision_of(teacher[1])
        each = 0.5 * (
            own / other + own * (teacher[0] - student[0]).square() - 1 + torch.log(other / own)
        )
        counts = batch["counts"]
        return torch.where(counts, each, torch.zeros_like(each)).sum() / counts.sum().clamp(min=1)

    def card(self, facts: Mapping[str, Any]) -> list[str]:
        """What goes in and what comes out."""
        return [
            f"Reads: windows of {facts['span']} steps; values, standardized, missing ones filled "
            f"in ({FILLED[facts['fill']]}); then for each 1 if it is there, else 0.",
            f"Says: the mean of {', '.join(facts['targets'])}, standardized; and r, with precision "
            f"(1 / variance) softplus(r) + {FLOOR}, which is left to the application.",
            f"Hidden for the score: {facts['hidden']}.",
        ]


def _given(streams: Streams) -> bool:
    return all(s.rows.get(HIDE) is not None and s.rows[HIDE].shape == s.x.shape
               for s in streams.streams)  # fmt: skip


def _add(
    found: dict[str, list[Any]], part: Any, hidden: Any, targets: int, fill: int, time: Any
) -> None:
    found["x"].append(with_gaps(part, hidden, FILLS[fill], time))
    wanted = part[:, :targets]
    found["target"].append(np.nan_to_num(wanted, nan=0.0))
    found["counts"].append(hidden[:, :targets] & ~np.isnan(wanted))


def _splits(streams: Streams, targets: int, span: int, block: int, fill: str) -> dict[str, Split]:
    """train: whole parts, which `augment` cuts; others: windows, every step scored once."""
    given, margin, way = _given(streams), span // MARGIN, FILLS.index(fill)
    splits = {}
    for name in streams.splits:
        found: dict[str, list[Any]] = {k: [] for k in ("x", "target", "counts", "unit")}
        more: dict[str, list[Any]] = {
            k: [] for k in (OF_TRAIN if name == "train" else ("linear", "last"))
        }
        for i, (stream, scaled) in enumerate(zip(streams.streams, streams.scaled(), strict=True)):
            if name not in stream.parts:
                continue
            start, stop = stream.parts[name]
            hidden = (
                stream.rows[HIDE].astype(bool)
                if given
                else random_gaps(scaled.shape, block, np.random.default_rng((i, len(scaled))))
            )
            time = np.arange(len(scaled), dtype=np.float64) if stream.time is None else stream.time
            unit = np.array(streams.deviations(stream)[:targets], np.float32)
            if name == "train":
                rows = slice(start, stop)
                _add(found, scaled[rows], hidden[rows], targets, way, time[rows])
                found["unit"].append(unit)
                more["values"].append(scaled[rows])
                more["times"].append(time[rows])
                more["fill"].append(np.int64(way))
                more["span"].append(np.int64(span))
                more["block"].append(np.int64(block))
                continue
            visible = np.where(hidden, np.float32(np.nan), scaled)
            linear = interpolated(visible, time)[:, :targets]
            last = held(visible)[:, :targets]
            # What came before the part is known, what comes behind it is not.
            before = min(margin, start)
            base = start - before
            for begin, end, first, behind in windows(stop - base, span, margin):
                rows = slice(base + begin, base + end)
                _add(found, scaled[rows], hidden[rows], targets, way, time[rows])
                row = np.arange(begin, end)
                scored = (row >= max(first, before)) & (row < behind)
                found["counts"][-1] &= scored[:, None]
                found["unit"].append(unit)
                more["linear"].append(linear[rows])
                more["last"].append(last[rows])
        steps = ("x", "target", "counts", *(k for k in more if k not in ("span", "block", "fill")))
        splits[name] = Split(found | more, ("x",), steps)
    return splits
