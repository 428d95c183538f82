"""Losses: what is masked counts for nothing; the rest is torch's or the formula's."""

from __future__ import annotations

import torch
from torch.nn import functional

from edgernn.training.losses import (
    cross_entropy,
    gaussian_nll,
    masked_mse,
    soft_distance,
    square_distance,
)


def test_cross_entropy_leaves_out_unknown_labels() -> None:
    logits, labels = torch.randn(4, 3, 5), torch.randint(0, 5, (4, 3))
    labels[1] = -1
    kept = torch.tensor([0, 2, 3])
    expected = functional.cross_entropy(logits[kept].reshape(-1, 5), labels[kept].reshape(-1))
    torch.testing.assert_close(cross_entropy(logits, labels), expected)
    logits[1] = 1e6 * torch.randn(3, 5)
    torch.testing.assert_close(cross_entropy(logits, labels), expected)


def test_masked_losses_have_no_gradient_where_nothing_counts() -> None:
    found = torch.randn(3, 4, requires_grad=True)
    precision = torch.rand(3, 4) + 0.5
    counts = torch.rand(3, 4) > 0.4
    wanted = torch.where(counts, torch.randn(3, 4), torch.tensor(float("nan")))
    for loss in (
        masked_mse(found, wanted, counts),
        gaussian_nll(found, precision, wanted, counts),
    ):
        (gradient,) = torch.autograd.grad(loss, found)
        assert torch.isfinite(gradient).all()
        assert gradient[~counts].abs().max() == 0
    expected = functional.gaussian_nll_loss(
        found[counts], wanted[counts], 1 / precision[counts], eps=1e-9
    )
    torch.testing.assert_close(gaussian_nll(found, precision, wanted, counts), expected)


def test_distances_to_a_teacher_leave_out_padding() -> None:
    student, teacher = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    batch = {"mask": torch.tensor([[True, True, False], [True, False, False]])}
    for distance in (soft_distance, square_distance):
        before = distance(student, teacher, batch)
        changed = student.clone()
        changed[0, 2] += 9
        torch.testing.assert_close(distance(changed, teacher, batch), before)
        assert distance(teacher, teacher, batch).abs() < 1e-6
        assert before > 0
        assert distance(student[:, 0], teacher[:, 0], batch) > 0
