"""Drawing tokens in integers, and n-gram baselines, against other ways to compute them."""

from __future__ import annotations

from collections import Counter, defaultdict
from fractions import Fraction

import numpy as np
import pytest

from edgernn.recipes.text.ngram import best_order, ngram_bits, xz_bits
from edgernn.recipes.text.sampling import LOG2_E, Sampler, _table
from edgernn.runtime.errors import InputError


@pytest.mark.parametrize("temperature", [0.01, 0.3, 0.7, 1.0, 2.5, 100.0])
@pytest.mark.parametrize("exponent", [-20, -11, -3, 5])
def test_weights_are_those_of_softmax(temperature: float, exponent: int) -> None:
    scale = Fraction(2) ** exponent
    logits = np.random.default_rng(3).integers(-32768, 32768, 300).astype(np.int16)
    logits[[0, 1, 5, 9]] = [32767, 32767, -32768, 32766]
    weights = Sampler(scale, temperature, first=2).weights(logits)
    wide = logits.astype(np.float64) * float(scale) / temperature
    wide[:2] = -np.inf
    powers = np.exp(wide - wide.max())
    np.testing.assert_allclose(weights / weights.sum(), powers / powers.sum(), atol=2e-6)
    assert (weights[:2] == 0).all()


def test_the_table_and_the_constant() -> None:
    np.testing.assert_array_equal(_table(), np.floor(2.0 ** (30 - np.arange(257) / 256)))
    assert abs(float(LOG2_E) - np.log2(np.e)) < 1e-15


def test_tokens_come_as_often_as_they_are_likely() -> None:
    logits = np.array([30000, 30000, -2000, 1000, 0, 1500], np.int16)
    sampler = Sampler(Fraction(1, 1 << 10), 1.0, 1, first=2)
    share = np.bincount([sampler.draw(logits) for _ in range(20_000)], minlength=6) / 20_000
    powers = np.exp(logits[2:] / 1024.0)
    np.testing.assert_allclose(share[2:], powers / powers.sum(), atol=0.012)
    assert share[:2].tolist() == [0, 0]


def test_the_same_seed_draws_the_same_everywhere() -> None:
    # From the published algorithm: SplitMix64 of 1234567 begins like this.
    sampler = Sampler(1, seed=1234567)
    assert [sampler._random() for _ in range(2)] == [6457827717110365317, 3203168211198807973]
    logits = np.arange(200, dtype=np.int16)
    drawn = [[Sampler(0.01, 0.7, s).draw(logits) for _ in range(3)] for s in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_temperature_zero_is_the_largest() -> None:
    sampler = Sampler(1.0, 0.0, 4, first=1)
    assert [sampler.draw(np.array([9, 3, 7, 7], np.int16)) for _ in range(3)] == [2, 2, 2]
    with pytest.raises(InputError, match=r"0, or from 0\.01 to 100, not 0\.001"):
        Sampler(1.0, 0.001)


def test_ngrams_against_a_plain_writing() -> None:
    generator = np.random.default_rng(0)
    train = [generator.integers(2, 7, 300), generator.integers(2, 7, 2)]
    text = [generator.integers(2, 8, 50), generator.integers(2, 8, 1)]
    for order in (1, 2, 3):
        assert ngram_bits(train, text, 8, order) == pytest.approx(_plain(train, text, 8, order))
    assert best_order(train, text, 8, (1, 2, 3)) == min(
        (1, 2, 3), key=lambda order: _plain(train, text, 8, order)
    )


def _plain(train: list[np.ndarray], text: list[np.ndarray], size: int, order: int) -> float:
    following: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
    for ids in train:
        for n in range(order):
            for i in range(n, len(ids)):
                following[tuple(ids[i - n : i])][ids[i]] += 1
    bits = 0.0
    for ids in text:
        for i in range(1, len(ids)):
            p = 1 / size
            for n in range(min(order, i + 1)):
                seen = following.get(tuple(ids[i - n : i]))
                if seen:
                    p = (seen[ids[i]] + len(seen) * p) / (sum(seen.values()) + len(seen))
            bits -= np.log2(p)
    return bits


def test_long_contexts_of_many_tokens_do_not_overflow() -> None:
    ids = [np.arange(1000) % 900]
    assert 0 < ngram_bits(ids, ids, 30_000, 7) < ngram_bits(ids, ids, 30_000, 1)


def test_xz() -> None:
    text = "a sentence that comes again. " * 20
    assert xz_bits(text, text) < xz_bits("", text)
