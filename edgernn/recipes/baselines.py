"""What every user would try before a recurrent network, on the arrays of `recipes.future`."""

from __future__ import annotations

import warnings
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgernn.training.base import Outputs, Split

Array = NDArray[Any]
ROWS: Final = 10_000
STEPS: Final = 16
"""Steps that the windowed network reads."""
EPOCHS: Final = 30
LONGEST: Final = 2000
_CORRELATED: Final = 0.3


def find_period(values: Array) -> int:
    """The season of values (T, K) in steps; 1 if there is none.

    Of the lags at which the autocorrelation of the values, or of their steps, has a peak, the one
    after which the values are most alike.
    """
    from scipy.signal import find_peaks
    from statsmodels.tsa.stattools import acf

    lags = min(len(values) // 3, LONGEST)
    moving = values[:, np.ptp(values, axis=0) > 0]
    if lags < 4 or not moving.shape[1]:
        return 1
    found = []
    for series in (moving, np.diff(moving, axis=0)):
        alike = np.max([acf(c, nlags=lags, fft=True) for c in series.T if np.ptp(c) > 0], axis=0)
        peaks, _ = find_peaks(alike)
        found += peaks[alike[peaks] > _CORRELATED].tolist()
    errors = [np.mean((moving[p:] - moving[:-p]) ** 2) for p in found]
    return int(found[int(np.argmin(errors))]) if found else 1


def season(values: Array, period: int, horizon: int) -> NDArray[np.float32]:
    """The seasonal naive forecast (T, horizon * K): what was one period before the step that is
    asked for; the last value where nothing was."""
    parts = []
    for ahead in range(1, horizon + 1):
        back = period * -(-ahead // period) - ahead
        part = values.copy()
        if back:
            part[back:] = values[:-back]
        parts.append(part)
    return np.concatenate(parts, axis=1).astype(np.float32)


def persistence(split: Split, horizon: int, targets: int) -> Outputs:
    """The last value, for every step ahead."""
    return [
        (np.tile(np.atleast_2d(_last(x, t))[:, :targets], (1, horizon)),)
        for x, t in zip(split.arrays["x"], split.arrays["target"], strict=True)
    ]


def _last(x: Array, target: Array) -> Array:
    return x if target.ndim == 2 else x[-1]


def lagged(split: Split, steps: int) -> tuple[Array, Array, Array]:
    """Rows of the last `steps` steps (R, steps * F), their targets (R, O) and which count."""
    rows, targets, counts = [], [], []
    for x, target, count in zip(
        split.arrays["x"], split.arrays["target"], split.arrays["counts"], strict=True
    ):
        if target.ndim == 1:
            part = np.concatenate([np.repeat(x[:1], max(steps - len(x), 0), axis=0), x[-steps:]])
            rows.append(part.reshape(1, -1))
        else:
            padded = np.concatenate([np.repeat(x[:1], steps - 1, axis=0), x])
            view = np.lib.stride_tricks.sliding_window_view(padded, steps, axis=0)
            rows.append(view.transpose(0, 2, 1).reshape(len(x), -1))
        targets.append(np.atleast_2d(target))
        counts.append(np.atleast_2d(count))
    return np.concatenate(rows), np.concatenate(targets), np.concatenate(counts)


def regression(train: Split, test: Split, residual: int, seed: int = 0) -> dict[str, Outputs]:
    """Ridge regression on one step, and a small network (scikit-learn's MLP, 64 neurons) on the
    last 16 steps.

    residual: how many values of the last step are what the first targets add a change to, over and
    over; 0 for none.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import Ridge
    from sklearn.neural_network import MLPRegressor

    mlp = MLPRegressor(
        hidden_layer_sizes=(64,), early_stopping=True, random_state=seed, max_iter=EPOCHS
    )
    found = {}
    for name, model, steps in (("ridge on one step", Ridge(1.0), 1),
                               (f"MLP on {STEPS} steps", mlp, STEPS)):  # fmt: skip
        x, y, counts = lagged(train, steps)
        whole = np.flatnonzero(counts.all(axis=1))
        if len(whole) < STEPS:
            continue
        if len(whole) > ROWS:
            whole = np.random.default_rng(seed).choice(whole, ROWS, replace=False)
        x, y = x[whole], y[whole] - _base(x[whole], y.shape[1], residual, steps)
        with warnings.catch_warnings():
            # So many epochs and no more.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(x, y if y.shape[1] > 1 else y[:, 0])
        x, y, _ = lagged(test, steps)
        said = model.predict(x).reshape(len(x), -1) + _base(x, y.shape[1], residual, steps)
        found[name] = _divided(said.astype(np.float32), test)
    return found


def _base(x: Array, outputs: int, residual: int, steps: int) -> Array | float:
    if not residual:
        return 0.0
    last = x[:, -(x.shape[1] // steps) :][:, :residual]
    return np.tile(last, (1, outputs // residual))


def _divided(rows: Array, split: Split) -> Outputs:
    lengths = [1 if t.ndim == 1 else len(t) for t in split.arrays["target"]]
    return [(part,) for part in np.split(rows, np.cumsum(lengths)[:-1])]
