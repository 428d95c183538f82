"""The charts of a report, from its facts: each an inline SVG whose colours are the page's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from edgernn.pictures import LIGHT, bare, figure, inline_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Facts = dict[str, Any]
WIDTH: Final = 8.2
ROW: Final = 0.26
LONGEST: Final = 34
MOST: Final = 40


def short(name: str, longest: int = LONGEST) -> str:
    """A name as it fits beside a bar: long ones lose their middle."""
    half = longest // 2 - 1
    return name if len(name) <= longest else f"{name[:half]}…{name[-half:]}"


def _beside(axes: Axes, x: float, y: float, told: str, gap: int = 4) -> None:
    """Text behind the end of a bar."""
    axes.annotate(
        told,
        (x, y),
        xytext=(gap, 0),
        textcoords="offset points",
        va="center",
        bbox={"facecolor": LIGHT.paper, "edgecolor": "none", "pad": 1.0},
    )


def costs(operators: Sequence[Facts], core: str) -> str:
    """Bytes, products and instructions of each action of the step, side by side."""
    rows = [o for o in operators if o["flash"] or o["macs"] or o["instructions"]]
    rows = sorted(rows, key=lambda o: -o["instructions"])[:MOST]
    rows.sort(key=lambda o: o["order"])
    title = "Where bytes, MACs and instructions go"
    panels = (("flash", "bytes of flash"), ("macs", "MACs"), ("instructions", "instructions"))
    with figure(WIDTH, 1.1 + ROW * len(rows), 1, 3, sharey=True) as (made, axes):
        place = list(range(len(rows)))
        for panel, (key, label) in enumerate(panels):
            values = [o[key] for o in rows]
            total = max(sum(values), 1)
            axes[panel].barh(place, values, color=LIGHT.series[panel], height=0.72)
            for y, value in zip(place, values, strict=True):
                if value:
                    _beside(axes[panel], value, y, f"{100 * value / total:.0f} %")
            axes[panel].set_title(label)
            axes[panel].set_xlim(0, 1.3 * max([*values, 1]))
            axes[panel].locator_params(axis="x", nbins=3)
            axes[panel].xaxis.set_major_formatter(lambda v, _: f"{v:,.0f}")
            bare(axes[panel], "x")
            axes[panel].tick_params(length=0)
        axes[0].set_yticks(place, [short(operator_label(o)) for o in rows])
        axes[0].tick_params(axis="y", labelcolor=LIGHT.ink)
        axes[0].invert_yaxis()
        described = f"Bars for {len(rows)} actions of a step on {core}; the table has the numbers."
        return inline_svg(made, title, described)


def operator_label(operator: Facts) -> str:
    """What an action computes: its last result names it."""
    if not operator["names"]:
        return str(operator["kind"])
    return str(operator["names"][-1])


def tensors(rows: Sequence[Facts]) -> str:
    """How much of its range each tensor uses, and how far its signal is above its error."""
    title = "Range used and error of each tensor"
    with figure(WIDTH, 1.1 + ROW * len(rows), 1, 2, sharey=True) as (made, axes):
        place = list(range(len(rows)))
        used = [100 * t["used"] for t in rows]
        colours = [LIGHT.bad if t["clipped"] else LIGHT.series[0] for t in rows]
        axes[0].barh(place, used, color=colours, height=0.72)
        for y, t in zip(place, rows, strict=True):
            note = f"{100 * t['used']:.0f} %"
            if t["clipped"]:
                note += f", {t['clipped']:,} clipped"
            _beside(axes[0], min(100 * t["used"], 100), y, note)
        axes[0].set_xlim(0, 150)
        axes[0].set_xticks([0, 25, 50, 75, 100])
        axes[0].set_title("share of the int16 range used, %")
        known = [(y, t["snr_db"]) for y, t in zip(place, rows, strict=True) if t["snr_db"]]
        axes[1].barh(
            [y for y, _ in known], [v for _, v in known], color=LIGHT.series[2], height=0.72
        )
        for y, value in known:
            _beside(axes[1], max(value, 0), y, f"{value:.0f}")
        axes[1].set_title("signal above error, dB")
        axes[1].set_xlim(
            min(0, *(v for _, v in known), 0), 1.15 * max([v for _, v in known] or [1])
        )
        for panel in axes:
            bare(panel, "x")
            panel.tick_params(length=0)
        axes[0].set_yticks(place, [short(t["name"]) for t in rows])
        axes[0].tick_params(axis="y", labelcolor=LIGHT.ink)
        axes[0].invert_yaxis()
        return inline_svg(made, title, f"Bars for {len(rows)} tensors, in the order of the step.")


def effects(rows: Sequence[Facts], total: float | None) -> str:
    """What leaving out each group would bring, and how large its error is alone."""
    title = "What to keep finer"
    rows = rows[:16]
    with figure(WIDTH, 1.1 + ROW * len(rows), 1, 2, sharey=True) as (made, axes):
        place = list(range(len(rows)))
        gains = [r["gain_db"] for r in rows]
        axes[0].barh(place, gains, color=LIGHT.series[0], height=0.72)
        for y, value in zip(place, gains, strict=True):
            _beside(axes[0], max(value, 0), y, f"{round(value, 1) + 0.0:+.1f}")
        axes[0].set_title("gain if kept in float, dB")
        axes[0].set_xlim(min(0.0, *gains), 1.25 * max(*gains, 0.5))
        known = [(y, r["only_db"]) for y, r in zip(place, rows, strict=True) if r["only_db"]]
        axes[1].plot(
            [v for _, v in known],
            [y for y, _ in known],
            "o",
            color=LIGHT.series[1],
            markersize=6,
        )
        for y, value in known:
            _beside(axes[1], value, y, f"{value:.0f}", 8)
        if total is not None:
            axes[1].axvline(total, color=LIGHT.muted, linestyle="--", linewidth=1.2)
        ends = [v for _, v in known] + ([total] if total is not None else [])
        low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
        axes[1].set_xlim(low - 5, high + 0.18 * (high - low) + 8)
        axes[1].set_title("signal above its error alone, dB")
        for panel in axes:
            bare(panel, "x")
            panel.tick_params(length=0)
        axes[0].set_yticks(place, [short(r["label"]) for r in rows])
        axes[0].tick_params(axis="y", labelcolor=LIGHT.ink)
        axes[0].invert_yaxis()
        dashed = "The dashed line is everything together. " if total is not None else ""
        return inline_svg(made, title, f"{dashed}{len(rows)} groups, what brings most first.")


def growth(curves: Sequence[Facts], title: str, label: str, axis: str) -> str:
    """Root mean square error by step, both axes logarithmic. label: what names a curve; axis: what
    the steps are of."""
    names = [short(curve[label]) for curve in curves]
    with figure(WIDTH, 3.9) as (made, axes):
        styles = ("-", "--", "-.", ":")
        for i, curve in enumerate(curves):
            known = [(e, r) for e, r in zip(curve["ends"], curve["rms"], strict=True) if r > 0]
            if not known:
                continue
            together = curve["label"] == "int8" and label == "label"
            axes.plot(
                [e for e, _ in known],
                [r for _, r in known],
                color=LIGHT.ink if together else LIGHT.series[i % len(LIGHT.series)],
                linestyle=styles[(i // len(LIGHT.series)) % len(styles)],
                linewidth=2.4 if together else 1.8,
                marker="o",
                markersize=3.2,
                label="everything" if together else names[i],
            )
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel(axis)
        ends = sorted({e for c in curves for e in c["ends"]})
        if ends and ends[-1] < 30:
            axes.set_xticks(ends)
        axes.xaxis.set_minor_formatter(lambda v, _: "")
        axes.set_ylabel("root mean square error")
        axes.xaxis.set_major_formatter(lambda v, _: f"{v:,.0f}")
        low, high = axes.get_ylim()
        if high < 100 * low:
            # Of two decades, powers of ten would be one mark, or none.
            axes.set_yticks([m * 10.0**e for e in range(-20, 20) for m in (1, 2, 5)])
            axes.set_ylim(low, high)
        axes.yaxis.set_major_formatter(lambda v, _: f"{v:.0e}".replace("e-0", "e-"))
        axes.yaxis.set_minor_formatter(lambda v, _: "")
        bare(axes, "both")
        for columns in (3, 2, 1):
            legend = made.legend(loc="outside upper left", ncols=columns)
            # Of long names three do not fit side by side.
            if columns == 1 or legend.get_window_extent().width < 0.98 * made.bbox.width:
                break
            legend.remove()
        made.set_figheight(3.9 + 0.2 * (len(curves) // columns))
        return inline_svg(made, title, f"{len(curves)} lines; the table has the numbers.")


def budgets(rows: Sequence[Facts]) -> str:
    """What the model takes of each target, as shares of the limits, on a log axis."""
    from matplotlib.patches import Patch

    kinds = [("flash", "flash"), ("ram", "RAM"), ("time", "time of a step"), ("load", "load")]
    shown = [
        (row, [(k, t, row["lines"][k]["used"]) for k, t in kinds if _limited(row, k)])
        for row in rows
    ]
    lines = sum(max(len(uses), 1) for _, uses in shown)
    colours = {k: LIGHT.series[i] for i, (k, _) in enumerate(kinds)}
    with figure(WIDTH, 1.2 + 0.24 * lines + 0.14 * len(shown)) as (made, axes):
        place, ticks = 0.0, []
        least = min([100 * u for _, uses in shown for _, _, u in uses if u] or [1.0])
        low = 10.0 ** np.floor(np.log10(max(least, 1e-3)) - 0.2)
        for row, uses in shown:
            begin = place
            for key, text, used in uses:
                share = max(100 * used, low)
                over = used > 1
                axes.barh(
                    place,
                    share - low,
                    left=low,
                    height=0.82,
                    color=LIGHT.bad if over else colours[key],
                )
                told = f"{100 * used:.3g} %" + (f" of {text}: over" if over else "")
                _beside(axes, share, place, told)
                place += 1
            if not uses:
                _beside(axes, low, place, "no limit")
                place += 1
            ticks.append(((begin + place - 1) / 2, row["title"]))
            place += 0.6
        axes.axvline(100, color=LIGHT.ink, linewidth=1.4)
        axes.set_xscale("log")
        most = max([100 * u for _, uses in shown for _, _, u in uses] or [100.0])
        axes.set_xlim(low, max(most, 100) * 12)
        axes.xaxis.set_major_formatter(lambda v, _: f"{v:g} %")
        axes.xaxis.set_minor_formatter(lambda v, _: "")
        axes.set_yticks(
            [y for y, _ in ticks], [short(t, 44).replace(" (", "\n(", 1) for _, t in ticks]
        )
        axes.tick_params(axis="y", length=0, labelcolor=LIGHT.ink)
        axes.invert_yaxis()
        bare(axes, "x")
        used = {key for _, uses in shown for key, _, _ in uses}
        patches = [Patch(color=colours[k], label=t) for k, t in kinds if k in used]
        made.legend(handles=patches, loc="outside upper left", ncols=4)
        return inline_svg(made, "Share of each target's limits", f"{len(rows)} targets.")


def _limited(row: Facts, key: str) -> bool:
    line = row["lines"].get(key)
    return line is not None and line["limit"] is not None and line["used"] is not None
