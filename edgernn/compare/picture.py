"""A comparison as a picture: every training a dot, the mean and its deviation, and the flash."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill
from typing import Any, Final

from edgernn.compare.comparison import Comparison
from edgernn.pictures import LIGHT, bare, figure, save

NAME: Final = 22
"""Letters in a line of a name."""


def draw_comparison(found: Comparison, path: Path) -> None:
    """Write it as .svg or .png: the best cell above, baselines below."""
    known = {n: s[found.headline] for n, s in found.baselines.items() if found.headline in s}
    names = [entry.cell for entry in found.entries] + list(known)
    with figure(
        8.0, 1.5 + 0.42 * len(names), columns=2, sharey=True, width_ratios=[3, 1.4]
    ) as (picture, (scores, flash)):  # fmt: skip
        _scores(scores, found, list(known.values()))
        for row, (_, value) in enumerate(known.items(), len(found.entries)):
            _baseline(scores, value, row)
        _flash(flash, found)
        bare(scores, "x")
        bare(flash, "x")
        scores.set_yticks(range(len(names)), [fill(name, NAME) for name in names])
        scores.set_ylim(len(names) - 0.4, -0.6)
        picture.suptitle(
            f"{found.recipe} on {found.data}, {len(found.seeds)} "
            f"seed{'s' if len(found.seeds) > 1 else ''}",
            x=0.01, ha="left", fontsize=11, color=LIGHT.ink,
        )  # fmt: skip
        save(picture, path)


def _scores(axes: Any, found: Comparison, baselines: list[float]) -> None:
    score = found.headline
    every = [v for entry in found.entries for v in entry.values("test", score)]
    low, high = min(every), max(every)
    span = high - low or 0.1 * abs(high) or 1.0
    # A baseline far away is written, not drawn: it would push all cells together.
    near = [v for v in (*every, *baselines) if low - span <= v <= high + span]
    axes.set_xlim(min(near) - 0.15 * span, max(near) + 0.15 * span)
    for row, entry in enumerate(found.entries):
        values = entry.values("test", score)
        axes.plot(values, [row] * len(values), "o", color=LIGHT.series[0], alpha=0.45, markersize=5)
        axes.errorbar(
            entry.mean("test", score), row + 0.24, xerr=entry.deviation("test", score),
            fmt="D", markersize=5, color=LIGHT.ink, capsize=3, linewidth=1.2,
        )  # fmt: skip
    axes.locator_params(axis="x", nbins=6)
    better = "more" if found.higher else "less"
    axes.set_xlabel(f"{score.replace('_', ' ')} on test, {better} is better")


def _baseline(axes: Any, value: float, row: int) -> None:
    low, high = axes.get_xlim()
    if low <= value <= high:
        axes.plot(value, row, "s", color=LIGHT.series[1], markersize=5)
        return
    edge, side = (low, "left") if value < low else (high, "right")
    arrow = "<- " if value < low else ""
    after = " ->" if value > high else ""
    axes.annotate(
        f"{arrow}{value:.3g}{after}", (edge, row), ha=side, va="center", fontsize=9,
        color=LIGHT.series[1],
    )  # fmt: skip


def _flash(axes: Any, found: Comparison) -> None:
    for row, entry in enumerate(found.entries):
        if entry.flash is None:
            axes.annotate(" not lowered", (0, row), va="center", color=LIGHT.muted, fontsize=9)
            continue
        size = entry.flash / 1024
        axes.barh(row, size, height=0.5, color=LIGHT.series[0], alpha=0.35)
        axes.annotate(f" {size:.1f}", (size, row), va="center", fontsize=9)
    sizes = [entry.flash / 1024 for entry in found.entries if entry.flash]
    axes.set_xlim(0, 1.35 * max(sizes, default=1.0))
    axes.set_xlabel("int8 flash, KiB")
    axes.tick_params(axis="y", length=0)
