"""The demonstration of `hierarchy`: what people ask of a house, from a grammar of three levels."""

from __future__ import annotations

from typing import Final

import numpy as np

from edgernn.recipes.text.reading import Texts

REQUESTS: Final = "requests to a house (generated from a grammar)"
LEVELS: Final = ("area", "thing", "action")
COUNT: Final = 2400

_THINGS: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "comfort": {
        "light": ("the light", "the lamp", "the ceiling lamp", "the lights"),
        "heating": ("the heating", "the radiator", "the floor heating", "the boiler"),
        "blind": ("the blind", "the shutters", "the curtain", "the awning"),
    },
    "media": {
        "music": ("the music", "the record", "my playlist", "the song"),
        "radio": ("the radio", "the station", "the broadcast", "the receiver"),
    },
    "safety": {
        "door": ("the door", "the gate", "the lock", "the garage"),
        "alarm": ("the alarm", "the siren", "the smoke detector", "the guard"),
    },
}
_ACTIONS: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "light": {"on": ("switch on", "turn on"), "off": ("switch off", "turn off")},
    "heating": {"warmer": ("turn up", "raise"), "colder": ("turn down", "lower")},
    "blind": {"open": ("open", "raise"), "close": ("close", "lower")},
    "music": {"play": ("play", "turn on"), "stop": ("stop", "turn off"), "next": ("skip", "pass")},
    "radio": {"louder": ("turn up", "raise"), "softer": ("turn down", "lower")},
    "door": {"lock": ("lock", "close"), "unlock": ("unlock", "open")},
    "alarm": {"arm": ("arm", "switch on"), "disarm": ("disarm", "switch off")},
}
_PATTERNS: Final = (
    "{please}{do} {thing}{where}",
    "{please}{do} {thing}{where} and leave {other} alone",
    "do not touch {other}, {do} {thing}{where}",
    "can you {do} {thing}{where}",
    "i said {do} {thing}, not {other}",
    "would you {do} {thing}{where} before you {undo} {other}",
    "before you {undo} {other}, {do} {thing}{where}",
    "{thing}{where}: {do} it",
    "it is late{where}, {do} {thing}",
)
_PLEASE: Final = ("", "", "please ", "now ", "quickly ")
_WHERE: Final = ("", "", " in the kitchen", " upstairs", " in the hall", " behind the house")


def requests(seed: int, count: int = COUNT) -> Texts:
    """Different texts with a label of each of LEVELS, in splits of 80, 10 and 10 %."""
    generator = np.random.default_rng((seed, 11))

    def drawn(words: tuple[str, ...]) -> str:
        return words[int(generator.integers(len(words)))]

    kinds = [(area, thing) for area, things in _THINGS.items() for thing in things]
    found: dict[str, tuple[str, ...]] = {}
    while len(found) < count:
        (area, thing), (area_of, other) = (
            kinds[int(i)] for i in generator.permutation(len(kinds))[:2]
        )
        action = drawn(tuple(_ACTIONS[thing]))
        text = drawn(_PATTERNS).format(
            please=drawn(_PLEASE),
            do=drawn(_ACTIONS[thing][action]),
            thing=drawn(_THINGS[area][thing]),
            undo=drawn(_ACTIONS[other][drawn(tuple(_ACTIONS[other]))]),
            other=drawn(_THINGS[area_of][other]),
            where=drawn(_WHERE),
        )
        found[text] = (area, thing, f"{thing} {action}")
    rows = list(found.items())
    bounds = {"train": (0, 0.8), "val": (0.8, 0.9), "test": (0.9, 1)}
    parts = {s: rows[round(a * count) : round(b * count)] for s, (a, b) in bounds.items()}
    return Texts(
        {s: [text for text, _ in part] for s, part in parts.items()},
        {
            level: {s: [path[i] for _, path in part] for s, part in parts.items()}
            for i, level in enumerate(LEVELS)
        },
        REQUESTS,
        f"80 / 10 / 10 %, drawn with seed {seed}",
    )
