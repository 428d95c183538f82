"""`edgernn train hierarchy`: a path of labels for a text, one on each of several levels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgernn.recipes.harnn import Harnn
from edgernn.recipes.paths import Places, Probabilities, Tree, alone, blend
from edgernn.recipes.requests import REQUESTS, requests
from edgernn.recipes.text.columns import read_columns
from edgernn.recipes.text.reading import Texts, read_texts
from edgernn.recipes.text.unknown import with_unknown
from edgernn.recipes.text.vocabulary import Vocabulary
from edgernn.runtime.errors import InputError
from edgernn.training.base import Dataset, Layers, Outputs, Recipe, Scores, Settings, Split
from edgernn.training.cells import MISSING, parse
from edgernn.training.losses import cross_entropy

Ids = list[NDArray[np.int64]]


class Hierarchy(Recipe):
    """Token ids (T_i,) to one class of each level, `y0` the highest, which is a path in a tree.

    Scored by the path: `subset_accuracy` is the share of texts with every level right. Scores that
    end in `_alone` are of the likeliest class of each level for itself, the others of the likeliest
    path.
    """

    name: ClassVar[str] = "hierarchy"
    headline: ClassVar[str] = "subset_accuracy"
    settings: ClassVar[Settings] = Settings(epochs=16, batch_size=64, learning_rate=5e-3)
    layers: ClassVar[Layers] = Layers(cell="bilstm", hidden=64, dropout=0.4, embedding=96)

    def __init__(self) -> None:
        self.word_dropout = 0.0
        self._texts: Texts | None = None
        self._begin: tuple[Ids, list[Ids]] | None = None

    def read(self, source: str | None, options: Mapping[str, Any], seed: int) -> Dataset:
        """Texts with a label for each level, as `edgernn.recipes.text` reads them; the
        demonstration is generated."""
        if source is None:
            texts = requests(seed)
        else:
            levels = _levels(source, options["text"], options.get("levels"))
            texts = read_texts(source, options["text"], levels, seed)
        where = source or REQUESTS
        self._texts, self.word_dropout = texts, options["word_dropout"]
        _check(options)
        vocabulary = Vocabulary.of(
            texts.texts["train"],
            options["tokens"],
            options["minimum"],
            options["vocabulary"],
            options["length"],
        )
        every = {n: [v for part in s.values() for v in part] for n, s in texts.labels.items()}
        tree = Tree.of(where, {name: texts.classes(name) for name in texts.labels}, every)
        ids = texts.ids(vocabulary)
        labels = [texts.indices(level) for level in tree.levels]
        splits = {
            name: Split({"x": ids[name]} | {f"y{i}": y[name] for i, y in enumerate(labels)})
            for name in ids
        }
        self._begin = (ids["train"], [y["train"] for y in labels])
        facts = {
            "features": [0],
            "tokens": len(vocabulary),
            "levels": list(tree.levels),
            "classes": [list(names) for names in tree.classes],
            "parents": [list(parents) for parents in tree.parents],
            "attention": options["attention"],
            "dense": options["dense"],
            "wide": options["wide"],
            "gain": float(np.mean(splits["train"].lengths)),
            "alpha": options["alpha"],
            "vocabulary": vocabulary.as_json(),
            "repeated": texts.repeated(),
        }
        return Dataset(splits, facts, texts.name, texts.split)

    def network(self, facts: Mapping[str, Any], layers: Layers) -> nn.Module:
        """A Harnn."""
        cell = parse(layers.cell)
        plain = cell.both and cell.fusion == "concat" and not cell.conv and cell.kind != MISSING
        if not plain or layers.pool != "last":
            raise InputError(
                f"hierarchy reads a text in both directions, side by side, and pools it by its own "
                f"attention; cell is bilstm, bigru or the like, not {layers.cell}, and pool is last"
            )
        sizes = [facts[name] for name in ("attention", "dense", "gain", "wide")]
        network = Harnn(facts["tokens"], Tree.from_facts(facts).sizes, layers, *sizes)
        if self._begin is not None:
            network.begin(*self._begin)
        return network

    def loss(self, outputs: tuple[Tensor, ...], batch: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy of each level's own answer, and of its part of the global one."""
        *local, overall = outputs
        parts = torch.split(overall, [logits.shape[-1] for logits in local], dim=-1)
        total = overall.new_zeros(())
        for i, (own, part) in enumerate(zip(local, parts, strict=True)):
            total = total + cross_entropy(own, batch[f"y{i}"]) + cross_entropy(part, batch[f"y{i}"])
        return total

    def distance(
        self, student: tuple[Tensor, ...], teacher: tuple[Tensor, ...], batch: Mapping[str, Tensor]
    ) -> Tensor:
        """The mean over all answers."""
        parts = [super(Hierarchy, self).distance((s,), (t,), batch)
                 for s, t in zip(student, teacher, strict=True)]  # fmt: skip
        total: Tensor = sum(parts[1:], parts[0]) / len(parts)
        return total

    def score(self, outputs: Outputs, split: Split, facts: Mapping[str, Any]) -> Scores:
        """Of the likeliest paths, and of each level for itself."""
        tree = Tree.from_facts(facts)
        return path_scores(tree, blend(outputs, tree.sizes, facts["alpha"]), _wanted(split, tree))

    def baselines(self, dataset: Dataset) -> dict[str, Scores]:
        """Logistic regression on the tf-idf of words, one for each level."""
        if self._texts is None:
            return {}
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression

        tree, texts = Tree.from_facts(dataset.facts), self._texts.texts
        vectors = TfidfVectorizer(sublinear_tf=True)
        x = {"train": vectors.fit_transform(texts["train"])}
        x["test"] = vectors.transform(texts["test"])
        found = []
        for i in range(len(tree.levels)):
            model = LogisticRegression(C=10, max_iter=1000)
            model.fit(x["train"], np.array(dataset.splits["train"].arrays[f"y{i}"]))
            found.append(model.predict_proba(x["test"]))
        wanted = _wanted(dataset.splits["test"], tree)
        return {"tf-idf, logistic regression": path_scores(tree, found, wanted)}

    def augment(self, split: Split, generator: np.random.Generator) -> Split:
        """Some words become unknown, others each epoch, so that unknown ones are learnt too."""
        return with_unknown(split, self.word_dropout, generator)

    def card(self, facts: Mapping[str, Any]) -> list[str]:
        """Levels, vocabulary, and how an answer is read from the outputs."""
        sizes = [
            f"{level} ({len(classes)} classes)"
            for level, classes in zip(facts["levels"], facts["classes"], strict=True)
        ]
        alpha, count = facts["alpha"], len(sizes)
        lines = [
            f"levels: {', '.join(sizes)}",
            f"{facts['tokens']:,} tokens, of train: {facts['vocabulary']['kind']}",
            f"outputs: logits of each level (y0 to y{count - 1}), then of all levels one after the "
            f"other (y{count}); a class has the probability {1 - alpha:g} softmax(its level's) + "
            f"{alpha:g} softmax(its level's part of y{count}), and the answer is the path with the "
            "largest product",
        ]
        if facts["repeated"]:
            lines.append(f"{facts['repeated']} texts of test are in train too, letter by letter")
        return lines


