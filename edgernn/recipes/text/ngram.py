"""Baselines of text generation: n-grams with smoothing, and general compressors."""

from __future__ import annotations

import lzma
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class _Counts:
    """Of one order: how often a context (C,) was followed by a token, by what it was followed."""

    pairs: Ids
    pair_counts: Ids
    contexts: Ids
    context_counts: Ids
    followers: Ids


def ngram_bits(train: Sequence[Ids], text: Sequence[Ids], size: int, order: int) -> float:
    """Bits that `text` takes, its first token of each sequence left out, under an n-gram model.

    Interpolated Witten-Bell smoothing (Witten and Bell 1991; method C), down to `size` equal
    tokens: p_k(w | c) = (n(c w) + t(c) p_(k-1)(w)) / (n(c) + t(c)), t(c) of different tokens
    having followed c. order: of the longest n-gram; train, text: ids (T_i,) below `size`.
    """
    likely = [np.full(len(ids), 1 / size) for ids in text]
    for length in range(order):
        if size ** (length + 1) >= 1 << 62:
            break
        counts = _count(train, size, length)
        for ids, p in zip(text, likely, strict=True):
            if len(ids) > length:
                p[length:] = _interpolated(counts, ids, p[length:], size, length)
    return -float(sum(np.log2(p[1:]).sum() for p in likely))


def best_order(train: Sequence[Ids], val: Sequence[Ids], size: int, orders: Sequence[int]) -> int:
    """The order with the fewest bits on val."""
    return min(orders, key=lambda order: ngram_bits(train, val, size, order))


def xz_bits(train: str, text: str) -> float:
    """Bits that `text` takes behind `train` in xz, with its largest dictionary."""
    sizes = [
        len(lzma.compress(content.encode(errors="replace"), preset=9 | lzma.PRESET_EXTREME))
        for content in (train, train + text)
    ]
    return 8.0 * (sizes[1] - sizes[0])


def _keys(ids: Ids, size: int, length: int) -> tuple[Ids, Ids]:
    """A number for each context of `length` tokens, and for each with the token behind it."""
    context = np.zeros(len(ids) - length, np.int64)
    for i in range(length):
        context = context * size + ids[i : len(ids) - length + i]
    return context, context * size + ids[length:]


def _count(train: Sequence[Ids], size: int, length: int) -> _Counts:
    found = [_keys(ids, size, length) for ids in train if len(ids) > length]
    pairs = np.concatenate([pair for _, pair in found]) if found else np.zeros(0, np.int64)
    unique, counts = np.unique(pairs, return_counts=True)
    contexts, begin, followers = np.unique(unique // size, return_index=True, return_counts=True)
    totals = np.add.reduceat(counts, begin) if len(begin) else counts
    return _Counts(unique, counts, contexts, totals, followers)


def _interpolated(
    counts: _Counts, ids: Ids, shorter: NDArray[np.float64], size: int, length: int
) -> NDArray[np.float64]:
    context, pair = _keys(ids, size, length)
    n = _looked_up(counts.contexts, counts.context_counts, context)
    t = _looked_up(counts.contexts, counts.followers, context)
    both = _looked_up(counts.pairs, counts.pair_counts, pair)
    # A context that never occurred says nothing: what the shorter one says.
    mixed: NDArray[np.float64] = np.where(
        n > 0, (both + t * shorter) / np.maximum(n + t, 1), shorter
    )
    return mixed


def _looked_up(keys: Ids, values: Ids, wanted: Ids) -> Ids:
    if not len(keys):
        return np.zeros_like(wanted)
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    found: Ids = np.where(keys[places] == wanted, values[places], 0)
    return found
