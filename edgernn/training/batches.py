"""From a split to batches: padded sequences, windows of streams, windows whose state goes on."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgernn.runtime.errors import InputError
from edgernn.training.base import Settings, Split
from edgernn.training.losses import IGNORED

Batch = dict[str, Tensor]
CARRIED = "carried"
"""In a batch: (N,) bool, whether a sequence goes on where that of the batch before ended."""


def collate(split: Split, indices: Sequence[int]) -> Batch:
    """The sequences at these places as one batch, padded at their end."""
    lengths = split.lengths[list(indices)]
    longest = int(lengths.max())
    batch: Batch = {}
    for name, rows in split.arrays.items():
        chosen = [_typed(np.asarray(rows[i])) for i in indices]
        label = chosen[0].dtype.kind == "i" and name not in split.inputs
        batch[name] = torch.from_numpy(
            padded(chosen, longest, IGNORED if label else 0)
            if name in split.steps
            else np.stack(chosen)
        )
    batch["lengths"] = torch.from_numpy(lengths)
    batch["mask"] = torch.arange(longest) < batch["lengths"][:, None]
    return batch


def _typed(array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype.kind == "b":
        return array
    return array.astype(np.float32 if array.dtype.kind == "f" else np.int64)


def padded(rows: Sequence[NDArray[Any]], longest: int, fill: int = 0) -> NDArray[Any]:
    """(N, longest, ...) of rows (T_i, ...), `fill` behind the end of each."""
    result = np.full((len(rows), longest, *rows[0].shape[1:]), fill, rows[0].dtype)
    for target, row in zip(result, rows, strict=True):
        target[: len(row)] = row
    return result


class EpochBatches:
    """The batches of one epoch, in the order that (seed, epoch) gives.

    rank, world: of several processes that share an epoch, each takes every world-th batch.
    """

    def __init__(
        self, split: Split, settings: Settings, epoch: int, rank: int = 0, world: int = 1
    ) -> None:
        generator = np.random.default_rng((settings.seed, epoch))
        self._make: list[tuple[Split, list[int], NDArray[np.bool_] | None]] = []
        if settings.stateful:
            for part, carried in _stateful(split, settings, generator):
                self._make.append((part, list(range(len(part))), carried))
        else:
            if settings.window:
                split = windows(split, settings.window, generator)
            for chosen in _shuffled(split.lengths, settings.batch_size, generator):
                self._make.append((split, chosen, None))
        if settings.stateful and world > 1:
            raise InputError(
                "stateful batches follow one another and cannot be shared; use 1 device"
            )
        whole = len(self._make) // world * world
        if not whole:
            raise InputError(f"there are fewer batches than devices ({len(self._make)} of {world})")
        self._make = self._make[:whole][rank::world]

    def __len__(self) -> int:
        return len(self._make)

    def __getitem__(self, index: int) -> Batch:
        split, chosen, carried = self._make[index]
        batch = collate(split, chosen)
        if carried is not None:
            batch[CARRIED] = torch.from_numpy(carried)
        return batch


def _shuffled(
    lengths: NDArray[np.int64], size: int, generator: np.random.Generator
) -> list[list[int]]:
    """Batches in random order, of sequences of similar length, so that little is padded."""
    order = generator.permutation(len(lengths))
    # A pool of some batches is sorted: whole epochs sorted by length would fix who meets whom.
    pool = 16 * size
    batches = []
    for begin in range(0, len(order), pool):
        near = order[begin : begin + pool]
        near = near[np.argsort(lengths[near], kind="stable")]
        batches += [near[i : i + size].tolist() for i in range(0, len(near), size)]
    return [batches[i] for i in generator.permutation(len(batches))]


def windows(split: Split, window: int, generator: np.random.Generator) -> Split:
    """Streams cut into windows that begin every half window, from a random start; what is shorter
    stays whole."""
    places = []
    for i, length in enumerate(split.lengths):
        if length <= window:
            places.append((i, 0, int(length)))
            continue
        half = max(window // 2, 1)
        start = int(generator.integers(min(half, length - window) + 1))
        begins = [*range(start, int(length) - window + 1, half)]
        places += [(i, b, b + window) for b in begins]
    return _cut(split, places)


def _cut(split: Split, places: Sequence[tuple[int, int, int]]) -> Split:
    arrays = {
        name: [rows[i][b:e] if name in split.steps else rows[i] for i, b, e in places]
        for name, rows in split.arrays.items()
    }
    return Split(arrays, split.inputs, split.steps)


def _stateful(
    split: Split, settings: Settings, generator: np.random.Generator
) -> list[tuple[Split, NDArray[np.bool_]]]:
    """Batches whose row r goes on in row r of the next, as long as there are rows: streams cut into
    `batch_size` lanes.

    Every epoch starts at another step, so that windows do not always end at the same place.
    """
    window, size = settings.window, settings.batch_size
    if window < 1:
        raise InputError(
            "stateful batches need a window, the steps of truncated back-propagation: give "
            "--window, or --stateless"
        )
    total = int(split.lengths.sum())
    lane = max(total // size, window)
    pieces = []
    for i, length in enumerate(split.lengths.tolist()):
        parts = max(round(length / lane), 1)
        bounds = np.linspace(0, length, parts + 1).astype(int)
        pieces += [(i, b, e) for b, e in pairwise(bounds.tolist())]
    pieces = [pieces[i] for i in generator.permutation(len(pieces))]
    batches = []
    for begin in range(0, len(pieces), size):
        group = pieces[begin : begin + size]
        lanes = [
            (i, b + min(int(generator.integers(window)), (e - b) // 2), e) for i, b, e in group
        ]
        # The longest first: rows that end earlier leave at the end, and the others keep their row.
        lanes.sort(key=lambda lane: -((lane[2] - lane[1] - 1) // window))
        for at in range(0, max(e - b for _, b, e in lanes), window):
            places = [(i, b + at, min(b + at + window, e)) for i, b, e in lanes if b + at < e]
            batches.append((_cut(split, places), np.full(len(places), at > 0)))
    return batches
