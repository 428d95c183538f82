"""How float weights become int8: strategies, each a scale per row and a rounding.

A strategy sees one matrix and how its input behaved on the calibration data, and minimises the
error of the product W x rather than of W. Strategies are interchangeable: add one to STRATEGIES.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

Float64Array = NDArray[np.float64]

LIMIT: Final = 127
_SHRINK: Final = np.linspace(1.0, 0.5, 26)
_DAMPING: Final = 0.02
_MEAN_DRIFT: Final = 0.1
"""Share of the mean squared that the covariance is widened by: in use the mean will differ, and
what the bias took back no longer cancels. Little calibration data makes it matter."""


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean (K,) and covariance (K, K), float64, of a vector over the calibration data."""

    mean: Float64Array
    covariance: Float64Array


class Rounding(Protocol):
    """A rounding strategy for one weight matrix."""

    def scales(self, weight: Float64Array, moments: Moments) -> Float64Array:
        """The wanted scale of each row, (rows,), positive; weight is (rows, K)."""

    def integers(
        self, weight: Float64Array, scales: Float64Array, moments: Moments
    ) -> NDArray[np.int8]:
        """The integers (rows, K) in -127 .. 127 for the scales that were granted."""


class Nearest:
    """Scale max|w| / 127 per row, round to nearest: what most converters do."""

    def scales(self, weight: Float64Array, moments: Moments) -> Float64Array:
        largest: Float64Array = np.abs(weight).max(axis=1)
        scales: Float64Array = np.maximum(largest, np.finfo(np.float32).tiny) / LIMIT
        return scales

    def integers(
        self, weight: Float64Array, scales: Float64Array, moments: Moments
    ) -> NDArray[np.int8]:
        return np.clip(np.rint(weight / scales[:, None]), -LIMIT, LIMIT).astype(np.int8)


class ScaleSearch(Nearest):
    """Round to nearest at the scale, per row, that minimises the error of the product.

    Clipping a few large weights can cost less than the finer grid gains.
    """

    def scales(self, weight: Float64Array, moments: Moments) -> Float64Array:
        widest = super().scales(weight, moments)
        best, best_error = widest, np.full(len(weight), np.inf)
        for shrink in _SHRINK:
            scales = widest * shrink
            delta = weight - scales[:, None] * super().integers(weight, scales, moments)
            error = np.einsum("rk,rk->r", delta @ moments.covariance, delta)
            # Ties (a constant input) keep the widest scale.
            better = error < best_error
            best, best_error = np.where(better, scales, best), np.where(better, error, best_error)
        return best


class Compensated(Nearest):
    """Round column by column, each rounding error made good by the columns not yet rounded.

    The scale stays max|w| / 127: on the grid of a clipped row, columns that hardly moved during
    calibration would be off without limit once they do.
    Source: Frantar et al. 2022, "GPTQ: Accurate Post-Training Quantization" (arXiv 2210.17323),
    with the covariance in place of the second moment, because the bias takes up the mean.
    """

    def integers(
        self, weight: Float64Array, scales: Float64Array, moments: Moments
    ) -> NDArray[np.int8]:
        covariance = moments.covariance + _MEAN_DRIFT * np.outer(moments.mean, moments.mean)
        columns = len(covariance)
        damping = _DAMPING * float(np.trace(covariance)) / columns
        if damping <= 0.0:
            return super().integers(weight, scales, moments)
        covariance = covariance + damping * np.eye(columns)
        # The most variable columns first: their errors have the most columns to lean on.
        order = np.argsort(-np.diag(covariance), kind="stable")
        factor = np.linalg.cholesky(np.linalg.inv(covariance[np.ix_(order, order)])).T
        rest = weight[:, order].copy()
        result = np.empty(weight.shape, np.int8)
        for i in range(columns):
            column = np.clip(np.rint(rest[:, i] / scales), -LIMIT, LIMIT)
            result[:, order[i]] = column
            error = (rest[:, i] - column * scales) / factor[i, i]
            rest[:, i + 1 :] -= np.outer(error, factor[i, i + 1 :])
        plain = super().integers(weight, scales, moments)
        # Clipping can spoil the bargain; keep whichever row is better.
        return np.where(
            (
                _error(weight, scales, result, covariance)
                < _error(weight, scales, plain, covariance)
            )[:, None],
            result,
            plain,
        )


def _error(
    weight: Float64Array, scales: Float64Array, integers: NDArray[np.int8], cov: Float64Array
) -> Float64Array:
    delta = weight - scales[:, None] * integers
    error: Float64Array = np.einsum("rk,rk->r", delta @ cov, delta)
    return error


STRATEGIES: Final[dict[str, Rounding]] = {
    "nearest": Nearest(),
    "search": ScaleSearch(),
    "compensated": Compensated(),
}
