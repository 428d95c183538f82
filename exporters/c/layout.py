"""Lines of C: how a long list is broken, and what text may stand in a comment."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import Final

WIDTH: Final = 100
_ROOM: Final = 40
"""Columns beside a head that are worth filling; with less, the list begins on the next line."""


def fill(head: str, items: Sequence[str], tail: str, between: str = ",") -> str:
    """head, the items with `between` after each but the last, tail; broken where it is too long."""
    texts = [*(f"{item}{between}" for item in items[:-1]), f"{items[-1]}{tail}"]
    line = head + " ".join(texts)
    if len(line) <= WIDTH:
        return line
    lines: list[str] = []
    indent, current, empty = len(head), head, True
    if WIDTH - indent < max(_ROOM, max(map(len, texts))):
        lines.append(head)
        indent = len(head) - len(head.lstrip()) + 4
        current = " " * indent
    for text in texts:
        if not empty and len(current) + 1 + len(text) > WIDTH:
            lines.append(current)
            current, empty = " " * indent, True
        current += text if empty else f" {text}"
        empty = False
    return "\n".join([*lines, current])


def comment(paragraphs: Iterable[str]) -> str:
    """A block comment; a paragraph that begins with a blank is one line and stays as it is.

    The text may come from a file: it can neither end the comment nor begin another.
    """
    lines: list[str] = []
    for paragraph in paragraphs:
        text = "".join(c if " " <= c <= "~" else " " if c.isspace() else "?" for c in paragraph)
        text = text.replace("*/", "* /").replace("/*", "/ *")
        lines += [text] if text[:1] in ("", " ") else textwrap.wrap(text, WIDTH - 3)
    return "/*" + "\n".join(f" * {line}".rstrip() for line in lines)[2:] + "\n */\n"
