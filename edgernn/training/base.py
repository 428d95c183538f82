"""What a training is made of: data in splits, settings, and the recipe that joins them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

import numpy as np
from numpy.typing import NDArray

from edgernn.runtime.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from edgernn.runtime.program import Program
    from edgernn.runtime.window import Window

Array = NDArray[Any]
Outputs = Sequence[tuple[NDArray[np.float32], ...]]
"""For each sequence one array per output of the network: (T_i, O) if it answers at every step, else
(1, O)."""
Scores = dict[str, float]
SPLITS: Final = ("train", "val", "test")
BY_LOSS: Final = "val_loss"
"""In place of a score: the validation loss itself."""


@dataclass(frozen=True)
class Split:
    """Sequences that are used for one purpose.

    arrays: name -> one array for each sequence. inputs: what the network reads, in its order, each
    (T_i, F) float32, or (T_i,) int64 token ids. steps: names of all arrays whose first axis is
    time, the inputs included; others hold one value, or one vector, for the whole sequence.
    """

    arrays: Mapping[str, Sequence[Array]]
    inputs: tuple[str, ...] = ("x",)
    steps: tuple[str, ...] = ("x",)

    def __len__(self) -> int:
        return len(self.arrays[self.inputs[0]])

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Steps of each sequence, (N,)."""
        return np.array([len(x) for x in self.arrays[self.inputs[0]]], np.int64)

    def take(self, indices: Sequence[int]) -> Split:
        """The sequences at these places."""
        chosen = {name: [rows[i] for i in indices] for name, rows in self.arrays.items()}
        return replace(self, arrays=chosen)


@dataclass(frozen=True)
class Dataset:
    """Splits by name, `train`, `val` and `test` and perhaps further ones that are only scored.

    facts: what the network's shape, its use on a device and the model card need, as JSON: columns,
    mean and std of the standardization, classes, vocabulary, and so on; always `features`, the
    size of each input (0: token ids). name: what the data is called. split: how it was split.
    """

    splits: Mapping[str, Split]
    facts: dict[str, Any]
    name: str
    split: str


@dataclass(frozen=True)
class Settings:
    """How a network is trained.

    learning_rate: highest, of AdamW. clip: largest norm of the gradient. warmup: epochs of linear
    warm-up. schedule: after it. patience: epochs without a better validation score before training
    stops, 0 never. window: steps of truncated back-propagation through time, 0 for whole
    sequences. stateful: windows follow one another and the state goes on, detached; otherwise each
    window starts from the initial state. side: weight of a teacher's or twin's loss.
    """

    epochs: int = 30
    batch_size: int = 32
    learning_rate: float = 5e-3
    weight_decay: float = 1e-2
    clip: float = 1.0
    warmup: int = 1
    schedule: Literal["cosine", "plateau", "constant"] = "cosine"
    patience: int = 0
    window: int = 0
    stateful: bool = False
    side: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class Layers:
    """The shape of a network.

    cell: as `edgernn.training.cells.parse` reads it: gru, lstm, bigru:gate, conv+gru and so on.
    hidden: hidden_size. layers: how many, one on the other. pool: last, mean, max or attention; for
    networks that answer once. dropout: share of inputs of each recurrent layer, and of the head,
    that are dropped; recurrent_dropout: of the state on its way into the recurrent matrices; one
    mask for all steps (Gal and Ghahramani 2016). embedding: size of a token's vector.
    """

    cell: str = "gru"
    hidden: int = 32
    layers: int = 1
    pool: Literal["last", "mean", "max", "attention"] = "last"
    dropout: float = 0.0
    recurrent_dropout: float = 0.0
    embedding: int = 32


