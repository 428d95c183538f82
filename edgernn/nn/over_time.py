"""Functions of a whole window that a network needs at every step, as a softmax over time does."""

from __future__ import annotations

from typing import ClassVar, Final

import torch
from torch import Tensor, nn

from edgernn.nn.operator import STEPS

LOWEST: Final = -1e4


class _OverTime(nn.Module):
    """What the layers share. reverse: the steps are read from the last to the first."""

    kind: ClassVar[str]

    def __init__(self, reverse: bool = False, batch_first: bool = True) -> None:
        super().__init__()
        self.reverse, self.batch_first = reverse, batch_first
        self.time = 1 if batch_first else 0

    def extra_repr(self) -> str:
        return f"reverse={self.reverse}, batch_first={self.batch_first}"

    def _mask(self, y: Tensor, mask: Tensor | None, lengths: Tensor | None) -> Tensor | None:
        if y.dim() != 3:
            layout = "(N, T, F)" if self.batch_first else "(T, N, F)"
            raise ValueError(f"{type(self).__name__} reads {layout}, not {tuple(y.shape)}")
        if lengths is None:
            return mask
        if mask is not None:
            raise ValueError("give lengths or mask, not both")
        padding: Tensor = torch.ops.edgernn.padding_mask(lengths, y, self.batch_first)
        return padding

    def _run(
        self, y: Tensor, mask: Tensor | None, kind: str, starts: list[float], reverse: bool
    ) -> Tensor:
        """The cell's output at every step, in an exported program; starts: of each state."""
        batch = y.shape[1 - self.time]
        sizes = [y.shape[2], 1][: len(starts)]
        first = [
            torch.full((1, batch, size), start, dtype=y.dtype, device=y.device)
            for size, start in zip(sizes, starts, strict=True)
        ]
        results: list[Tensor] = torch.ops.edgernn.recurrent(
            kind, [y], first, [], [], mask, 1, False, self.batch_first, reverse
        )
        return results[0]


class SumOverTime(_OverTime):
    """The sum of all steps.

    Called as layer(y), layer(y, lengths=lengths) or layer(y, mask=mask) on y (N, T, F), (T, N, F)
    without batch_first. Returns one step, (N, 1, F) or (1, N, F). In an exported program, which
    reads step by step, it is the sums so far, and the one over all is at the last step, or with
    reverse at the first: take y[:, -1] or y[:, 0], or give it to Hold. lengths: (N,) integers;
    mask: (N, T), or (T, N), 0 where a step is padding and does not count.
    """

    def forward(
        self, y: Tensor, *, mask: Tensor | None = None, lengths: Tensor | None = None
    ) -> Tensor:
        """(N, 1, F) of y (N, T, F)."""
        mask = self._mask(y, mask, lengths)
        if torch.compiler.is_exporting():
            return self._run(y, mask, "sum_over_time", [0.0], self.reverse)
        if mask is not None:
            y = y.masked_fill((mask == 0).unsqueeze(-1), 0.0)
        return y.sum(dim=self.time, keepdim=True)


class MeanOverTime(_OverTime):
    """The mean of all steps; called, and read, as SumOverTime."""

    def forward(
        self, y: Tensor, *, mask: Tensor | None = None, lengths: Tensor | None = None
    ) -> Tensor:
        """(N, 1, F) of y (N, T, F)."""
        mask = self._mask(y, mask, lengths)
        if torch.compiler.is_exporting():
            return self._run(y, mask, "mean_pooling", [0.0, 0.0], self.reverse)
        if mask is None:
            return y.mean(dim=self.time, keepdim=True)
        padded = (mask == 0).unsqueeze(-1)
        count = (~padded).sum(dim=self.time, keepdim=True).clamp(min=1)
        return y.masked_fill(padded, 0.0).sum(dim=self.time, keepdim=True) / count


class Hold(_OverTime):
    """The first step that it reads, at every step: with reverse, the window's last one.

    Turns a result over the whole window, as of SumOverTime, into something that every step can
    read: the sum ends at the last step, and Hold(reverse=True) starts there.

    Called as layer(y) on y (N, T, F) or, as SumOverTime returns it, (N, 1, F); returns one step,
    (N, 1, F), which broadcasts. In an exported program it is (N, T, F), the same at every step.
    """

    def forward(self, y: Tensor) -> Tensor:
        """(N, 1, F) of y (N, T, F) or (N, 1, F)."""
        self._mask(y, None, None)
        if torch.compiler.is_exporting():
            return self._run(y, None, "hold", [0.0, 0.0], self.reverse)
        return y.narrow(self.time, y.shape[self.time] - 1 if self.reverse else 0, 1)


class SoftmaxOverTime(_OverTime):
    """softmax over the steps of a window, for each feature alone.

    a_t = exp(s_t - L);  L = log(sum over t of exp(s_t))

    Called, and masked, as SumOverTime; returns (N, T, F), 0 at padded steps. In an exported program
    L is summed up in one direction, backwards with reverse, and the weights come out in the other.
    So what follows, such as SumOverTime of weighted steps, has the other `reverse`, or else takes
    one more pass over the window. Such a program needs its whole window. Calibrate it with windows
    as short as will be met: in one of a single step the weight is 1. What it gives at padded steps
    is for a masked layer to leave out.

    Source: the online form of Milakov and Gimelshein 2018, arXiv 1805.02867.
    """

    def __init__(self, reverse: bool = False, batch_first: bool = True) -> None:
        super().__init__(reverse, batch_first)
        self.hold = Hold(not reverse, batch_first)

    def forward(
        self, y: Tensor, *, mask: Tensor | None = None, lengths: Tensor | None = None
    ) -> Tensor:
        """(N, T, F) of scores y (N, T, F)."""
        mask = self._mask(y, mask, lengths)
        if torch.compiler.is_exporting():
            total = self._run(y, mask, "log_sum_exp", [LOWEST], self.reverse)
            return torch.exp(y - self.hold(total))
        if mask is None:
            return torch.softmax(y, dim=self.time)
        counts = (mask != 0).unsqueeze(-1)
        scores = y.masked_fill(~counts, torch.finfo(y.dtype).min)
        # Of a sequence of padding alone no weight is left.
        return torch.softmax(scores, dim=self.time) * counts


def _sum(
    w: dict[str, Tensor], x: list[Tensor], states: list[Tensor], numbers: dict[str, float]
) -> list[Tensor]:
    return [states[0] + x[0]]


def _mean(
    w: dict[str, Tensor], x: list[Tensor], states: list[Tensor], numbers: dict[str, float]
) -> list[Tensor]:
    p, n = states
    return [p + (x[0] - p) / (n + 1), n + 1]


def _log_sum_exp(
    w: dict[str, Tensor], x: list[Tensor], states: list[Tensor], numbers: dict[str, float]
) -> list[Tensor]:
    return [torch.logaddexp(states[0], x[0])]


def _hold(
    w: dict[str, Tensor], x: list[Tensor], states: list[Tensor], numbers: dict[str, float]
) -> list[Tensor]:
    m, n = states
    return [torch.where(n > 0, m, x[0]), n.clamp(min=1)]


STEPS.update(
    {"sum_over_time": _sum, "mean_pooling": _mean, "log_sum_exp": _log_sum_exp, "hold": _hold}
)
