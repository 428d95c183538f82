"""Tokens, vocabularies, and their file."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgernn.recipes.text.vocabulary import KINDS, WORDS, Vocabulary, tokens_of
from edgernn.runtime.errors import FileFormatError, InputError


def test_words() -> None:
    found = tokens_of("It's 7.5 d\u2019accord -- caf\u00c9_x!", "words")
    assert found == [
        "it's", "7", ".", "5", "d\u2019accord", "-", "-", "caf\u00e9", "_", "x", "!",
    ]  # fmt: skip
    assert tokens_of(" \t\n", "words") == []


@given(st.text())
def test_words_leave_out_white_space_alone(text: str) -> None:
    assert "".join(tokens_of(text, "words")) == re.sub(r"\s", "", text.lower())


@given(st.text(min_size=1), st.sampled_from(["characters", "bytes"]))
def test_characters_and_bytes_come_back(text: str, kind: str) -> None:
    vocabulary = Vocabulary.of([text], kind)
    ids = vocabulary.encode(text)
    assert len(ids) == (len(text) if kind == "characters" else len(text.encode()))
    assert vocabulary.decode(ids) == text


def test_a_vocabulary_has_the_most_frequent_tokens() -> None:
    texts = ["b a b", "c a b"]
    assert Vocabulary.of(texts).tokens == ("<pad>", "<unk>", "b", "a", "c")
    assert Vocabulary.of(texts, minimum=2).tokens == ("<pad>", "<unk>", "b", "a")
    small = Vocabulary.of(texts, size=3, length=2)
    assert small.encode("b c b b").tolist() == [2, 1]
    assert small.decode([0, 2, 1, 2]) == "b <unk> b"
    assert Vocabulary.of(["ab"], "characters").decode([2, 1, 3]) == "a\ufffdb"
    assert Vocabulary.of(["\u00e9"], "bytes").decode([2, 1]) == "\ufffd\ufffd"
    # A mark in a text is not taken for the mark.
    assert 0 not in Vocabulary.of(["<pad>"]).encode("<pad>")


@pytest.mark.parametrize("kind", KINDS)
def test_the_file_is_the_vocabulary(kind: str) -> None:
    vocabulary = Vocabulary.of(["caf\u00e9 au lait"], kind, length=9)
    found = json.loads(vocabulary.dumps())
    assert Vocabulary.from_json(found, "here") == vocabulary
    assert found.get("pattern") == (WORDS if kind == "words" else None)


def test_what_is_no_vocabulary() -> None:
    good = Vocabulary.of(["a b"]).as_json()
    for change, message in [
        ({"kind": "syllables"}, "none of words, characters, bytes"),
        ({"tokens": ["<pad>", 1]}, "no list of strings"),
        ({"tokens": ["a", "b"]}, "do not begin with"),
        ({"tokens": ["<pad>", "<unk>", "a", "a"]}, "occur twice"),
        ({"length": -1}, "no number of tokens"),
        ({"pattern": "."}, "another pattern"),
    ]:
        with pytest.raises(FileFormatError, match=message):
            Vocabulary.from_json({**good, **change}, "vocabulary.json")
    with pytest.raises(FileFormatError, match=r"x\.json does not hold a vocabulary"):
        Vocabulary.from_json([], "x.json")


def test_refusals() -> None:
    with pytest.raises(InputError, match="not 'syllables'"):
        Vocabulary.of(["a"], "syllables")
    with pytest.raises(InputError, match="no token occurs 2 times"):
        Vocabulary.of(["a b"], minimum=2)
    with pytest.raises(InputError, match="have no tokens"):
        Vocabulary.of([" "])
    with pytest.raises(InputError, match="no room"):
        Vocabulary.of(["a"], size=2)
