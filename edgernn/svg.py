"""A drawing as SVG: layers in ranks from the inputs down, one band of colour for each stage.

The layout is that of Sugiyama, Tagawa and Toda 1981 in its simplest form: ranks by the longest
path, places for the lines that pass a rank, order by the mean of the neighbours.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise
from typing import Final

from edgernn.drawing import Box, Drawing
from edgernn.pictures import DARK, LIGHT, variables

_NAMES: Final = ("ink", "muted", "paper", "bad")
CHAR, LINE, PAD, GAP, RANK_GAP, MARGIN = 7.0, 17.0, 10.0, 28.0, 46.0, 24.0
_BANDS: Final = 6
_OWN: Final = "edgernn-network"
_STYLE: Final = (
    "{own} text{{font:12px ui-monospace,Menlo,Consolas,monospace;fill:{ink}}}"
    "{own} .name{{font-weight:600}}{own} .dim{{fill:{muted}}}"
    "{own} .edge{{fill:none;stroke:{muted};stroke-width:1.3}}{own} .tip{{fill:{muted}}}"
    "{own} .box{{fill:{paper};stroke:{muted};stroke-width:1.2}}"
    "{own} .end{{fill:{ink};stroke:{ink}}}{own} .end-text{{fill:{paper};font-weight:600}}"
    "{own} .stage{{paint-order:stroke;stroke:{paper};stroke-width:4px}}"
    "{own} .loop{{fill:none;stroke:{bad};stroke-width:1.3}}{own} .state{{fill:{bad}}}"
)


def _style(inline: bool) -> str:
    """Colours as CSS variables: those of the page that it is part of, or else of its own."""
    colours = {name: _var(name) for name in _NAMES}
    style = _STYLE.format(own=f".{_OWN}", **colours)
    if inline:
        return style
    return f"{style}@media (prefers-color-scheme: dark){{:root{{{variables(DARK)}}}}}"


@dataclass(eq=False)
class _Place:
    """A box in its rank, or the place of a line that passes through."""

    box: Box | None
    rank: int
    lines: list[tuple[str, str]] = field(default_factory=list)
    x: float = 0.0
    y: float = 0.0
    width: float = 12.0
    height: float = 0.0
    loop: float = 0.0

    @property
    def middle(self) -> float:
        """Its centre, horizontally."""
        return self.x + self.width / 2


def svg(drawing: Drawing, title: str, inline: bool = False) -> str:
    """The drawing as an SVG document, in light or dark as the viewer is set; or, inline, as an
    element of a page that declares `edgernn.pictures.variables`."""
    return _Layout(drawing).document(title, _style(inline))


def _var(name: str) -> str:
    return f"var(--edgernn-{name},{getattr(LIGHT, name)})"


def _band(number: int) -> str:
    index = number % _BANDS
    return f"var(--edgernn-series-{index},{LIGHT.series[index]})"


class _Layout:
    def __init__(self, drawing: Drawing) -> None:
        self.drawing = drawing
        self.places = {box: self._place(box, 0) for box in drawing.boxes}
        self.edges = self._edges()
        self._rank()
        self.ranks: dict[int, list[_Place]] = defaultdict(list)
        for place in self.places.values():
            self.ranks[place.rank].append(place)
        self.routes = [self._route(a, b) for a, b, _ in self.edges]
        self._order()
        self._position()

    def _place(self, box: Box, rank: int) -> _Place:
        if box.kind in ("input", "output"):
            value = box.writes[0] if box.writes else box.reads[0]
            lines = [("end-text", box.name), ("end-text", self.drawing.shape(value) or box.kind)]
        else:
            shapes = [self.drawing.shape(name) for name in box.writes]
            lines = [("name", box.kind), ("dim", box.name)]
            lines += [("dim", shape) for shape in shapes[:1] if shape]
        loop = max((len(f"{n} {s}") for n, s in box.states), default=0) * CHAR
        width = max(len(line) for _, line in lines) * CHAR + 2 * PAD
        height = max(len(lines), len(box.states)) * LINE + PAD
        return _Place(box, rank, lines, 0.0, 0.0, width, height, loop + 24.0 if loop else 0.0)

    def _edges(self) -> list[tuple[_Place, _Place, str]]:
        writer = {name: box for box in self.drawing.boxes for name in box.writes}
        return [
            (self.places[writer[name]], self.places[box], name)
            for box in self.drawing.boxes
            for name in dict.fromkeys(box.reads)
            if name in writer
        ]

    def _rank(self) -> None:
        """Longest path from the inputs; a stage begins below the one before it."""
        floor, top = 0, 0
        stage = -1
        for box, place in self.places.items():
            if box.stage > stage:
                stage, floor = box.stage, top
            above = [a.rank for a, b, _ in self.edges if b is place]
            place.rank = max([floor + (box.stage >= 0), *(rank + 1 for rank in above)])
            top = max(top, place.rank)
        for box, place in self.places.items():
            if box.kind == "output":
                place.rank = top

    def _route(self, a: _Place, b: _Place) -> list[_Place]:
        """A line's places, rank by rank."""
        between = [_Place(None, rank) for rank in range(a.rank + 1, b.rank)]
        for place in between:
            self.ranks[place.rank].append(place)
        return [a, *between, b]

    def _order(self) -> None:
        neighbours: dict[_Place, list[_Place]] = defaultdict(list)
        for route in self.routes:
            for a, b in pairwise(route):
                neighbours[a].append(b)
                neighbours[b].append(a)
        index = {p: float(i) for row in self.ranks.values() for i, p in enumerate(row)}
        for sweep in range(6):
            step = 1 if sweep % 2 else -1
            for rank in sorted(self.ranks, reverse=bool(sweep % 2)):
                means = {}
                for place in self.ranks[rank]:
                    near = [index[p] for p in neighbours[place] if p.rank == rank + step]
                    means[place] = sum(near) / len(near) if near else index[place]
                self.ranks[rank].sort(key=means.__getitem__)
                index.update((p, float(i)) for i, p in enumerate(self.ranks[rank]))

    def _position(self) -> None:
        widths = {
            rank: sum(p.width + p.loop for p in row) + GAP * (len(row) - 1)
            for rank, row in self.ranks.items()
        }
        self.width = max(widths.values()) + 2 * MARGIN
        y = MARGIN + LINE
        for rank in sorted(self.ranks):
            x = (self.width - widths[rank]) / 2
            height = max(p.height for p in self.ranks[rank])
            for place in self.ranks[rank]:
                place.x, place.y = x, y
                place.height = place.height or height
                x += place.width + place.loop + GAP
            y += height + RANK_GAP
        self.height = y - RANK_GAP + MARGIN

    def document(self, title: str, style: str) -> str:
        """The SVG, in the order in which it is painted."""
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="{_OWN}" viewBox="0 0 {self.width:.0f} '
            f'{self.height:.0f}" width="{self.width:.0f}" height="{self.height:.0f}" role="img">',
            f"<title>{escape(title)}</title><style>{style}</style>",
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
            'markerHeight="7" orient="auto-start-reverse"><path class="tip" d="M0 0L8 4L0 8z"/>'
            "</marker></defs>",
            f'<rect style="fill:{_var("paper")}" width="{self.width:.0f}" '
            f'height="{self.height:.0f}"/>',
            *(rect for rect, _ in self._bands()),
            *(self._edge(route) for route in self.routes),
            # Over the lines that cross them.
            *(title for _, title in self._bands()),
            *(self._box(place) for place in self.places.values()),
            "</svg>",
        ]
        return "\n".join(parts) + "\n"

    def _bands(self) -> list[tuple[str, str]]:
        """A band and its title, for each stage."""
        bands = []
        for number, title in enumerate(self.drawing.stages):
            own = [p for p in self.places.values() if p.box and p.box.stage == number]
            if not own or len(self.drawing.stages) == 1:
                continue
            top = min(p.y for p in own) - RANK_GAP / 2 + 4
            end = max(p.y + p.height for p in own) + RANK_GAP / 2 - 4
            rect = (
                f'<rect x="6" y="{top:.1f}" width="{self.width - 12:.1f}" '
                f'height="{end - top:.1f}" rx="8" style="fill:{_band(number)};fill-opacity:0.09"/>'
            )
            text = f'<text class="dim stage" x="14" y="{top + 14:.1f}">{escape(title)}</text>'
            bands.append((rect, text))
        return bands

    def _edge(self, route: list[_Place]) -> str:
        x, y = route[0].middle, route[0].y + route[0].height
        path = f"M{x:.1f} {y:.1f}"
        for place in route[1:]:
            bend = (place.y - y) / 2
            path += (
                f"C{x:.1f} {y + bend:.1f} {place.middle:.1f} {place.y - bend:.1f} "
                f"{place.middle:.1f} {place.y:.1f}"
            )
            x, y = place.middle, place.y
            if place.box is None:
                y += place.height
                path += f"L{x:.1f} {y:.1f}"
        return f'<path class="edge" d="{path}" marker-end="url(#tip)"/>'

    def _box(self, place: _Place) -> str:
        assert place.box is not None
        end = place.box.kind in ("input", "output")
        parts = [
            f'<rect class="{"end" if end else "box"}" x="{place.x:.1f}" y="{place.y:.1f}" '
            f'width="{place.width:.1f}" height="{place.height:.1f}" rx="{12 if end else 5}"/>'
        ]
        for i, (style, line) in enumerate(place.lines):
            parts.append(
                f'<text class="{style}" text-anchor="middle" x="{place.middle:.1f}" '
                f'y="{place.y + PAD / 2 + LINE * (i + 0.8):.1f}">{escape(line)}</text>'
            )
        right = place.x + place.width
        if place.box.states:
            low, high = place.y + place.height * 0.75, place.y + place.height * 0.25
            parts.append(
                f'<path class="loop" d="M{right:.1f} {low:.1f}c18 0 18 {high - low:.1f} 0 '
                f'{high - low:.1f}"/>'
            )
        for i, (name, size) in enumerate(place.box.states):
            parts.append(
                f'<text class="state" x="{right + 18:.1f}" '
                f'y="{place.y + PAD / 2 + LINE * (i + 0.8):.1f}">{escape(name)} {size}</text>'
            )
        return "".join(parts)
