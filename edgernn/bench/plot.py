"""Pictures of a benchmark: median and p99, the tail, memory; and latency against size."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from edgernn.bench.engines import KINDS
from edgernn.bench.measure import Result, Row
from edgernn.bench.table import microseconds
from edgernn.pictures import LIGHT, SUFFIXES, bare, figure, save
from edgernn.runtime.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TAIL: Final = (50, 75, 90, 95, 99, 99.5, 99.9, 99.95, 99.99)
_SERIES: Final = dict(zip(KINDS, LIGHT.series, strict=True))
_MARKERS: Final = dict(zip(KINDS, "osD^vP*X", strict=True))


def require_drawable(target: Path) -> None:
    """InputError for a name that no picture can have, or where none can be, MissingExtraError
    without matplotlib."""
    if target.suffix not in (*SUFFIXES, ""):
        raise InputError(f"{target} is no picture's name; end it in {' or '.join(SUFFIXES)}")
    folder = target.parent if target.suffix else target
    # A folder for pictures is made where there is none.
    there = folder if target.suffix else next(p for p in (folder, *folder.parents) if p.exists())
    if not there.is_dir():
        raise InputError(f"{there} is no folder, so {target} cannot be written; name another")
    with figure():
        pass


def draw(result: Result, target: Path) -> list[Path]:
    """One picture (.svg or .png) of everything, or a folder with one for each question.

    Returns the files. InputError if nothing was measured, or for another suffix.
    """
    _require_some([row for row in result.rows if row.summary])
    charts: dict[str, Callable[[Axes, Result], None]] = {
        "latency": latency,
        "tail": tail,
        "memory": memory,
    }
    if target.suffix in SUFFIXES:
        with figure(8.0, 10.0, rows=3) as (picture, axes):
            # The charts are three pictures, not one.
            apart: Any = picture.get_layout_engine()
            apart.set(hspace=0.08)
            for chart, one in zip(charts.values(), axes, strict=True):
                chart(one, result)
            save(picture, target)
        return [target]
    _folder(target)
    for name, chart in charts.items():
        with figure(8.0, 3.4) as (picture, one):
            chart(one, result)
            save(picture, target / f"{name}.svg")
    return [target / f"{name}.svg" for name in charts]


def _require_some(measured: Collection[Any]) -> None:
    if not measured:
        raise InputError("no engine was measured, so there is nothing to draw")


def _folder(target: Path) -> None:
    require_drawable(target)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {target}: {error.strerror}") from None


def _timed(result: Result) -> list[Row]:
    """Fastest last, which is on top of an axis."""
    rows = [row for row in result.rows if row.summary is not None]
    return sorted(rows, key=lambda row: -_summary(row).median)


def _summary(row: Row) -> Any:
    return row.summary


def _unit(result: Result) -> str:
    if result.window is None:
        return "one step, microseconds"
    return f"one window of {result.window} steps, microseconds"


def latency(axes: Axes, result: Result) -> None:
    """Median and p99 of each engine, on a log axis."""
    rows = _timed(result)
    for y, row in enumerate(rows):
        s, colour = _summary(row), _SERIES[row.name]
        axes.plot([s.median, s.p99], [y, y], color=colour, linewidth=3, alpha=0.35)
        axes.plot([s.median], [y], "o", color=colour, markersize=7)
        axes.plot([s.p99], [y], "|", color=colour, markersize=12, markeredgewidth=2)
        axes.annotate(
            microseconds(s.median), (s.median, y), xytext=(0, 7), textcoords="offset points",
            ha="center", fontsize=8, color=LIGHT.ink,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.margins(x=0.08, y=0.14)
    axes.set_yticks(range(len(rows)), [row.title for row in rows])
    axes.set_xlabel(_unit(result))
    axes.set_title("Median (dot) and p99 (bar)")
    _plain_numbers(axes.xaxis)
    bare(axes, "x")


def tail(axes: Axes, result: Result) -> None:
    """How slow the slowest calls are: time against percentile, both on log axes."""
    for row in reversed(_timed(result)):
        times = result.timings.times(row.name)
        shown = [q for q in TAIL if len(times) * (1 - q / 100) >= 1]
        values = np.maximum(np.percentile(times, shown), 1e-3)
        rest = [1 - q / 100 for q in shown]
        axes.plot(
            rest, values, color=_SERIES[row.name], marker=_MARKERS[row.name], markersize=4,
            label=row.title,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.invert_xaxis()
    marks = [q for q in (50, 90, 99, 99.9, 99.99) if q <= max(shown)]
    axes.set_xticks([1 - q / 100 for q in marks], [f"{q:g} %" for q in marks])
    axes.minorticks_off()
    axes.set_xlabel("of all calls take no longer than")
    axes.set_ylabel("microseconds")
    axes.set_title("The tail")
    _plain_numbers(axes.yaxis)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    bare(axes, "both")


def memory(axes: Axes, result: Result) -> None:
    """RSS of a fresh process: packages, then the model."""
    rows = [row for row in _timed(result) if row.start is not None]
    for y, row in enumerate(rows):
        assert row.start is not None
        packages, model = (value / 2**20 for value in row.start.bytes)
        colour = _SERIES[row.name]
        axes.barh(y, packages, color=colour, alpha=0.45, height=0.62)
        axes.barh(y, model, left=packages, color=colour, height=0.62)
        axes.annotate(
            f"{packages:.0f} + {model:.0f}", (packages + model, y), xytext=(5, 0),
            textcoords="offset points", va="center", fontsize=8, color=LIGHT.ink,
        )  # fmt: skip
    axes.margins(x=0.18)
    axes.set_yticks(range(len(rows)), [row.title for row in rows])
    axes.set_xlabel("MiB of RAM in a process of its own, beyond Python's")
    axes.set_title("Memory: packages (pale) and model")
    bare(axes, "x")


def draw_sizes(
    medians: Mapping[str, Sequence[float | None]], sizes: Sequence[int], title: str, target: Path
) -> list[Path]:
    """Latency against hidden size on log axes. medians: engine -> microseconds at each size.

    target: a picture's name, or a folder, which then gets sizes.svg. Returns the files. InputError
    if nothing was measured.
    """
    _require_some(medians)
    if target.suffix not in SUFFIXES:
        _folder(target)
        target = target / "sizes.svg"
    with figure(8.0, 4.2) as (picture, axes):
        for name, values in medians.items():
            axes.plot(
                sizes, [np.nan if v is None else v for v in values], color=_SERIES[name],
                marker=_MARKERS[name], markersize=5, label=KINDS[name].title,
            )  # fmt: skip
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(list(sizes), [str(size) for size in sizes])
        axes.minorticks_off()
        axes.set_xlabel("hidden units")
        axes.set_ylabel("one step, microseconds, median")
        axes.set_title(title)
        _plain_numbers(axes.yaxis)
        axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
        bare(axes, "both")
        save(picture, target)
    return [target]


def _plain_numbers(axis: Any) -> None:
    """1, 10, 100, not powers of ten; on an axis of less than a decade, what lies between too."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    plain = FuncFormatter(lambda value, _: f"{value:,.10g}")
    if high / max(low, 1e-9) < 30:
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(plain)
    axis.set_minor_formatter(NullFormatter())
