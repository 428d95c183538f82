"""The style of pictures: colours that change with the page, ids that do not meet, readable ones."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgernn.pictures import DARK, LIGHT, Palette, bare, figure, inline_svg, save
from edgernn.runtime.errors import InputError


def drawn(title: str = "a title") -> str:
    with figure() as (picture, axes):
        for i in range(8):
            axes.plot([1, 2, 3], [i, i + 1, i], label=f"line {i}")
        axes.set_title("sizes < 3 & > $1")
        axes.legend()
        bare(axes, "both")
    return inline_svg(picture, title, "what it shows")


def luminance(colour: str) -> float:
    """Relative luminance of WCAG 2.2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_colours_can_be_read(palette: Palette) -> None:
    for text in (palette.ink, palette.muted, palette.good, palette.bad):
        assert contrast(text, palette.paper) >= 4.5
    for line in palette.series:
        assert contrast(line, palette.paper) >= 3.0


def test_every_colour_of_a_picture_is_a_variable() -> None:
    bare_colours = set(re.findall(r"(?<=[: ])#[0-9a-f]{6}", drawn()))
    assert bare_colours == set()
    assert "sizes &lt; 3 &amp; &gt; $1" in drawn()
    assert 'role="img"><title>a title</title><desc>what it shows</desc>' in drawn()


def test_two_pictures_share_no_id_in_a_page() -> None:
    first, second = (set(re.findall(r'id="([^"]*)"', drawn(title))) for title in ("a", "b"))
    assert first
    assert not first & second
    for target in re.findall(r'(?:href="#|url\(#)([^")]*)', drawn("a")):
        assert target in first


def test_files_are_the_same_each_time(tmp_path: Path) -> None:
    with figure() as (picture, axes):
        axes.bar(["x", "y"], [1, 2])
    for name in ("a.svg", "a.png"):
        save(picture, tmp_path / name)
        before = (tmp_path / name).read_bytes()
        save(picture, tmp_path / name)
        assert (tmp_path / name).read_bytes() == before
    text = (tmp_path / "a.svg").read_text()
    assert "prefers-color-scheme: dark" in text
    with pytest.raises(InputError, match=r"end it in \.svg or \.png"):
        save(picture, tmp_path / "a.bmp")
