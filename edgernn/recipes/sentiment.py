"""`edgernn train sentiment`: a class for a text, word by word."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from edgernn.recipes.scores import class_scores
from edgernn.recipes.text.opinions import OPINIONS, opinions
from edgernn.recipes.text.reading import Texts, read_texts
from edgernn.recipes.text.unknown import with_unknown
from edgernn.recipes.text.vocabulary import UNKNOWN, Vocabulary
from edgernn.recipes.text.wide import WideNetwork
from edgernn.training.base import Dataset, Layers, Outputs, Recipe, Scores, Settings, Split
from edgernn.training.losses import cross_entropy


class Sentiment(Recipe):
    """Token ids (T_i,) to one of `classes`, any number of them; scored by accuracy and macro F1."""

    name: ClassVar[str] = "sentiment"
    headline: ClassVar[str] = "accuracy"
    settings: ClassVar[Settings] = Settings(epochs=8, batch_size=32, learning_rate=3e-3)
    layers: ClassVar[Layers] = Layers(hidden=32, pool="max", dropout=0.5, embedding=32)

    def __init__(self) -> None:
        self.word_dropout = 0.0
        self._texts: Texts | None = None
        self._column = ""
        self._begin: tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]] | None = None

    def read(self, source: str | None, options: Mapping[str, Any], seed: int) -> Dataset:
        """Texts with a label each, as `edgernn.recipes.text` reads them; the demonstration is
        generated."""
        label = options.get("label")
        texts = (
            opinions(seed)
            if source is None
            else read_texts(source, options["text"], [label] if label else None, seed)
        )
        (column,) = texts.labels
        self._texts, self._column, self.word_dropout = texts, column, options["word_dropout"]
        vocabulary = Vocabulary.of(
            texts.texts["train"],
            options["tokens"],
            options["minimum"],
            options["vocabulary"],
            options["length"],
        )
        ids, labels = texts.ids(vocabulary), texts.indices(column)
        self._begin = (ids["train"], labels["train"])
        splits = {name: Split({"x": ids[name], "y": labels[name]}, ("x",), ("x",)) for name in ids}
        facts = {
            "features": [0],
            "tokens": len(vocabulary),
            "plain": options["plain"],
            "classes": texts.classes(column),
            "label": column,
            "vocabulary": vocabulary.as_json(),
            "unknown": {name: _unknown(split) for name, split in splits.items()},
            "repeated": texts.repeated(),
        }
        return Dataset(splits, facts, OPINIONS if source is None else texts.name, texts.split)

    def network(self, facts: Mapping[str, Any], layers: Layers) -> nn.Module:
        """A WideNetwork, which where the data was read begins as naive Bayes; with `plain` a
        SequenceNetwork that answers once."""
        network = WideNetwork(len(facts["classes"]), facts["tokens"], layers)
        if facts["plain"]:
            return network.recurrent
        if self._begin is not None:
            network.begin(*self._begin)
        return network

    def loss(self, outputs: tuple[Tensor, ...], batch: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy."""
        return cross_entropy(outputs[0], batch["y"])

    def score(self, outputs: Outputs, split: Split, facts: Mapping[str, Any]) -> Scores:
        """Accuracy and macro F1 of the answer at the last token."""
        logits = np.stack([output[0][-1] for output in outputs])
        return class_scores(logits, np.array(split.arrays["y"]))

    def baselines(self, dataset: Dataset) -> dict[str, Scores]:
        """Logistic regression on the tf-idf of words and pairs of words, all of them."""
        if self._texts is None:
            return {}
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline

        texts, labels = self._texts.texts, self._texts.indices(self._column)
        model = make_pipeline(
            TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
            LogisticRegression(C=10, max_iter=1000),
        )
        model.fit(texts["train"], np.array(labels["train"]))
        wanted, counts = np.array(labels["test"]), np.bincount(labels["train"])
        return {
            "tf-idf, logistic regression": class_scores(
                model.predict_log_proba(texts["test"]), wanted
            ),
            "most frequent class": class_scores(np.tile(counts, (len(wanted), 1)), wanted),
        }

    def augment(self, split: Split, generator: np.random.Generator) -> Split:
        """Some words become unknown, others each epoch, so that unknown ones are learnt too."""
        return with_unknown(split, self.word_dropout, generator)

    def card(self, facts: Mapping[str, Any]) -> list[str]:
        """Vocabulary, and what of the test texts it does not know."""
        vocabulary = facts["vocabulary"]
        lines = [
            f"{facts['label']}: {_listed(facts['classes'])}",
            f"{len(vocabulary['tokens']):,} tokens, of train: {vocabulary['kind']}; "
            f"{facts['unknown']['test']:.1%} of those of test are unknown",
        ]
        if vocabulary["length"]:
            lines.append(f"texts are cut behind {vocabulary['length']} tokens")
        if facts["repeated"]:
            lines.append(f"{facts['repeated']} texts of test are in train too, letter by letter")
        return lines


def _unknown(split: Split) -> float:
    return float(np.mean(np.concatenate(split.arrays["x"]) == UNKNOWN))


def _listed(names: Sequence[str], most: int = 12) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
