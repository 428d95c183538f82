"""Text to token ids and back: what a network of text reads, on the desk and on a device."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgernn.runtime.errors import FileFormatError, InputError

PAD: Final = 0
UNKNOWN: Final = 1
MARKS: Final = ("<pad>", "<unk>")
KINDS: Final = ("words", "characters", "bytes")
WORDS: Final = r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*|\d+|[^\w\s]|_"
"""A token of the kind `words`, after str.lower: letters with apostrophes inside, digits, or one
other character. Every character but white space is in a token."""

_FIND_WORDS = re.compile(WORDS).findall


def tokens_of(text: str, kind: str) -> list[str]:
    """The tokens of a text.

    words: what WORDS matches, one after the other, of the text in lower case. characters: each
    code point. bytes: each byte of UTF-8, written as the character of that number.
    """
    if kind == "words":
        return _FIND_WORDS(text.lower())
    return list(text) if kind == "characters" else list(text.encode().decode("latin-1"))


@dataclass(frozen=True)
class Vocabulary:
    """Tokens and their ids, which are places in `tokens`: 0 padding, 1 unknown, then the known.

    kind: one of KINDS, how a text is cut. length: tokens of a text that count, the first ones; 0
    for all.
    """

    kind: str
    tokens: tuple[str, ...]
    length: int = 0

    @classmethod
    def of(
        cls,
        texts: Iterable[str],
        kind: str = "words",
        minimum: int = 1,
        size: int = 0,
        length: int = 0,
    ) -> Vocabulary:
        """The tokens of these texts, most frequent first, equal ones in alphabetical order.

        minimum: how often a token occurs at least. size: of the vocabulary at most, padding and
        unknown included; 0 for no limit. InputError if no token is left.
        """
        if kind not in KINDS:
            raise InputError(f"tokens are {', '.join(KINDS)}, not {kind!r}")
        if size and size <= len(MARKS):
            raise InputError(f"a vocabulary of {size} has no room beside {' and '.join(MARKS)}")
        counts = Counter(token for text in texts for token in tokens_of(text, kind))
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        known = [token for token, count in ranked if count >= minimum]
        if not known:
            raise InputError(
                f"no token occurs {minimum} times in the training texts; ask for fewer"
                if counts
                else "the training texts have no tokens"
            )
        return cls(kind, (*MARKS, *known)[: size or None], length)

    def __len__(self) -> int:
        return len(self.tokens)

    def split(self, text: str) -> list[str]:
        """The tokens of a text as written, known or not, cut to `length`."""
        return tokens_of(text, self.kind)[: self.length or None]

    def encode(self, text: str) -> NDArray[np.int64]:
        """The ids of a text, (T,) int64, cut to `length`."""
        ids = self._ids
        return np.array([ids.get(token, UNKNOWN) for token in self.split(text)], np.int64)

    def decode(self, ids: Sequence[int] | NDArray[np.int64]) -> str:
        """The text of ids: words with a space between them, padding left out.

        What is unknown is <unk> among words, else U+FFFD; so are bytes that are no UTF-8.
        """
        known = [self.tokens[i] for i in ids if i != PAD]
        if self.kind == "words":
            return " ".join(known)
        if self.kind == "characters":
            return "".join("\ufffd" if token == MARKS[UNKNOWN] else token for token in known)
        raw = b"".join(b"\xff" if t == MARKS[UNKNOWN] else t.encode("latin-1") for t in known)
        return raw.decode("utf-8", "replace")

    def as_json(self) -> dict[str, Any]:
        """For facts and vocabulary.json; `pattern` is for other languages than Python."""
        found = {"kind": self.kind, "length": self.length, "tokens": list(self.tokens)}
        return {"pattern": WORDS, "lower": True, **found} if self.kind == "words" else found

    @classmethod
    def from_json(cls, found: object, where: str) -> Vocabulary:
        """The inverse; FileFormatError that names `where` if it is not one."""
        problem = f"{where} does not hold a vocabulary"
        if not isinstance(found, Mapping) or found.get("kind") not in KINDS:
            raise FileFormatError(f"{problem}: its kind is none of {', '.join(KINDS)}")
        tokens, length = found.get("tokens"), found.get("length", 0)
        if not isinstance(tokens, list) or not all(isinstance(t, str) for t in tokens):
            raise FileFormatError(f"{problem}: its tokens are no list of strings")
        if tuple(tokens[: len(MARKS)]) != MARKS or len(set(tokens)) != len(tokens):
            raise FileFormatError(f"{problem}: tokens occur twice, or do not begin with {MARKS}")
        if type(length) is not int or length < 0:
            raise FileFormatError(f"{problem}: its length is no number of tokens")
        if found["kind"] == "words" and found.get("pattern", WORDS) != WORDS:
            raise FileFormatError(f"{problem} of this version: its words follow another pattern")
        return cls(str(found["kind"]), tuple(tokens), length)

    def dumps(self) -> bytes:
        """The content of vocabulary.json, UTF-8."""
        return (json.dumps(self.as_json(), ensure_ascii=False, indent=1) + "\n").encode()

    @property
    def _ids(self) -> dict[str, int]:
        """Token -> id, made once."""
        made: dict[str, int] | None = self.__dict__.get("_table")
        if made is None:
            made = {token: i for i, token in enumerate(self.tokens) if i > UNKNOWN}
            self.__dict__["_table"] = made
        return made