def _check(options: Mapping[str, Any]) -> None:
    if not 0 <= options["alpha"] <= 1:
        raise InputError(
            f"alpha, the share of the global answer, is 0 to 1, not {options['alpha']:g}"
        )
    for name, least in (("attention", 1), ("dense", 1), ("wide", 0)):
        if options[name] < least:
            raise InputError(f"{name} is at least {least}, not {options[name]}")


def path_scores(tree: Tree, probabilities: Probabilities, wanted: Places) -> Scores:
    """Micro and macro F1 of each level, subset accuracy and consistency.

    probabilities: of each level (N, C); wanted: (N, levels).
    """
    from sklearn.metrics import f1_score

    found = {"": tree.best(probabilities), "_alone": alone(probabilities)}
    scores: Scores = {}
    for ending, chosen in found.items():
        scores[f"subset_accuracy{ending}"] = float((chosen == wanted).all(axis=1).mean())
        for kind in ("micro", "macro"):
            for i, level in enumerate(tree.levels):
                scores[f"{level}_{kind}_f1{ending}"] = float(
                    f1_score(wanted[:, i], chosen[:, i], average=kind, zero_division=0)
                )
        scores[f"consistency{ending}"] = tree.consistency(chosen)
    return scores


def _wanted(split: Split, tree: Tree) -> Places:
    columns = [np.array(split.arrays[f"y{i}"], np.int64) for i in range(len(tree.levels))]
    return np.stack(columns, axis=1)


def _levels(source: str, text: str, said: str | None) -> list[str]:
    """The columns with the labels, from the top."""
    if said:
        found = [name.strip() for name in said.split(",")]
    else:
        columns = read_columns(source)
        found = [name for name in columns if name.startswith("level")]
        if len(found) < 2:
            found = [name for name in columns if name not in (text, "split")]
    if len(found) < 2:
        raise InputError(
            f"a path has at least 2 levels, and {source} has {len(found)} columns with labels; "
            "name them with --levels, from the top, or train sentiment"
        )
    return found
