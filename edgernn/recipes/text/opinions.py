"""The demonstration of `sentiment`: opinions from a grammar, in which the order of words counts."""

from __future__ import annotations

from typing import Final

import numpy as np

from edgernn.recipes.text.reading import Texts

OPINIONS: Final = "opinions (generated from a grammar)"
CLASSES: Final = ("negative", "positive")
COUNT: Final = 8000

_THINGS: Final = (
    "the soup", "this camera", "the hotel", "the second act", "her voice", "the battery",
    "the ending", "our guide", "the screen", "the service", "this novel", "the coffee",
    "the plot", "the sound",
)  # fmt: skip
_GOOD: Final = (
    "good", "excellent", "charming", "bright", "reliable", "a delight", "fresh", "moving", "great",
    "worth every minute", "clever", "a pleasure", "solid", "wonderful",
)  # fmt: skip
_BAD: Final = (
    "bad", "dull", "broken", "a waste of time", "stale", "noisy", "awful", "slow", "tiresome",
    "poor", "a mess", "a disappointment", "clumsy", "hard to bear",
)  # fmt: skip
_PLAIN: Final = (
    "{thing} was {so}{a}.",
    "{thing} is {so}{a}, and everybody said so.",
    "i found {thing} {so}{a}.",
    "{so}{a}, {thing} i mean.",
    "it seemed {b} at first, but {thing} was {so}{a}.",
    "they called {thing} {b}; it is {so}{a}.",
    "i had expected something {b} and {thing} turned out {a}.",
    "{thing} was {so}{a}, although {other} was {b}.",
    "some things were {b}. all in all {a}, above all {thing}.",
)
_DENIED: Final = (
    "{thing} was not {a}.",
    "{thing} is anything but {a}.",
    "nobody could call {thing} {a}.",
    "{a}? not {thing}.",
    "i would never say that {thing} was {so}{a}.",
    "{thing} could have been {a}, and was not.",
)
_SO: Final = ("", "", "really ", "just ", "simply ", "quite ")


def opinions(seed: int, count: int = COUNT) -> Texts:
    """Different texts with the labels of CLASSES, in splits of 80, 10 and 10 %."""
    generator = np.random.default_rng((seed, 7))
    found: dict[str, str] = {}
    while len(found) < count:
        positive = bool(generator.integers(2))
        denied = generator.random() < 0.4
        words = (_GOOD, _BAD) if positive != denied else (_BAD, _GOOD)
        thing, other = generator.permutation(_THINGS)[:2]
        pattern = _drawn(generator, _DENIED if denied else _PLAIN)
        text = pattern.format(
            thing=thing,
            other=other,
            so=_drawn(generator, _SO),
            a=_drawn(generator, words[0]),
            b=_drawn(generator, words[1]),
        )
        found[text] = CLASSES[positive]
    rows = list(found.items())
    bounds = {"train": (0, 0.8), "val": (0.8, 0.9), "test": (0.9, 1)}
    parts = {s: rows[round(a * count) : round(b * count)] for s, (a, b) in bounds.items()}
    return Texts(
        {s: [text for text, _ in part] for s, part in parts.items()},
        {"label": {s: [label for _, label in part] for s, part in parts.items()}},
        OPINIONS,
        f"80 / 10 / 10 %, drawn with seed {seed}",
    )


def _drawn(generator: np.random.Generator, words: tuple[str, ...]) -> str:
    return words[int(generator.integers(len(words)))]
