"""Layer normalisation in float, and what its lowering asks the range of.

Source: Ba et al. 2016, Layer Normalization, arXiv 1607.06450, equations 3 and 4; with eps under
the root as torch.nn.LayerNorm has it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgernn.graph import FloatArray

Note = Callable[[str, FloatArray], None]
NOTED = ("centered", "energy", "rstd", "unit")
_MATTERS = 1.01


def centered(x: FloatArray) -> FloatArray:
    """x (..., K) less its mean over the last axis."""
    result: FloatArray = x - x.mean(axis=-1, keepdims=True)
    return result


def scaled(
    d: FloatArray, gain: FloatArray, eps: float, note: Note | None = None, name: str = ""
) -> FloatArray:
    """gain d / sqrt(mean(d^2) + eps) for d (..., K) of mean 0 and a gain (K,).

    note gets, under `<name>centered` and so on: d; the mean square with eps; one over its root
    and d over its root, where the mean square is not next to nothing but eps.
    """
    energy = (d * d).mean(axis=-1, keepdims=True) + np.float32(eps)
    rstd = np.float32(1) / np.sqrt(energy)
    unit = d * rstd
    if note is not None:
        # A vector that hardly varies asks for no resolution: what it gives is close to zero.
        matters = energy > np.float32(_MATTERS * eps)
        note(f"{name}centered", d)
        note(f"{name}energy", energy)
        note(f"{name}rstd", np.where(matters, rstd, np.float32(0)))
        note(f"{name}unit", np.where(matters, unit, np.float32(0)))
    result: FloatArray = unit * gain
    return result


def folded(weight: FloatArray) -> FloatArray:
    """The matrix (K, I) whose product has mean 0: W x - mean(W x) = folded(W) x."""
    result: FloatArray = (weight - weight.mean(axis=0, dtype=np.float64)).astype(np.float32)
    return result
