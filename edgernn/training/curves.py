"""The learning curves of a run as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgernn.pictures import LIGHT, bare, figure, save


def draw_curves(
    history: Sequence[dict[str, float]], headline: str, best_epoch: int, path: Path
) -> None:
    """Loss of training and validation above, the validation score below, the best epoch marked."""
    epochs = [record["epoch"] for record in history]
    # One epoch alone is no line.
    dot = "o" if len(epochs) == 1 else ""
    with figure(7.0, 4.6, rows=2, sharex=True) as (picture, (losses, scores)):
        losses.plot(
            epochs,
            [r["loss"] for r in history],
            color=LIGHT.series[0],
            marker=dot,
            label="training",
        )
        losses.plot(
            epochs,
            [r["val_loss"] for r in history],
            color=LIGHT.series[1],
            marker=dot,
            label="validation",
        )
        losses.set_ylabel("loss")
        losses.legend(frameon=False)
        scores.plot(epochs, [r[headline] for r in history], color=LIGHT.series[1], marker=dot)
        scores.set_ylabel(f"validation {headline.replace('_', ' ')}")
        scores.set_xlabel("epoch")
        scores.xaxis.get_major_locator().set_params(integer=True)
        for axes in (losses, scores):
            bare(axes)
            axes.axvline(best_epoch, color=LIGHT.muted, linewidth=1, linestyle=":")
        losses.set_title(f"best epoch {best_epoch} of {len(history)}", loc="left")
        save(picture, path)
