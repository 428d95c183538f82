"""`edgernn train forecast`: the next values of a series, or a number that belongs to each step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import numpy as np
import torch
from torch import Tensor, nn

from edgernn.recipes import baselines as simple
from edgernn.recipes.future import label_splits, values_splits, windows_of
from edgernn.recipes.series_demos import el_nino
from edgernn.recipes.sources import Streams, read_series
from edgernn.recipes.sources.choices import names_of, whole
from edgernn.runtime.errors import InputError
from edgernn.training.base import Dataset, Layers, Outputs, Recipe, Scores, Settings, Split
from edgernn.training.losses import masked_mse, square_distance
from edgernn.training.network import SequenceNetwork, State

LOOKBACK: Final = 30
EPOCH_STEPS: Final = 8192
"""Steps of an epoch, at least: of a short series there are more windows, others each time."""
EPOCH_WINDOWS: Final = 2048
"""Windows of --lookback in an epoch, at most."""


class ForecastNetwork(SequenceNetwork):
    """A SequenceNetwork that says by how much the values change.

    The first `targets` features of the last step are added to what it says of each step ahead, so
    that its output is the forecast itself, in the integer program too. Untrained, it says that
    nothing changes. targets 0: nothing is added.
    """

    def __init__(
        self, features: int, outputs: int, layers: Layers, once: bool, targets: int
    ) -> None:
        super().__init__(features, outputs, layers, "once" if once else "steps")
        self.targets, self.ahead = targets, outputs // targets if targets else 0
        if targets:
            nn.init.zeros_(self.head.weight)
            nn.init.zeros_(self.head.bias)

    def run(
        self,
        x: Tensor,
        *more: Tensor,
        lengths: Tensor | None = None,
        state: State | None = None,
    ) -> tuple[Tensor, State]:
        """See SequenceNetwork."""
        change, after = super().run(x, *more, lengths=lengths, state=state)
        if not self.targets:
            return change, after
        last = x[..., : self.targets]
        if self.answers == "once":
            if lengths is None:
                last = last[:, -1]
            else:
                last = last[torch.arange(len(x), device=x.device), lengths - 1]
        if self.ahead > 1:
            last = torch.cat([last] * self.ahead, dim=-1)
        self.side = [said + last for said in self.side]
        return change + last, after


class Forecast(Recipe):
    """Many to many: from the values up to a step the next ones, or with --label a number of that
    step; scored by the mean square error of standardized values."""

    name: ClassVar[str] = "forecast"
    headline: ClassVar[str] = "mse"
    higher: ClassVar[bool] = False
    settings: ClassVar[Settings] = Settings(epochs=30, batch_size=32, learning_rate=3e-3, window=64)
    layers: ClassVar[Layers] = Layers(hidden=32)

    def read(self, source: str | None, options: Mapping[str, Any], seed: int) -> Dataset:
        """Streams; the demonstration reads the temperature of the sea off Peru."""
        label = options.get("label")
        # A label is learnt better from windows: what came long before tells one unit of a train
        # set from another, and that does not carry over.
        lookback = whole(options, "lookback", LOOKBACK if label else 0, 0)
        horizon = whole(options, "horizon", 1)
        streams = el_nino(options) if source is None else read_series(source, options)
        streams.require(max(horizon + 1, 3), f"a forecast of {horizon} steps")
        facts = dict(streams.facts) | {"horizon": horizon, "lookback": lookback, "label": label}
        if label:
            if horizon > 1 or options.get("target"):
                raise InputError(
                    "--label asks for a number of each step itself; leave out --horizon and "
                    "--target"
                )
            splits = _labelled(streams, label, options.get("clip_label"), lookback, facts)
        else:
            if options.get("clip_label") is not None:
                raise InputError("--clip-label is for --label; name the label too")
            streams, splits = _values(streams, options, horizon, lookback, facts)
            facts |= {k: streams.facts[k] for k in ("columns", "mean", "std")}
        facts["features"] = [int(splits["train"].arrays["x"][0].shape[1])]
        facts["observed"] = bool(streams.facts["missing"])
        if lookback:
            splits = {name: windows_of(split, lookback) for name, split in splits.items()}
        return Dataset(splits, facts, streams.name, streams.split)

    def network(self, facts: Mapping[str, Any], layers: Layers) -> nn.Module:
        """Answers at every step, or with --lookback once."""
        once = bool(facts["lookback"])
        added = 0 if facts["label"] else len(facts["targets"])
        outputs = len(facts["targets"]) * facts["horizon"]
        network = ForecastNetwork(facts["features"][0], outputs, layers, once, added)
        if not network.streams and not once:
            raise InputError(
                f"{layers.cell} reads backwards too, and at each step would have seen what it is "
                f"to forecast; give it windows that end before: --lookback 48"
            )
        return network

    def loss(self, outputs: tuple[Tensor, ...], batch: Mapping[str, Tensor]) -> Tensor:
        """Mean square error over the values that were observed."""
        return masked_mse(outputs[0], batch["target"], batch["counts"])

    def score(self, outputs: Outputs, split: Split, facts: Mapping[str, Any]) -> Scores:
        """mse over all observed values, standardized; rmse_<column> in the data's units."""
        errors, units, counts = [], [], []
        for i, output in enumerate(outputs):
            wanted = np.atleast_2d(split.arrays["target"][i])
            errors.append(output[0][-len(wanted) :].astype(np.float64) - wanted)
            counts.append(np.atleast_2d(split.arrays["counts"][i]))
            units.append(np.broadcast_to(split.arrays["unit"][i], wanted.shape))
        error, count, unit = (np.concatenate(a) for a in (errors, counts, units))
        scores = {"mse": float(np.mean(error[count] ** 2))}
        names = facts["targets"]
        for k, name in enumerate(names):
            own = np.zeros(error.shape[1], bool)
            own[k :: len(names)] = True
            chosen = count & own
            scores[f"rmse_{name}"] = float(np.sqrt(np.mean((error * unit)[chosen] ** 2)))
        return scores

    def augment(self, split: Split, generator: np.random.Generator) -> Split:
        """Short series several times over, as windows that begin elsewhere; of very many windows
        some."""
        count = len(split)
        if len(split.arrays["target"]) and np.ndim(split.arrays["target"][0]) == 1:
            if count <= EPOCH_WINDOWS:
                return split
            return split.take(generator.choice(count, EPOCH_WINDOWS, replace=False).tolist())
        times = -(-EPOCH_STEPS // int(split.lengths.sum()))
        return split.take([*range(count)] * times) if times > 1 else split

    def baselines(self, dataset: Dataset) -> dict[str, Scores]:
        """Persistence, the seasonal naive forecast, ridge regression and a windowed MLP; for a
        label its mean in place of the first two."""
        train, test, facts = dataset.splits["train"], dataset.splits["test"], dataset.facts
        count = 0 if facts["label"] else len(facts["targets"])
        found: dict[str, Outputs] = {}
        if count:
            found["persistence"] = simple.persistence(test, facts["horizon"], count)
            if max(facts["periods"]) > 1:
                season = [(np.atleast_2d(s),) for s in test.arrays["seasonal"]]
                found[f"seasonal naive, {_listed(facts['periods'])} steps"] = season
        else:
            zeros = [(np.zeros_like(np.atleast_2d(t)),) for t in test.arrays["target"]]
            found["mean of train"] = zeros
        found |= simple.regression(train, test, count)
        return {name: self.score(outputs, test, facts) for name, outputs in found.items()}

    def distance(
        self, student: tuple[Tensor, ...], teacher: tuple[Tensor, ...], batch: Mapping[str, Tensor]
    ) -> Tensor:
        """The mean square of the difference."""
        return square_distance(student[0], teacher[0], batch)

    def card(self, facts: Mapping[str, Any]) -> list[str]:
        """What goes in and what comes out."""
        reads = "values, standardized; a missing one as the last observed"
        if facts["observed"]:
            reads += "; then for each 1 if it was observed, else 0"
        says = f"the next {facts['horizon']} values of" if facts["horizon"] > 1 else "the next"
        if facts["label"]:
            says = "of this step"
        return [f"Reads: {reads}.", f"Says: {says} {', '.join(facts['targets'])}, standardized."]


def _values(
    streams: Streams,
    options: Mapping[str, Any],
    horizon: int,
    lookback: int,
    facts: dict[str, Any],
) -> tuple[Streams, dict[str, Split]]:
    targets = names_of(options.get("target")) or list(streams.facts["columns"])
    if any(t.startswith("-") for t in targets):
        raise InputError("--target names the columns to forecast, not those to leave out")
    streams = streams.first(targets)
    facts["targets"] = targets
    facts["periods"] = _periods(streams, whole(options, "period", 0), len(targets))
    return streams, values_splits(streams, len(targets), horizon, facts["periods"], lookback)


def _periods(streams: Streams, option: int, targets: int) -> list[int]:
    """Steps of a season of each stream: given, known to the data, or found in train."""
    from edgernn.recipes.sources.missing import held

    found = []
    for stream, scaled in zip(streams.streams, streams.scaled(), strict=True):
        known = option or stream.values.get("period")
        train = slice(*stream.parts.get("train", (0, 0)))
        found.append(int(known) if known else simple.find_period(held(scaled[train, :targets])))
    if len({*found}) > 1 and not any("period" in s.values for s in streams.streams):
        # A stream without rows in train goes by the others.
        usual = max({*found}, key=found.count)
        found = [p if "train" in s.parts else usual
                 for p, s in zip(found, streams.streams, strict=True)]  # fmt: skip
    return found


def _labelled(
    streams: Streams, name: str, clip: Any, lookback: int, facts: dict[str, Any]
) -> dict[str, Split]:
    labels = streams.numbers(streams.label((), name))
    if clip is not None:
        labels = [np.minimum(label, np.float32(clip)) for label in labels]
    train = np.concatenate(
        [
            label[slice(*s.parts["train"])]
            for label, s in zip(labels, streams.streams, strict=True)
            if "train" in s.parts
        ]
    )
    mean, std = float(train.mean()), float(train.std())
    if std == 0:
        raise InputError(f"{name} is {mean:g} in all of train of {streams.name}; nothing to learn")
    facts |= {"targets": [name], "label_mean": mean, "label_std": std, "clip_label": clip}
    return label_splits(streams, labels, mean, std, lookback)


def _listed(periods: list[int]) -> str:
    return ", ".join(str(p) for p in dict.fromkeys(periods))
