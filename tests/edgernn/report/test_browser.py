"""The report in a real browser: no overflow, no request, no message; keyboard, contrast, no script.

Needs a chromium on the path and the package playwright, which downloads none of its own here.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from edgernn.pictures import DARK, LIGHT

Reported = tuple[Path, dict[str, Any]]
COMMANDS = ("chromium", "chromium-browser", "google-chrome")
WIDTHS = (360, 1024, 1920)
SCHEMES = ("light", "dark")


def _skip(reason: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    command = next((c for c in COMMANDS if shutil.which(c)), "")
    if not command:
        _skip("there is no chromium: make toolchain")
    if find_spec("playwright") is None:
        _skip("playwright is not installed: pip install 'edgernn[dev]'")
    from playwright.sync_api import sync_playwright

    # A sandbox needs another user than root.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(
            executable_path=shutil.which(command), args=[*arguments, "--disable-gpu"]
        )
        yield found
        found.close()


class Opened:
    """A page, what it said and what it asked for."""

    def __init__(self, browser: Any, path: Path, width: int = 1024, **options: Any) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 800}, **options)
        self.page = self.context.new_page()
        self.messages: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.messages.append(message.text))
        self.page.on("pageerror", lambda error: self.messages.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.url = path.as_uri()
        self.page.goto(self.url)

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_it_fits_is_quiet_and_loads_nothing(
    browser: Any, reported: Reported, width: int, scheme: str
) -> None:
    with Opened(browser, reported[0], width, color_scheme=scheme) as opened:
        for details in (False, True):
            opened.page.evaluate(
                "open => document.querySelectorAll('details').forEach(d => d.open = open)", details
            )
            assert opened.page.evaluate("document.documentElement.scrollWidth") == width
            # Nothing that is not in a box of its own that scrolls sticks out.
            out = opened.page.evaluate(
                """() => [...document.body.querySelectorAll('*')].filter(e =>
                    !e.closest('.scroll') && !e.classList.contains('skip') &&
                    e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML)"""
            )
            assert out == []
        assert opened.messages == []
        assert opened.requests == [opened.url]


CONTRAST = """() => {
  const parse = text => {
    const numbers = text.match(/[\\d.]+/g).map(Number);
    const wide = text.startsWith('color(');
    const [r, g, b] = numbers.slice(0, 3).map(v => wide ? v : v / 255);
    return [r, g, b, numbers[3] ?? 1];
  };
  const over = (a, b) => [0, 1, 2].map(i => a[i] * a[3] + b[i] * (1 - a[3])).concat(1);
  const luminance = c => {
    const [r, g, b] = c.map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = element => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) {
      const own = getComputedStyle(e).backgroundColor;
      if (own && own !== 'transparent') layers.push(parse(own));
    }
    return layers.reverse().reduce((below, layer) => over(layer, below), [1, 1, 1, 1]);
  };
  const poor = [];
  let seen = 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const name = element.localName;
    if (!walker.currentNode.data.trim() || ['script', 'style', 'title', 'desc'].includes(name))
      continue;
    const style = getComputedStyle(element);
    let ground = behind(element);
    let ink = parse(element.closest('svg') ? style.fill : style.color);
    // White on the filled boxes of the drawing's ends.
    if (element.classList.contains('end-text'))
      ground = parse(getComputedStyle(document.querySelector('.edgernn-network .end')).fill);
    ink = over(ink, ground);
    const [a, b] = [luminance(ink), luminance(ground)].sort((x, y) => y - x);
    seen += 1;
    if ((a + 0.05) / (b + 0.05) < 4.5)
      poor.push([walker.currentNode.data, style.color, style.fill]);
  }
  return [seen, poor];
}"""


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_text_has_contrast(browser: Any, reported: Reported, scheme: str) -> None:
    with Opened(browser, reported[0], color_scheme=scheme) as opened:
        seen, poor = opened.page.evaluate(CONTRAST)
        assert seen > 500
        assert poor == []


def test_text_in_charts_is_large_enough_on_a_phone(browser: Any, reported: Reported) -> None:
    with Opened(browser, reported[0], 360) as opened:
        heights = opened.page.evaluate(
            """() => [...document.querySelectorAll('svg text')].map(t => {
                const svg = t.ownerSVGElement, box = svg.viewBox.baseVal;
                return parseFloat(getComputedStyle(t).fontSize) *
                    svg.getBoundingClientRect().width / box.width;
            })"""
        )
        assert len(heights) > 100
        assert min(heights) >= 11


def column(page: Any, caption: str, index: int) -> list[str]:
    texts: list[str] = page.evaluate(
        """([id, index]) => [...document.getElementById(id).closest('table').tBodies[0].rows]
            .map(row => row.cells[index].textContent)""",
        [caption, index],
    )
    return texts


def test_tables_are_sorted_by_keyboard(browser: Any, reported: Reported) -> None:
    facts = reported[1]["tensors"]
    with Opened(browser, reported[0]) as opened:
        page = opened.page
        page.get_by_role("heading", name="Ranges").click()
        page.locator("#ranges ~ details summary").first.focus()
        page.keyboard.press("Enter")
        table = page.locator("table:has(#tensors)")
        assert table.is_visible()
        names = column(page, "tensors", 0)
        assert names == [t["name"] for t in facts]
        heads = table.locator("thead th")
        titles = heads.all_text_contents()
        used = titles.index("used")
        button = heads.nth(used).locator("button")
        # By the tab key alone: over the table's own box to the first head, and on.
        page.keyboard.press("Tab")
        for _ in range(used + 1):
            page.keyboard.press("Tab")
        assert button.evaluate("b => b === document.activeElement")
        assert button.evaluate("b => parseFloat(getComputedStyle(b).outlineWidth)") >= 2
        page.keyboard.press("Enter")
        assert heads.nth(used).get_attribute("aria-sort") == "descending"
        values = [float(v.rstrip(" %")) for v in column(page, "tensors", used)]
        assert values == sorted(values, reverse=True)
        assert values[0] > values[-1]
        page.keyboard.press("Space")
        assert heads.nth(used).get_attribute("aria-sort") == "ascending"
        values = [float(v.rstrip(" %")) for v in column(page, "tensors", used)]
        assert values == sorted(values)
        # What has no number is last, either way.
        snr = titles.index("SNR")
        page.evaluate(
            """column => [0, 4, 7].forEach(i => {
                const cell = document.querySelector('table:has(#tensors)').tBodies[0].rows[i]
                    .cells[column];
                delete cell.dataset.value;
                cell.textContent = '-';
            })""",
            snr,
        )
        for _ in range(2):
            heads.nth(snr).locator("button").click()
            listed = column(page, "tensors", snr)
            known = [v for v in listed if v.endswith("dB")]
            assert listed == known + ["-"] * 3
        heads.nth(0).locator("button").click()
        assert heads.nth(0).get_attribute("aria-sort") == "ascending"
        assert heads.nth(snr).get_attribute("aria-sort") == "none"
        assert column(page, "tensors", 0) != names
        assert sorted(column(page, "tensors", 0)) == sorted(names)


def test_the_skip_link_and_landmarks(browser: Any, reported: Reported) -> None:
    with Opened(browser, reported[0]) as opened:
        page = opened.page
        page.keyboard.press("Tab")
        skip = page.locator(".skip")
        assert skip.evaluate("e => e === document.activeElement")
        assert skip.bounding_box()["x"] >= 0
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        for name in ("banner", "navigation", "main", "contentinfo"):
            assert page.get_by_role(name).count() == 1, name
        ids = page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
        assert len(ids) == len(set(ids))
        named = page.evaluate(
            """[...document.querySelectorAll('[aria-labelledby]')].map(
                e => e.getAttribute('aria-labelledby'))"""
        )
        assert set(named) <= set(ids)
        targets = page.evaluate("[...document.links].map(a => a.hash.slice(1))")
        assert set(targets) <= set(ids)
        assert page.locator("svg:not(:has(> title))").count() == 0
        assert page.locator("svg").count() >= 6


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_colours_can_be_switched_and_nothing_is_remembered(
    browser: Any, reported: Reported, scheme: str
) -> None:
    ground = "getComputedStyle(document.body).getPropertyValue('--edgernn-paper')"
    papers = {"light": LIGHT.paper, "dark": DARK.paper}
    with Opened(browser, reported[0], color_scheme=scheme) as opened:
        page = opened.page
        assert page.evaluate(ground) == papers[scheme]
        other = SCHEMES[1 - SCHEMES.index(scheme)]
        for now in (other, scheme, other):
            page.get_by_role("button", name=f"{now.capitalize()} page").click()
            assert page.evaluate(ground) == papers[now]
        assert page.evaluate(CONTRAST)[1] == []
        page.reload()
        assert page.evaluate(ground) == papers[scheme]
        assert page.evaluate("document.cookie") == ""


def test_what_is_put_into_the_page_does_not_run(browser: Any, reported: Reported) -> None:
    with Opened(browser, reported[0]) as opened:
        ran = opened.page.evaluate(
            """async () => {
                const script = document.createElement('script');
                script.textContent = 'window.ran = true';
                document.body.append(script);
                const image = document.createElement('img');
                image.setAttribute('onerror', 'window.ran = true');
                image.src = 'missing.png';
                document.body.append(image);
                const fetched = await fetch(location.href).then(() => true, () => false);
                await new Promise(done => setTimeout(done, 100));
                return [window.ran === true, fetched];
            }"""
        )
        assert ran == [False, False]


def test_it_is_read_without_script(browser: Any, reported: Reported) -> None:
    with Opened(browser, reported[0], 360, java_script_enabled=False) as opened:
        page = opened.page
        assert page.locator("button").count() == 0
        assert page.locator("h2").count() >= 8
        assert page.locator("table:has(#engine-table) td").first.is_visible()
        table = page.locator("table:has(#tensors)")
        assert not table.is_visible()
        page.locator("#ranges ~ details summary").first.click()
        assert table.is_visible()
        assert page.locator("figure svg").first.is_visible()


def test_it_prints_everything(browser: Any, reported: Reported) -> None:
    with Opened(browser, reported[0], color_scheme="dark") as opened:
        page = opened.page
        page.emulate_media(media="print")
        assert not page.locator("nav").is_visible()
        # Paper is white, whatever the screen was.
        paper = "getComputedStyle(document.body).getPropertyValue('--edgernn-paper')"
        assert page.evaluate(paper) == LIGHT.paper
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert page.locator("details:not([open])").count() == 0
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert page.locator("details[open]").count() == 0
        assert page.evaluate(CONTRAST)[1] == []
