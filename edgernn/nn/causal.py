"""Convolution and pooling over time that look back only, so that a stream can follow them."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class CausalConv1d(nn.Conv1d):
    """torch.nn.Conv1d of stride 1 with its padding in front: (N, C, T) -> (N, O, T).

    y[o, t] = b[o] + sum over c, k of W[o, c, k] x[c, t - (kernel_size - 1 - k) * dilation], and x
    is 0 before its first step.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, dilation=dilation, groups=groups, bias=bias
        )
        self.before = (kernel_size - 1) * dilation

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, T) -> (N, O, T)."""
        return super().forward(functional.pad(input, (self.before, 0)))


class CausalMaxPool1d(nn.Module):
    """The largest of the last `kernel_size` steps, of each feature: (N, C, T) -> (N, C, T).

    Of fewer, at the first steps.
    """

    def __init__(self, kernel_size: int, dilation: int = 1) -> None:
        super().__init__()
        if min(kernel_size, dilation) < 1:
            raise ValueError("kernel_size and dilation must be at least 1")
        self.kernel_size, self.dilation = kernel_size, dilation

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, T) -> (N, C, T)."""
        before = (self.kernel_size - 1) * self.dilation
        padded = functional.pad(input, (before, 0), value=float("-inf"))
        return functional.max_pool1d(padded, self.kernel_size, 1, dilation=self.dilation)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, dilation={self.dilation}"


class CausalAvgPool1d(nn.Module):
    """The mean of the last `kernel_size` steps, of each feature: (N, C, T) -> (N, C, T).

    What was before the first step counts as 0.
    """

    def __init__(self, kernel_size: int) -> None:
        super().__init__()
        if kernel_size < 1:
            raise ValueError("kernel_size must be at least 1")
        self.kernel_size = kernel_size

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, T) -> (N, C, T)."""
        padded = functional.pad(input, (self.kernel_size - 1, 0))
        return functional.avg_pool1d(padded, self.kernel_size, 1)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}"
