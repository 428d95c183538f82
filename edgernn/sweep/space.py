"""What a sweep searches: cells, sizes, layers, learning rate, dropout."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from edgernn.compare.trials import config_for
from edgernn.runtime.errors import InputError
from edgernn.training.base import Config
from edgernn.training.cells import parse

if TYPE_CHECKING:
    from optuna import Trial

CELLS: Final = ("gru", "lstm", "mgu", "fastgrnn")
Range = tuple[float, float]


@dataclass(frozen=True)
class Space:
    """Ranges, both ends included; equal ends fix a value. hidden and learning_rate are searched by
    their logarithms."""

    cells: tuple[str, ...] = CELLS
    hidden: tuple[int, int] = (4, 128)
    layers: tuple[int, int] = (1, 2)
    learning_rate: Range = (1e-3, 2e-2)
    dropout: Range = (0.0, 0.0)

    def __post_init__(self) -> None:
        for cell in self.cells:
            parse(cell)
        if not self.cells or len(set(self.cells)) < len(self.cells):
            raise InputError("name the cells to search once each, separated by commas")
        least = {"hidden": 1, "layers": 1, "learning_rate": 1e-9, "dropout": 0}
        for name, bound in least.items():
            low, high = getattr(self, name)
            if not bound <= low <= high or (name == "dropout" and high >= 1):
                raise InputError(f"{name} {low}:{high} is no range; the smaller end comes first")

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """Optuna's next values."""
        low, high = self.learning_rate
        return {
            "cell": trial.suggest_categorical("cell", self.cells),
            "hidden": trial.suggest_int("hidden", *self.hidden, log=True),
            "layers": trial.suggest_int("layers", *self.layers),
            "learning_rate": trial.suggest_float("learning_rate", low, high, log=True),
            "dropout": trial.suggest_float("dropout", *self.dropout),
        }

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {k: list(v) for k, v in asdict(self).items()}


def with_values(config: Config, values: dict[str, Any]) -> Config:
    """A configuration with what was suggested."""
    config = config_for(config, values["cell"], config.settings.seed)
    sizes = {name: values[name] for name in ("hidden", "layers", "dropout")}
    return replace(
        config,
        layers=replace(config.layers, **sizes),
        settings=replace(config.settings, learning_rate=values["learning_rate"]),
    )


def parse_range(text: str, name: str, whole: bool) -> tuple[Any, Any]:
    """ "8:128", or one number for both ends. InputError for anything else."""
    low, colon, high = text.partition(":")
    kind = int if whole else float
    try:
        return kind(low), kind(high if colon else low)
    except ValueError:
        example = "8:64" if whole else "0.001:0.01"
        raise InputError(f"--{name} {text!r} is neither a number nor a range, {example}") from None
