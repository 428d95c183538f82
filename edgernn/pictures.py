"""Pictures that read well on light and on dark paper: one style for every chart, with matplotlib.

A chart is drawn with the colours of `Palette` and nothing else; in an SVG each of them becomes a
CSS variable, so that a page, or the viewer's setting, can change them. For shades use one colour
and its opacity.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgernn.runtime.errors import InputError, MissingExtraError
from edgernn.runtime.file import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES: Final = (".svg", ".png")


@dataclass(frozen=True)
class Palette:
    """Colours by what they are for; series: of lines and bars, in order, told apart by readers
    who do not see all colours (after Okabe and Ito 2008)."""

    ink: str = "#1c2733"
    muted: str = "#55657a"
    grid: str = "#d3dbe3"
    paper: str = "#fefefe"
    good: str = "#0b7a53"
    bad: str = "#c2371e"
    series: tuple[str, ...] = (
        "#0067a5",
        "#c25d00",
        "#067a5b",
        "#a8417f",
        "#8a6d00",
        "#3a4a9f",
        "#5b5f66",
        "#1d8cb5",
    )

    @property
    def named(self) -> dict[str, str]:
        """CSS variable -> colour."""
        plain = {name: getattr(self, name) for name in ("ink", "muted", "grid", "paper")}
        plain |= {"good": self.good, "bad": self.bad}
        plain |= {f"series-{i}": colour for i, colour in enumerate(self.series)}
        return {f"--edgernn-{name}": colour for name, colour in plain.items()}


LIGHT: Final = Palette()
DARK: Final = Palette(
    ink="#e6ebf0",
    muted="#a3b1c0",
    grid="#3a4653",
    paper="#12181f",
    good="#4fcb9a",
    bad="#ff8a70",
    series=(
        "#62b5f0",
        "#ff9f45",
        "#3fcf9f",
        "#e592c4",
        "#e0c044",
        "#a0aef5",
        "#b4b9c0",
        "#7fd6f5",
    ),
)


def variables(palette: Palette) -> str:
    """The palette as CSS declarations, for a page that shows pictures inline."""
    return ";".join(f"{name}:{colour}" for name, colour in palette.named.items())


@contextmanager
def figure(
    width: float = 7.0, height: float = 3.6, rows: int = 1, columns: int = 1, **axes: Any
) -> Iterator[tuple[Figure, Any]]:
    """A figure and its axes (an array of them if there are several), in the style of the project.

    width, height: in inches. axes: for `matplotlib.figure.Figure.subplots`. Use it as a context:
    the style holds inside. MissingExtraError without matplotlib.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise MissingExtraError(
            "pictures need matplotlib; install it with: pip install 'edgernn[pictures]'"
        ) from None
    with matplotlib.rc_context(_style(matplotlib)):
        made = Figure(figsize=(width, height), layout="constrained")
        yield made, made.subplots(rows, columns, **axes)


def save(picture: Figure, path: str | os.PathLike[str]) -> None:
    """Write an .svg, which follows the viewer's light or dark setting, or a .png on white.

    The same figure gives the same bytes. InputError for another suffix.
    """
    _settle(picture)
    target = Path(path)
    if target.suffix not in SUFFIXES:
        raise InputError(f"{target} is no picture's name; end it in {' or '.join(SUFFIXES)}")
    if target.suffix == ".png":
        stream = io.BytesIO()
        picture.savefig(stream, format="png", dpi=144, facecolor="white", metadata={"Software": ""})
        write_atomically(target, stream.getvalue())
        return
    style = (
        f"<style>:root{{{variables(LIGHT)}}}"
        f"@media (prefers-color-scheme: dark){{:root{{{variables(DARK)}}}}}</style>"
    )
    text = _svg(picture, target.stem)
    start = text.index(">") + 1
    write_atomically(target, (text[:start] + style + text[start:]).encode())


def inline_svg(picture: Figure, title: str, description: str = "") -> str:
    """An <svg> element for an HTML page that declares `variables`.

    title, description: what a reader hears who does not see it. The title makes the ids of its
    parts unique in the page.
    """
    _settle(picture)
    text = _svg(picture, title)
    start = text.index(">") + 1
    heading = f"<title>{escape(title)}</title>"
    if description:
        heading += f"<desc>{escape(description)}</desc>"
    opening = text[: start - 1] + ' role="img">'
    return opening + heading + text[start:]


def bare(axes: Axes, grid: str = "y") -> None:
    """Leave out the frame; lines of the grid across one axis, `x`, `y` or `both`."""
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.grid(True, axis=grid)  # type: ignore[arg-type]
    axes.set_axisbelow(True)


def _style(matplotlib: Any) -> Any:
    return {
        "axes.edgecolor": LIGHT.muted,
        "axes.facecolor": "none",
        "axes.labelcolor": LIGHT.ink,
        "axes.prop_cycle": matplotlib.cycler(color=LIGHT.series),
        "axes.titlelocation": "left",
        "axes.titlesize": 11,
        "axes.titlecolor": LIGHT.ink,
        "figure.facecolor": "none",
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],
        "font.size": 10,
        "grid.color": LIGHT.grid,
        "grid.linewidth": 0.8,
        "legend.frameon": False,
        "legend.labelcolor": LIGHT.ink,
        "lines.linewidth": 1.8,
        "svg.fonttype": "none",
        "text.color": LIGHT.ink,
        "text.parse_math": False,
        "xtick.color": LIGHT.muted,
        "ytick.color": LIGHT.muted,
    }


def _settle(picture: Figure) -> None:
    """Lay it out once: matplotlib's layout would move a little with every drawing."""
    picture.draw_without_rendering()
    picture.set_layout_engine("none")


def _svg(picture: Figure, salt: str) -> str:
    """From <svg on; the palette's colours as variables, ids that differ between titles."""
    import matplotlib

    stream = io.StringIO()
    # The style's context has ended by now, and text as paths could not be scaled or searched.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt}):
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        picture.savefig(stream, format="svg", metadata=nothing)
    text = stream.getvalue()
    text = text[text.index("<svg") :].strip()
    for name, colour in LIGHT.named.items():
        text = text.replace(colour, f"var({name},{colour})")
    prefix = f"e{hashlib.sha256(salt.encode()).hexdigest()[:8]}-"
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}", text)
    return text.replace("'DejaVu Sans'", "'DejaVu Sans', system-ui, sans-serif") + "\n"
