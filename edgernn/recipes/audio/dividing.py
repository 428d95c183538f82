"""Which recordings are for training, validation and test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from edgernn.recipes.audio.recordings import Recording, Recordings
from edgernn.runtime.errors import InputError
from edgernn.training.base import SPLITS

SPEAKERS: Final = 8
"""From so many speakers on, none is in two splits."""
SHARE: Final = 0.15
"""Of the recordings, for validation, and for test."""


def divided(found: Recordings, seed: int) -> tuple[dict[str, list[Recording]], str]:
    """The recordings of each split, and how that came about."""
    parts: dict[str, list[Recording]] = {}
    for r in found.recordings:
        parts.setdefault(r.split or "", []).append(r)
    loose = parts.pop("", [])
    said = list(parts)
    if loose and "train" in parts:
        raise InputError(f"{found.name} says of some recordings only which split they belong to")
    if loose or "val" not in parts or "test" not in parts:
        # What says no split, or else training, gives to those that are lacking.
        pool = loose or parts.pop("train", [])
        names = ["train", *(n for n in SPLITS[1:] if n not in parts)]
        shares = [1.0 - SHARE * (len(names) - 1), *[SHARE] * (len(names) - 1)]
        for name, chosen in zip(names, _drawn(pool, shares, found, seed), strict=True):
            parts[name] = chosen
        speakers = len({r.speaker for r in pool} - {""})
        way = "no speaker in two" if speakers >= SPEAKERS else "by chance"
        given = [n for n in said if n not in names]
        how = f"{'/'.join(names)} {way}" + (f", {', '.join(given)} as given" if given else "")
    else:
        how = "as given"
    for name in SPLITS:
        heard = {r.word for r in parts.get(name, [])}
        absent = [w for i, w in enumerate(found.words) if i not in heard]
        if absent:
            raise InputError(
                f"the {name} split of {found.name} has no recording of {absent[0]!r}; give more"
            )
    counts = "/".join(str(len(parts[n])) for n in SPLITS)
    return parts, f"{how}, {counts}"


def _drawn(
    pool: Sequence[Recording], shares: Sequence[float], found: Recordings, seed: int
) -> list[list[Recording]]:
    """Shares of the recordings: of speakers if there are many, else of each word's."""
    rng = np.random.default_rng((seed, 5))
    ends = np.cumsum(shares)
    speakers = sorted({r.speaker for r in pool} - {""})
    result: list[list[Recording]] = [[] for _ in shares]
    if len(speakers) >= SPEAKERS:
        order = rng.permutation(len(speakers))
        place = {
            speakers[s]: int(np.searchsorted(ends, (i + 0.5) / len(speakers)))
            for i, s in enumerate(order.tolist())
        }
        for r in pool:
            result[min(place[r.speaker], len(shares) - 1)].append(r)
        return result
    for word in range(len(found.words)):
        own = [r for r in pool if r.word == word]
        for i, at in enumerate(rng.permutation(len(own)).tolist()):
            part = int(np.searchsorted(ends, (i + 0.5) / len(own)))
            result[min(part, len(shares) - 1)].append(own[at])
    return result
