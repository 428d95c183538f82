"""Long texts for generation, split by position: what comes later is never in train."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgernn.recipes.text.columns import read_text
from edgernn.runtime.errors import InputError, MissingExtraError
from edgernn.training.base import SPLITS

SHARES: Final = (0.8, 0.9)
"""Where val and test begin."""
FEWEST: Final = 100
"""Characters of a split."""
_DRAWN: Final = re.compile(r"[-+=*^~#]{3}|[|+] ").search


@dataclass(frozen=True)
class LongTexts:
    """Texts by split. split: how they were split, in words."""

    texts: Mapping[str, list[str]]
    name: str
    split: str
    source: str = ""
    licence: str = ""


def read_long(source: str) -> LongTexts:
    """A .txt file, a folder of them, or a folder of train.txt, val.txt and test.txt.

    Without the last, each file's first 80 % of characters are train, the next 10 % val, the rest
    test. InputError for what is not there, not UTF-8, or too short.
    """
    path = Path(source)
    if path.is_dir():
        files = sorted(path.glob("*.txt"))
    elif path.exists():
        files = [path]
    else:
        raise InputError(f"{source} is not there")
    if not files:
        raise InputError(f"{source} holds no .txt file")
    if files[0].suffix != ".txt":
        raise InputError(f"{source} is no .txt file; give one, or a folder of them")
    texts = {file.stem: read_text(file) for file in files}
    if texts.keys() == set(SPLITS):
        parts, how = {name: [texts[name]] for name in SPLITS}, "the data's own"
    else:
        parts, how = by_position(list(texts.values()))
    for name, found in parts.items():
        count = sum(map(len, found))
        if count < FEWEST:
            raise InputError(
                f"{source} leaves {count} characters for {name}, and {FEWEST} are the least; "
                "give more text"
            )
    return LongTexts(parts, path.stem, how)


def by_position(texts: list[str]) -> tuple[dict[str, list[str]], str]:
    """The splits of each text, and how they were made in words."""
    bounds = [[0, *(round(share * len(text)) for share in SHARES), len(text)] for text in texts]
    parts = {
        name: [text[b[i] : b[i + 1]] for text, b in zip(texts, bounds, strict=True)]
        for i, name in enumerate(SPLITS)
    }
    return parts, "the first 80 % of each text, the next 10 %, the last 10 %"


def reference() -> LongTexts:
    """Python's language reference, which comes with Python: each paragraph once, on one line,
    tables and drawings left out."""
    import platform

    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise MissingExtraError(
            "this Python comes without pydoc_data, the text of the demonstration; give a text of "
            "your own with --data"
        ) from None
    paragraphs = (" ".join(p.split()) for key in sorted(topics) for p in topics[key].split("\n\n"))
    once = dict.fromkeys(p for p in paragraphs if p and not _DRAWN(p))
    parts, how = by_position(["\n".join(once)])
    return LongTexts(
        parts,
        f"the language reference of Python {platform.python_version()}",
        how,
        "pydoc_data.topics, which comes with Python",
        "PSF-2.0",
    )
