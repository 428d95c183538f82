"""Words that become unknown while training, so that unknown ones are learnt too."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgernn.recipes.text.vocabulary import UNKNOWN
from edgernn.training.base import Split


def with_unknown(split: Split, share: float, generator: np.random.Generator) -> Split:
    """The split with this share of the token ids in `x` made unknown, others each time."""
    if not share:
        return split
    dropped = [
        np.where(generator.random(len(ids)) < share, UNKNOWN, ids) for ids in split.arrays["x"]
    ]
    return replace(split, arrays={**split.arrays, "x": dropped})
