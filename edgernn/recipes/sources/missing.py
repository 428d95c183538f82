"""Missing values: the last one held, and how long ago it was."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def held(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """values (T, F), NaN for missing: each missing one is the last observed before it, and 0, the
    mean, before the first."""
    seen = ~np.isnan(values)
    last = np.maximum.accumulate(np.where(seen, np.arange(len(values))[:, None], -1), axis=0)
    picked = np.take_along_axis(values, np.maximum(last, 0), axis=0)
    result: NDArray[np.float32] = np.where(last >= 0, picked, np.float32(0)).astype(np.float32)
    return result


def since(observed: NDArray[Any]) -> NDArray[np.float32]:
    """log(1 + steps) since each value was observed, (T, F): 0 where it is."""
    steps = np.arange(len(observed))[:, None]
    last = np.maximum.accumulate(np.where(observed, steps, -1), axis=0)
    result: NDArray[np.float32] = np.log1p(steps - last).astype(np.float32)
    return result
