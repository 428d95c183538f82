"""Text from a network that was trained to say what follows."""

from __future__ import annotations

from collections.abc import Iterator

from edgernn.recipes.text.sampling import Sampler
from edgernn.recipes.text.streams import Stream
from edgernn.recipes.text.trained import Trained
from edgernn.recipes.text.vocabulary import MARKS, UNKNOWN, Vocabulary
from edgernn.runtime.errors import InputError

RECIPE = "generate"


def prompt_ids(trained: Trained, prompt: str) -> list[int]:
    """What the stream reads first: the prompt, or, if there is none, the end of a line.

    InputError for characters that the network never read, and for another recipe's network.
    """
    if trained.recipe != RECIPE:
        raise InputError(
            f"{trained.folder} is of the recipe {trained.recipe}, which says no next token; train "
            f"one with `edgernn train {RECIPE}`"
        )
    vocabulary = trained.vocabulary
    ids: list[int] = vocabulary.encode(prompt).tolist()
    if not ids:
        # The most frequent token where no line ends.
        line = vocabulary.encode("\n").tolist()
        return line if line and line != [UNKNOWN] else [len(MARKS)]
    if vocabulary.kind != "words" and UNKNOWN in ids:
        raise InputError(
            f"{vocabulary.split(prompt)[ids.index(UNKNOWN)]!r} of the prompt was not in the "
            "training text; leave it out"
        )
    return ids


def generated(stream: Stream, prompt: list[int], count: int, sampler: Sampler) -> Iterator[int]:
    """The next `count` token ids after a prompt of at least one; marks are never among them."""
    for token in prompt[:-1]:
        stream.step(token)
    token = prompt[-1]
    for _ in range(count):
        token = sampler.draw(stream.step(token))
        yield token


def continued(vocabulary: Vocabulary, prompt: str, ids: list[int]) -> str:
    """The prompt and what followed, as text."""
    between = " " if vocabulary.kind == "words" and prompt and ids else ""
    return prompt + between + vocabulary.decode(ids)
