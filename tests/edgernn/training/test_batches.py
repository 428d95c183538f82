"""Batches: padding, windows, lanes that go on, shares of several processes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgernn.runtime.errors import InputError
from edgernn.training.base import Settings, Split
from edgernn.training.batches import CARRIED, EpochBatches, collate, windows


def stream(*lengths: int) -> Split:
    """Streams whose values say where they stand."""
    xs = [np.arange(n, dtype=np.float32)[:, None] + 1000 * (i + 1) for i, n in enumerate(lengths)]
    ys = [np.arange(n) % 3 for n in lengths]
    return Split({"x": xs, "y": ys}, steps=("x", "y"))


def test_padding_is_0_in_inputs_and_counts_for_nothing_in_labels() -> None:
    batch = collate(stream(3, 5), [0, 1])
    assert batch["x"].shape == (2, 5, 1)
    assert batch["x"][0, 3:].abs().max() == 0
    assert batch["y"][0].tolist() == [0, 1, 2, -1, -1]
    assert batch["mask"].sum(1).tolist() == [3, 5] == batch["lengths"].tolist()


def test_token_ids_are_padded_with_0() -> None:
    split = Split({"x": [np.array([4, 5]), np.array([6, 7, 8])], "y": [1, 2]})
    batch = collate(split, [0, 1])
    assert batch["x"].tolist() == [[4, 5, 0], [6, 7, 8]]
    assert batch["y"].tolist() == [1, 2]


@given(st.lists(st.integers(1, 90), min_size=1, max_size=6), st.integers(1, 40), st.integers(0, 9))
def test_windows_are_pieces_of_one_stream(lengths: list[int], window: int, seed: int) -> None:
    cut = windows(stream(*lengths), window, np.random.default_rng(seed))
    seen = set()
    for x in cut.arrays["x"]:
        assert len(x) <= window
        assert np.array_equal(np.diff(x[:, 0]), np.ones(len(x) - 1))
        seen.add(int(x[0, 0]) // 1000)
    assert seen == set(range(1, len(lengths) + 1))


@given(st.lists(st.integers(1, 200), min_size=1, max_size=5), st.integers(1, 30),
       st.integers(1, 6), st.integers(0, 3))  # fmt: skip
def test_lanes_go_on_where_they_stopped(
    lengths: list[int], window: int, size: int, epoch: int
) -> None:
    settings = Settings(batch_size=size, window=window, stateful=True)
    batches = EpochBatches(stream(*lengths), settings, epoch)
    ends: list[float] = []
    steps = 0
    for i in range(len(batches)):
        batch = batches[i]
        x, n = batch["x"][:, :, 0], batch["lengths"]
        assert len(x) <= size
        steps += int(n.sum())
        if bool(batch[CARRIED].all()):
            assert x[:, 0].tolist() == [e + 1 for e in ends[: len(x)]]
        else:
            assert not batch[CARRIED].any()
        ends = [float(row[k - 1]) for row, k in zip(x, n, strict=True)]
    assert steps >= sum(lengths) / 2


def test_an_epoch_follows_from_its_number_and_the_seed() -> None:
    split, settings = stream(*range(2, 40)), Settings(batch_size=4, seed=5)

    def order(epoch: int, seed: int = 5) -> list[float]:
        batches = EpochBatches(split, replace(settings, seed=seed), epoch)
        return [float(batches[i]["x"][0, 0, 0]) for i in range(len(batches))]

    assert order(1) == order(1)
    assert order(1) != order(2)
    assert order(1) != order(1, 6)


def test_several_processes_share_an_epoch() -> None:
    split, settings = stream(*[4] * 24), Settings(batch_size=4)
    whole = EpochBatches(split, settings, 0)
    shares = [EpochBatches(split, settings, 0, rank, 2) for rank in range(2)]
    assert [len(s) for s in shares] == [3, 3]
    rows = {float(v) for s in (whole,) for i in range(6) for v in s[i]["x"][:, 0, 0]}
    shared = {float(v) for s in shares for i in range(3) for v in s[i]["x"][:, 0, 0]}
    assert rows == shared
    with pytest.raises(InputError, match="fewer batches than devices"):
        EpochBatches(stream(4), settings, 0, 0, 2)
    with pytest.raises(InputError, match="cannot be shared"):
        EpochBatches(split, Settings(window=2, stateful=True), 0, 0, 2)
    with pytest.raises(InputError, match="need a window"):
        EpochBatches(split, Settings(stateful=True), 0)
