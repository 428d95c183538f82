"""Scores that several recipes share; scikit-learn computes what it has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgernn.training.base import Dataset, Scores, Split

LOWEST: Final = -1e9
"""The logit of a class that a baseline never saw."""


def class_scores(
    logits: NDArray[Any], wanted: NDArray[Any], classes: Sequence[str] | None = None
) -> Scores:
    """Accuracy and macro F1 of logits (K, C) over the labels (K,) that are 0 or more; of two
    classes the area under the ROC curve; with the classes' names the F1 of each."""
    from sklearn.metrics import f1_score, roc_auc_score

    counts = wanted >= 0
    logits, wanted = logits[counts], wanted[counts]
    found = logits.argmax(axis=1)
    scores = {
        "accuracy": float(np.mean(found == wanted)),
        "macro_f1": float(f1_score(wanted, found, average="macro", zero_division=0)),
    }
    if logits.shape[1] == 2 and len(np.unique(wanted)) == 2:
        margin = logits[:, 1].astype(np.float64) - logits[:, 0]
        scores["auroc"] = float(roc_auc_score(wanted, margin))
    if classes is not None:
        labels = list(range(len(classes)))
        each = f1_score(wanted, found, labels=labels, average=None, zero_division=0)
        scores |= {f"f1_{name}": float(f) for name, f in zip(classes, each, strict=True)}
    return scores


def statistics_baseline(dataset: Dataset) -> dict[str, Scores]:
    """Logistic regression on mean, deviation, least, greatest, first, last value and mean step of
    each channel: what needs no recurrent network."""
    if dataset.facts["features"] == [0]:
        return {}
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    train, test = dataset.splits["train"], dataset.splits["test"]
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=3000))
    model.fit(_statistics(train), np.array(train.arrays["y"]))
    logits = np.full((len(test), len(dataset.facts["classes"])), LOWEST)
    logits[:, model.classes_] = np.maximum(model.predict_log_proba(_statistics(test)), LOWEST)
    found = class_scores(logits, np.array(test.arrays["y"]))
    return {"logistic regression on statistics": found}


def _statistics(split: Split) -> NDArray[np.float64]:
    rows = []
    for x in split.arrays["x"]:
        step = np.diff(x, axis=0).mean(axis=0) if len(x) > 1 else np.zeros(x.shape[1])
        rows.append(np.concatenate([x.mean(0), x.std(0), x.min(0), x.max(0), x[0], x[-1], step]))
    return np.stack(rows).astype(np.float64)