@dataclass(frozen=True)
class Config:
    """Everything that a run depends on but its data. options: of the recipe itself, JSON values."""

    recipe: str
    settings: Settings = field(default_factory=Settings)
    layers: Layers = field(default_factory=Layers)
    options: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """As config.json holds it."""
        return asdict(self)

    @classmethod
    def from_json(cls, found: Mapping[str, Any], where: str) -> Config:
        """The inverse; InputError that names `where` for a field that does not belong."""
        try:
            return cls(
                str(found["recipe"]),
                _made(Settings, found["settings"], where),
                _made(Layers, found["layers"], where),
                dict(found["options"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{where} does not describe a training run: {error}") from None


def _made(kind: Any, found: Mapping[str, Any], where: str) -> Any:
    defaults = {f.name: f.default for f in fields(kind)}
    for name, value in found.items():
        if name not in defaults:
            raise InputError(f"{where}: {name!r} is no field of {kind.__name__.lower()}")
        whole = isinstance(defaults[name], float) and isinstance(value, int)
        if not whole and type(value) is not type(defaults[name]):
            raise InputError(f"{where}: {name} is {value!r}, not as {defaults[name]!r}")
    return kind(**found)


class Recipe(ABC):
    """One kind of task. Data in, a network, its loss and its score out.

    name: the command's. headline: the score by which the best epoch is chosen, `higher` if more of
    it is better. settings, layers: defaults.
    """

    name: ClassVar[str]
    headline: ClassVar[str]
    higher: ClassVar[bool] = True
    settings: ClassVar[Settings] = Settings()
    layers: ClassVar[Layers] = Layers()

    @abstractmethod
    def read(self, source: str | None, options: Mapping[str, Any], seed: int) -> Dataset:
        """The data: of a file or folder, or with None the demonstration's own.

        InputError, one sentence, for data that does not fit.
        """

    @abstractmethod
    def network(self, facts: Mapping[str, Any], layers: Layers) -> nn.Module:
        """An untrained network, called as network(*inputs, lengths=None).

        Each input is (N, T, F) float32 or (N, T) int64 ids; returns a tensor or a tuple of them,
        (N, T, O) each, or (N, O) if it answers once. With lengths, sequences are padded at their
        end, and padded steps change nothing. Called with the inputs alone it is what is exported.
        """

    @abstractmethod
    def loss(self, outputs: tuple[Tensor, ...], batch: Mapping[str, Tensor]) -> Tensor:
        """What is minimized. batch: each array of the split, padded with 0 (integers that are no
        input with -1) to (N, T, ...) or stacked, with `lengths` (N,) and `mask` (N, T) bool."""

    @abstractmethod
    def score(self, outputs: Outputs, split: Split, facts: Mapping[str, Any]) -> Scores:
        """The scores of a network's outputs over a split, `headline` among them."""

    def selects(self, options: Mapping[str, Any]) -> tuple[str, bool]:
        """What the best epoch is chosen by, and whether more of it is better: the score that an
        option `select` names, or the validation loss, else the headline."""
        chosen = options.get("select") or self.headline
        return chosen, self.higher and chosen != BY_LOSS

    def ranked_by(self, options: Mapping[str, Any]) -> tuple[str, bool]:
        """The score that networks and programs are compared by: as `selects`, but never the loss,
        which an integer program has none of."""
        chosen, higher = self.selects(options)
        return (self.headline, self.higher) if chosen == BY_LOSS else (chosen, higher)

    def baselines(self, dataset: Dataset) -> dict[str, Scores]:
        """Name -> test scores of what every user would try first."""
        return {}

    def augment(self, split: Split, generator: np.random.Generator) -> Split:
        """The training split of one epoch; a recipe may change it each time."""
        return split

    def distance(
        self, student: tuple[Tensor, ...], teacher: tuple[Tensor, ...], batch: Mapping[str, Tensor]
    ) -> Tensor:
        """How far a student's outputs are from a teacher's, (N, T, O) or (N, O), valid steps."""
        from edgernn.training.losses import soft_distance

        return soft_distance(student[0], teacher[0], batch)

    def settle(self, network: nn.Module, dataset: Dataset) -> dict[str, Any]:
        """Further facts that follow from the trained network, such as a threshold; the scores of
        the splits then know them."""
        return {}

    def card(self, facts: Mapping[str, Any]) -> list[str]:
        """Lines for the model card that only this recipe knows."""
        return []

    def application(self, facts: Mapping[str, Any], scores: Mapping[str, Scores]) -> dict[str, Any]:
        """What an application puts in front of the program and behind it, as JSON, beside facts.

        scores: of the integer program, by split.
        """
        return {}

    def device_files(
        self,
        facts: Mapping[str, Any],
        scores: Mapping[str, Scores],
        program: Program | Window,
        name: str,
    ) -> dict[str, bytes]:
        """C files of the same, to lie beside those of the program called `name`."""
        return {}
