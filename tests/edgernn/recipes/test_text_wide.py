"""The part of a text network that is naive Bayes to begin with."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import edgernn
from edgernn.recipes.text.wide import DEVIATION, WideNetwork, log_ratios
from edgernn.training.base import Layers
from tests.edgernn.cells import assert_same_everywhere

TOKENS = 40


def _texts(classes: int) -> tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]]:
    """Texts in which each class has words of its own among many."""
    generator = np.random.default_rng(0)
    labels = [np.array(i % classes) for i in range(60)]
    own = [generator.choice([2 + y, 20 + y, *range(10, 16)], 12) for y in labels]
    return own, labels


def _network(classes: int, cell: str) -> WideNetwork:
    torch.manual_seed(0)
    return WideNetwork(classes, TOKENS, Layers(cell=cell, hidden=6, embedding=5, pool="max")).eval()


def test_ratios_are_those_of_naive_bayes() -> None:
    from sklearn.naive_bayes import BernoulliNB

    texts, labels = _texts(3)
    has = np.zeros((len(texts), TOKENS))
    for row, ids in zip(has, texts, strict=True):
        row[ids] = 1
    ratios = log_ratios(texts, labels, TOKENS)
    np.testing.assert_allclose(ratios.sum(axis=1), 0, atol=1e-12)
    # Its counts are ours plus one; its shares are of texts, ours of counts.
    model = BernoulliNB().fit(has, np.array(labels))
    counts = model.feature_count_ + 1
    theirs = np.log(counts / counts.sum(axis=1, keepdims=True)).T
    np.testing.assert_allclose(ratios, theirs - theirs.mean(axis=1, keepdims=True), atol=1e-12)


@pytest.mark.parametrize("classes", [2, 3, 12])
def test_it_begins_as_naive_bayes(classes: int) -> None:
    texts, labels = _texts(classes)
    network = _network(classes, "gru")
    network.begin(texts, labels)
    for p in network.recurrent.head.parameters():
        torch.nn.init.zeros_(p)
    batch = torch.from_numpy(np.stack(texts))
    logits = network(batch).detach().numpy()
    expected = np.stack([log_ratios(texts, labels, TOKENS)[ids].mean(axis=0) for ids in texts])
    expected -= expected.mean(axis=0)
    np.testing.assert_allclose(logits / logits.std(), expected / expected.std(), atol=1e-5)
    assert logits.std() == pytest.approx(DEVIATION, rel=0.01)
    assert np.mean(logits.argmax(axis=1) == labels) > 0.85


def test_padding_changes_nothing() -> None:
    texts, labels = _texts(2)
    network = _network(2, "gru")
    network.begin(texts, labels)
    padded = torch.zeros(2, 15, dtype=torch.int64)
    padded[:, :12] = torch.from_numpy(np.stack(texts[:2]))
    padded[1, 7:] = 0
    found = network(padded, lengths=torch.tensor([12, 7]))
    for row, length in ((0, 12), (1, 7)):
        alone = network(padded[row : row + 1, :length])
        torch.testing.assert_close(found[row : row + 1], alone)


def test_every_engine_has_its_bits() -> None:
    texts, labels = _texts(3)
    network = _network(3, "gru")
    network.begin(texts, labels)
    example = torch.from_numpy(np.stack(texts[:2]))
    program = edgernn.quantize(network, (example,), calibration=texts)
    assert_same_everywhere(program)
