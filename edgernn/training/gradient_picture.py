"""Gradients over time lags: the picture, and the table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from edgernn.pictures import LIGHT, bare, figure, save
from edgernn.training.gradients import Curve

FLOOR: Final = 1e-12
"""Below it nothing is drawn: in float32, training does not see it either."""
LAGS: Final = (1, 10, 50, 100, 200)


def draw_gradients(curves: Sequence[Curve], path: Path, title: str, window: int = 0) -> None:
    """A line for each network on a log scale. window: steps of truncated back-propagation, beyond
    which training saw no gradient; 0 for none."""
    from matplotlib.ticker import NullLocator

    with figure(7.4, 4.8) as (picture, axes):
        axes.axhline(1.0, color=LIGHT.muted, linewidth=0.8)
        for curve, colour in zip(curves, LIGHT.series, strict=False):
            shown = np.where(curve.norms >= FLOOR, curve.norms, np.nan)
            axes.plot(
                shown,
                color=colour,
                linewidth=2.4 if curve.trained else 1.4,
                linestyle="-" if curve.trained else "--",
                label=f"{curve.name}: {_rate(curve)}",
            )
        if 0 < window < max(len(c.norms) for c in curves):
            axes.axvline(window, color=LIGHT.muted, linewidth=1)
            axes.annotate(
                " window of training", (window, 1), xycoords=("data", "axes fraction"),
                va="top", color=LIGHT.muted,
            )  # fmt: skip
        axes.set_yscale("log")
        axes.set_xlim(left=0)
        axes.set_xlabel("time lag k, steps")
        axes.set_ylabel("|d loss / d state(T-k)|, relative to k = 0")
        axes.set_title(title)
        # Text as it is: there is no mathematics in the project's pictures.
        axes.yaxis.set_major_formatter("{x:.0e}")
        axes.yaxis.set_minor_locator(NullLocator())
        picture.legend(loc="outside lower left", ncols=2, fontsize=9)
        bare(axes)
        save(picture, path)


def gradient_rows(curves: Sequence[Curve]) -> tuple[list[str], list[list[str]]]:
    """The table: header and rows."""
    longest = len(curves[0].norms) - 1
    lags = [lag for lag in LAGS if lag < longest] + [longest]
    header = ["network", "gradient", "a step", *(f"lag {lag}" for lag in lags)]
    rows = [
        [c.name, _rate(c), f"x {c.factor:.3f}", *(f"{c.norms[lag]:.2g}" for lag in lags)]
        for c in curves
    ]
    return header, rows


def _rate(curve: Curve) -> str:
    steps = curve.half_life
    if abs(steps) > 100 * len(curve.norms):
        return "neither"
    return f"{'halves' if steps > 0 else 'doubles'} every {abs(steps):.2g} steps"
