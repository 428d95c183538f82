"""A sweep as a picture: score against flash, the front, what did not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from edgernn.pictures import LIGHT, bare, figure, save
from edgernn.sweep.result import Result

MARKERS: Final = "osD^vP*X"
WIDE: Final = 4
"""From so large a ratio of sizes on the axis is logarithmic."""


def draw_sweep(result: Result, path: Path) -> None:
    """Write it as .svg or .png."""
    score = result.headline
    cells: list[str] = result.space["cells"]
    with figure(7.6, 4.4) as (picture, axes):
        for i, cell in enumerate(cells):
            mine = [f for f in result.trained if f.values["cell"] == cell]
            axes.plot(
                [f.flash / 1024 for f in mine],
                [f.scores["val"][score] for f in mine],
                MARKERS[i % len(MARKERS)],
                color=LIGHT.series[i % len(LIGHT.series)],
                alpha=0.75,
                markersize=5,
                label=cell,
            )
        _front(axes, result)
        limit = result.limits.get("flash_bytes")
        over = [f.flash / 1024 for f in result.found if f.over > 0 and f.flash]
        if over:
            axes.plot(
                over, [0.02] * len(over), "x", color=LIGHT.bad, markersize=5, alpha=0.6,
                transform=axes.get_xaxis_transform(), label="over the budget, not trained",
            )  # fmt: skip
        reach = max([f.flash for f in result.trained] + [1024 * o for o in over])
        if limit is not None and limit <= 2 * reach:
            axes.axvline(limit / 1024, color=LIGHT.bad, linewidth=1)
            axes.annotate(
                " limit", (limit / 1024, 1), xycoords=("data", "axes fraction"), va="top",
                color=LIGHT.bad,
            )  # fmt: skip
        axes.set_xlabel(f"flash of the int8 program on {result.target}, KiB")
        axes.set_ylabel(f"{score.replace('_', ' ')} on the validation split")
        if reach > WIDE * min(f.flash for f in result.trained):
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter("{x:g}")
        axes.set_title(f"{result.recipe} on {result.data}: {len(result.trained)} networks trained")
        picture.legend(loc="outside lower left", ncols=4, fontsize=9)
        bare(axes, "both")
        save(picture, path)


def _front(axes: Any, result: Result) -> None:
    """A step: with so much flash, so good."""
    flash = [f.flash / 1024 for f in result.front]
    scores = [f.scores["val"][result.headline] for f in result.front]
    right = max(f.flash for f in result.trained) / 1024
    axes.step([*flash, right], [*scores, scores[-1]], where="post", color=LIGHT.ink, linewidth=1.2)
    axes.plot(
        flash, scores, "o", markersize=10, markerfacecolor="none", markeredgecolor=LIGHT.ink,
        label="front",
    )  # fmt: skip
