"""`edgernn train generate`: the next token of a text, and texts made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgernn.recipes.text.long import read_long, reference
from edgernn.recipes.text.ngram import best_order, ngram_bits, xz_bits
from edgernn.recipes.text.vocabulary import Vocabulary
from edgernn.runtime.errors import InputError
from edgernn.training.base import Dataset, Layers, Outputs, Recipe, Scores, Settings, Split
from edgernn.training.losses import cross_entropy
from edgernn.training.network import SequenceNetwork

ORDERS: Final = (2, 3, 4, 5, 6, 7)
EMBEDDING_SPREAD: Final = 0.1
_ROWS: Final = 4096
"""Steps whose probabilities are computed at once."""


class Generate(Recipe):
    """Token ids (T_i,) to the id that follows each of them; scored by bits per character."""

    name: ClassVar[str] = "generate"
    headline: ClassVar[str] = "bits_per_character"
    higher: ClassVar[bool] = False
    settings: ClassVar[Settings] = Settings(
        epochs=20, batch_size=32, learning_rate=5e-3, window=100, stateful=True
    )
    layers: ClassVar[Layers] = Layers(hidden=128, embedding=32)

    def read(self, source: str | None, options: Mapping[str, Any], seed: int) -> Dataset:
        """Long texts; the demonstration is Python's own language reference."""
        texts = reference() if source is None else read_long(source)
        vocabulary = Vocabulary.of(
            texts.texts["train"],
            options["tokens"],
            options["minimum"],
            options["vocabulary"],
        )
        splits = {}
        for name, parts in texts.texts.items():
            ids = [i for i in map(vocabulary.encode, parts) if len(i) > 1]
            if not ids:
                raise InputError(f"{texts.name} has no two tokens in {name}; give more text")
            arrays = {"x": [i[:-1] for i in ids], "y": [i[1:] for i in ids]}
            splits[name] = Split(arrays, ("x",), ("x", "y"))
        facts = {
            "features": [0],
            "tokens": len(vocabulary),
            "vocabulary": vocabulary.as_json(),
            "source": texts.source,
            "licence": texts.licence,
        }
        return Dataset(splits, facts, texts.name, texts.split)

    def network(self, facts: Mapping[str, Any], layers: Layers) -> nn.Module:
        """A SequenceNetwork that answers at every step."""
        network = SequenceNetwork(0, facts["tokens"], layers, "steps", facts["tokens"])
        if not network.streams:
            raise InputError(
                f"{layers.cell} reads what follows, which is to be predicted; take a cell of one "
                "direction"
            )
        assert network.embedding is not None
        with torch.no_grad():
            network.embedding.weight.mul_(EMBEDDING_SPREAD)
        return network

    def loss(self, outputs: tuple[Tensor, ...], batch: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy."""
        return cross_entropy(outputs[0], batch["y"])

    def score(self, outputs: Outputs, split: Split, facts: Mapping[str, Any]) -> Scores:
        """Bits per character, each text read from the initial state to its end, and how often the
        likeliest token follows."""
        bits, right = 0.0, 0
        for (logits,), wanted in zip(outputs, split.arrays["y"], strict=True):
            for begin in range(0, len(wanted), _ROWS):
                part, following = logits[begin : begin + _ROWS], wanted[begin : begin + _ROWS]
                bits += _bits(part, following)
                right += int((part.argmax(axis=1) == following).sum())
        return {
            "bits_per_character": bits / _characters(split, facts),
            "accuracy": right / int(split.lengths.sum()),
        }

    def baselines(self, dataset: Dataset) -> dict[str, Scores]:
        """n-grams of the order that suits val best, and xz behind the training text."""
        size = dataset.facts["tokens"]
        vocabulary = Vocabulary.from_json(dataset.facts["vocabulary"], "the data")
        ids = {name: _joined(split) for name, split in dataset.splits.items()}
        order = best_order(ids["train"], ids["val"], size, ORDERS)
        characters = _characters(dataset.splits["test"], dataset.facts)
        texts = {name: "\n".join(map(vocabulary.decode, ids[name])) for name in ("train", "test")}
        return {
            f"{order}-grams, Witten-Bell": {
                "bits_per_character": ngram_bits(ids["train"], ids["test"], size, order)
                / characters
            },
            "xz behind train": {
                "bits_per_character": xz_bits(texts["train"], texts["test"]) / characters
            },
        }

    def card(self, facts: Mapping[str, Any]) -> list[str]:
        """The vocabulary."""
        vocabulary = facts["vocabulary"]
        return [f"{facts['tokens']:,} tokens, of train: {vocabulary['kind']}"]


def _joined(split: Split) -> list[NDArray[np.int64]]:
    pairs: Sequence[tuple[Any, Any]] = list(zip(split.arrays["x"], split.arrays["y"], strict=True))
    return [np.append(x, y[-1]) for x, y in pairs]


def _bits(logits: NDArray[np.float32], wanted: NDArray[np.int64]) -> float:
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True)
    likely = wide[np.arange(len(wanted)), wanted] - np.log(np.exp(wide).sum(axis=1))
    return float(-likely.sum() / np.log(2))


def _characters(split: Split, facts: Mapping[str, Any]) -> int:
    """How many the tokens to predict are."""
    vocabulary = Vocabulary.from_json(facts["vocabulary"], "the data")
    return sum(len(vocabulary.decode(ids)) for ids in split.arrays["y"])
