"""Losses that leave out padded steps and what was not observed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

IGNORED: Final = -1
"""A class label that counts for nothing: padding, or not known."""
TEMPERATURE: Final = 2.0


def cross_entropy(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Mean over the labels (...) that are 0 or more, of logits (..., C)."""
    flat, wanted = logits.reshape(-1, logits.shape[-1]), labels.reshape(-1).long()
    total = functional.cross_entropy(
        flat, wanted, ignore_index=IGNORED, label_smoothing=smoothing, reduction="sum"
    )
    return total / (wanted >= 0).sum().clamp(min=1)


def masked_mse(found: Tensor, wanted: Tensor, counts: Tensor) -> Tensor:
    """Mean square error over the places where `counts` is true, all of one shape."""
    # What does not count may be NaN, whose gradient a mask behind it would let through.
    error = found - torch.where(counts, wanted, found)
    return error.square().sum() / counts.sum().clamp(min=1)


def gaussian_nll(mean: Tensor, precision: Tensor, wanted: Tensor, counts: Tensor) -> Tensor:
    """Mean negative log-likelihood of a normal distribution, without its constant, where `counts`
    is true. precision: 1 / variance, greater than 0."""
    error = mean - torch.where(counts, wanted, mean)
    terms = 0.5 * (precision * error.square() - torch.log(precision))
    return torch.where(counts, terms, torch.zeros_like(terms)).sum() / counts.sum().clamp(min=1)


def soft_distance(student: Tensor, teacher: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
    """How far a student's logits (N, [T,] C) are from a teacher's, over valid steps.

    The Kullback-Leibler divergence of their softened probabilities, times the square of the
    temperature (Hinton et al. 2015, arXiv 1503.02531).
    """
    logs = functional.log_softmax(student / TEMPERATURE, dim=-1)
    target = functional.log_softmax(teacher / TEMPERATURE, dim=-1)
    each = (target.exp() * (target - logs)).sum(-1) * TEMPERATURE**2
    return _mean(each, batch)


def square_distance(student: Tensor, teacher: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
    """The mean square distance of values (N, [T,] O), over valid steps."""
    return _mean((student - teacher).square().mean(-1), batch)


def _mean(each: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
    if each.dim() == 1:
        return each.mean()
    mask = batch["mask"]
    return torch.where(mask, each, torch.zeros_like(each)).sum() / mask.sum().clamp(min=1)
