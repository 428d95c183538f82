"""Hopfield network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgernn.nn.operator import STEPS, run_stack

MODES = ("asynchronous", "synchronous")


class Hopfield(nn.Module):
    """Associative memory: patterns are stored, not trained, and recalled from a part of them.

    W = sum of p p^T over the patterns p, diagonal zero;  s_i' = sign(sum_j W_ij s_j), s_i for 0
    E = -1/2 s^T W s

    Source: Hopfield 1982, Neural networks and physical systems with emergent collective
    computational abilities, PNAS 79; with -1 and 1 for its 0 and 1, thresholds 0. A unit of 0 is
    unknown: it adds to no sum, and takes a side as soon as its own sum has one. About 0.14 * size
    random patterns can be stored before they blur.

    As a layer it is stepped: layer(x, hx) reads which units each step updates, (T, N, size), or
    (N, T, size) with batch_first, not 0 for those; all of them is synchronous recall, one at a time
    asynchronous. hx: the cue, (1, N, size); by default zeros. Returns the states of all steps, and
    the last one (1, N, size).
    The int8 program is exact: it recalls what this module does, bit for bit, up to 127 patterns.
    `edgernn.runtime.associative.recall` iterates it on the device, with NumPy alone.
    """

    weight: Tensor

    def __init__(self, size: int, batch_first: bool = False) -> None:
        super().__init__()
        if size < 2:
            raise ValueError("a Hopfield network has at least 2 units")
        self.size, self.batch_first = size, batch_first
        self.register_buffer("weight", torch.zeros(size, size))

    def extra_repr(self) -> str:
        return f"{self.size}"

    @torch.no_grad()
    def store(self, patterns: Tensor) -> None:
        """Add patterns (P, size), or one (size,), of -1 and 1 to what is stored (Hebb's rule)."""
        p = (patterns[None] if patterns.dim() == 1 else patterns).to(self.weight)
        if p.dim() != 2 or p.shape[1] != self.size or not bool((p.abs() == 1).all()):
            raise ValueError(
                f"patterns are (P, {self.size}) of -1 and 1, not {tuple(patterns.shape)} of other "
                "numbers; write 2 * p - 1 for patterns of 0 and 1"
            )
        self.weight += (p.t() @ p).fill_diagonal_(0)

    def energy(self, s: Tensor) -> Tensor:
        """-1/2 s^T W s of states (..., size): (...); no asynchronous update makes it larger."""
        s = s.to(self.weight)
        return -0.5 * ((s @ self.weight) * s).sum(dim=-1)

    @torch.no_grad()
    def recall(
        self,
        s: Tensor,
        mode: str = "asynchronous",
        limit: int = 100,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """The fixed point that states (..., size) of -1, 0 (unknown) and 1 run into.

        mode: "asynchronous", unit after unit, in order or, with a generator, in a new random order
        every round, which always ends; "synchronous", all units at once. limit: rounds.
        RuntimeError if the states still move after them: synchronously they may alternate for ever.
        """
        if mode not in MODES:
            raise ValueError(f"mode is one of {', '.join(MODES)}, not {mode!r}")
        s = s.to(self.weight)
        for _ in range(limit):
            before = s
            if mode == "synchronous":
                s = _updated(self.weight, s)
            else:
                order = torch.arange(self.size)
                if generator is not None:
                    order = torch.randperm(self.size, generator=generator)
                s = s.clone()
                for unit in order.tolist():
                    s[..., unit] = _updated(self.weight, s)[..., unit]
            if torch.equal(s, before):
                return s
        raise RuntimeError(
            f"the states still move after {limit} rounds of {mode} recall; recall asynchronously, "
            "which always ends, or allow more rounds"
        )

    def forward(self, x: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """States (T, N, size) in the layout of x, and the last one (1, N, size)."""
        if x.dim() != 3 or x.shape[2] != self.size:
            layout = "(N, T, size)" if self.batch_first else "(T, N, size)"
            raise ValueError(
                f"Hopfield reads which units to update, {layout} with size = {self.size}, not "
                f"{tuple(x.shape)}"
            )
        if hx is None:
            hx = x.new_zeros(1, x.shape[0 if self.batch_first else 1], self.size)
        run = torch.ops.edgernn.recurrent if torch.compiler.is_exporting() else run_stack
        params: list[Tensor] = [self.weight]
        y, final = run("hopfield", [x], [hx], params, [], None, 1, False, self.batch_first)
        return y, final


def _updated(weight: Tensor, s: Tensor) -> Tensor:
    field = s @ weight
    return torch.where(field == 0, s, torch.sign(field))


def _step(
    w: dict[str, Tensor], x: list[Tensor], states: list[Tensor], numbers: dict[str, float]
) -> list[Tensor]:
    (s,) = states
    return [torch.where(x[0] != 0, _updated(w["weight"], s), s)]


STEPS["hopfield"] = _step
