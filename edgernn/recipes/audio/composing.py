"""Streams composed of recorded words: what a spotter learns from, and is tuned and judged on.

A composed stream is words, decoys and gaps in turn, with faint noise under all of it. Decoys are
words backwards and beginnings of words: speech, and none of the words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn.recipes.audio.recordings import Audio, Recording, Recordings, Stream
from edgernn.runtime.logmel import IntegerLogMel
from edgernn.runtime.logmel_settings import LogMelSettings
from edgernn.training.losses import IGNORED

Generator = np.random.Generator
BACKGROUND: Final = "background"
FEATURE: Final = 2.0**-11
HEARD: Final = 0.6
"""Share of a word after which it may be known."""
KNOWN: Final = 0.2
"""Seconds after a word in which it is to be known."""
UNSURE: Final = 0.15
"""Seconds after that in which nothing is asked."""
SPEED: Final = float(np.log(1.25))
"""By so much, as a logarithm, words are played faster or slower; voices go up and down with it."""
LEVELS: Final = (60.0, 6000.0)
"""Root mean square that the words of a stream are brought to, any magnitude alike."""
STEADY: Final = 4.0
"""By so many dB words of one stream are louder or softer."""
SNR: Final = (6.0, 45.0)
"""By so many dB noise is below the words."""
COLOUR: Final = 3.0
"""Standard deviation, in dB, of the gain of each of COLOURS parts of the spectrum: rooms and
microphones differ."""
COLOURS: Final = 8
MASKED: Final = 3
"""Bands that are left out of a stream, one run of them, at most."""
BLOCK: Final = 0.01
QUIET: Final = 1e-3
"""Power, relative to the loudest block, below which a recording's ends are no part of the word."""


@dataclass(frozen=True)
class Habits:
    """How streams are composed. gaps: shortest and longest, in seconds. noise: smallest and largest
    standard deviation, in units of int16. changes: whether words are made louder and softer, faster
    and slower, and otherwise coloured; noise is then also kept below them, by SNR. decoys: chance
    of one after each word."""

    gaps: tuple[float, float]
    noise: tuple[float, float]
    changes: bool
    decoys: float


LEARNING: Final = Habits((0.1, 0.6), (0.5, 300.0), True, 0.2)
JUDGING: Final = Habits((0.3, 1.0), (8.0, 8.0), False, 0.0)
TUNING: Final = Habits((0.3, 1.5), (2.0, 50.0), False, 0.4)


def extent(audio: Audio, rate: int) -> tuple[int, int]:
    """Where the word is within a recording, (begin, end) samples."""
    block = max(1, round(BLOCK * rate))
    count = -(-len(audio) // block)
    padded = np.zeros(count * block)
    padded[: len(audio)] = audio
    power = (padded.reshape(count, block) ** 2).mean(axis=1)
    loud = np.flatnonzero(power >= QUIET * power.max())
    return int(loud[0]) * block, min(int(loud[-1] + 1) * block, len(audio))


def compose(
    recordings: Sequence[Recording],
    source: Recordings,
    habits: Habits,
    generator: Generator,
    name: str,
) -> Stream:
    """The recordings in their order as one stream."""
    rate = source.rate
    parts: list[NDArray[np.float64]] = []
    starts, ends, words = [], [], []
    at = 0

    def append(sound: NDArray[np.float64]) -> int:
        nonlocal at
        parts.append(sound)
        at += len(sound)
        return at - len(sound)

    def gap() -> None:
        append(np.zeros(round(generator.uniform(*habits.gaps) * rate)))

    level = float(np.exp(generator.uniform(*np.log(LEVELS))))
    low, high = habits.noise
    if habits.changes:
        snr = generator.uniform(*SNR)
        low = high = float(np.clip(level * 10 ** (-snr / 20), low, high))
    gap()
    for recording in recordings:
        sound = recording.audio.astype(np.float64)
        begin, end = extent(recording.audio, rate)
        if habits.changes:
            speed = float(np.exp(generator.uniform(-SPEED, SPEED)))
            sound = coloured(faster(sound, speed), generator)
            wanted = level * 10 ** (generator.uniform(-STEADY, STEADY) / 20)
            sound *= wanted / max(float(np.sqrt((sound**2).mean())), 1.0)
            begin, end = int(begin / speed), min(int(end / speed), len(sound))
        start = append(sound)
        starts.append(start + begin)
        ends.append(start + max(end, begin + 1))
        words.append(recording.word)
        gap()
        if generator.random() < habits.decoys:
            append(_decoy(sound[begin:end], generator))
            gap()
    # What was known at the end is still to be said.
    append(np.zeros(round((KNOWN + UNSURE) * rate)))
    deviation = float(np.exp(generator.uniform(np.log(low), np.log(high))))
    plain = not habits.changes and low == high
    total = np.concatenate(parts)
    total += noise(len(total), () if plain else source.noises, deviation, plain, generator)
    audio = np.clip(np.rint(total), -32768, 32767).astype(np.int16)
    first, last, said = (np.array(v, np.int64) for v in (starts, ends, words))
    return Stream(audio, first, last, said, name, composed=True)


def faster(sound: NDArray[np.float64], speed: float) -> NDArray[np.float64]:
    """Played so many times as fast, and higher by as much."""
    if speed == 1.0:
        return sound
    places = np.arange(max(1, int(len(sound) / speed))) * speed
    return np.asarray(np.interp(places, np.arange(len(sound)), sound))


def coloured(sound: NDArray[np.float64], generator: Generator) -> NDArray[np.float64]:
    """Through a filter of a smooth random response."""
    spectrum = np.fft.rfft(sound)
    places = np.linspace(0, 1, len(spectrum)) ** 0.5 * (COLOURS - 1)
    gains = np.interp(places, np.arange(COLOURS), generator.normal(0, COLOUR, COLOURS))
    return np.asarray(np.fft.irfft(spectrum * 10 ** (gains / 20), len(sound)))


def masked(x: NDArray[np.float32], generator: Generator) -> NDArray[np.float32]:
    """Features of which one run of bands is at its mean, so that no few bands are relied upon
    (SpecAugment, Park et al. 2019, arXiv 1904.08779)."""
    width = int(generator.integers(min(MASKED, x.shape[1] - 1) + 1))
    start = int(generator.integers(x.shape[1] - width + 1))
    x = x.copy()
    x[:, start : start + width] = 0
    return x


def noise(
    samples: int, recorded: Sequence[Audio], deviation: float, plain: bool, generator: Generator
) -> NDArray[np.float64]:
    """Noise of a standard deviation: plain, white; or of a random colour, or a piece of what was
    recorded."""
    if plain:
        return generator.normal(0, deviation, samples)
    if len(recorded) and generator.random() < 0.5:
        whole = recorded[int(generator.integers(len(recorded)))].astype(np.float64)
        start = int(generator.integers(len(whole)))
        sound = np.asarray(np.resize(np.roll(whole, -start), samples))
    else:
        taps = generator.normal(size=12) * generator.uniform(0.2, 1.0) ** np.arange(12)
        sound = np.convolve(generator.normal(size=samples + 11), taps, "valid")
    return np.asarray(sound * (deviation / max(float(sound.std()), 1e-9)))


def _decoy(word: NDArray[np.float64], generator: Generator) -> NDArray[np.float64]:
    if generator.random() < 0.6:
        return np.asarray(word[::-1])
    end = max(1, round(len(word) * generator.uniform(0.15, 0.35)))
    piece: NDArray[np.float64] = word[:end].copy()
    fade = min(len(piece), 80)
    piece[len(piece) - fade :] *= np.linspace(1, 0, fade)
    return piece


def features(stream: Stream, front: LogMelSettings) -> NDArray[np.float32]:
    """What the network reads, (T, bands) float32: the front end's integers, times their worth."""
    integers = IntegerLogMel(front).features(stream.audio)
    return np.asarray(integers * np.float32(FEATURE), np.float32)


def labels(stream: Stream, front: LogMelSettings) -> NDArray[np.int64]:
    """The class of each frame, (T,): 0 is the background, and word w is w + 1; IGNORED where
    either would do: while a word is being said, and a while after it."""
    now = frame_ends(stream, front)
    y = np.zeros(len(now), np.int64)
    rate = front.sample_rate
    for start, end, word in zip(stream.starts, stream.ends, stream.words, strict=True):
        heard = start + HEARD * (end - start)
        y[(now > start) & (now <= end + (KNOWN + UNSURE) * rate)] = IGNORED
        y[(now > heard) & (now <= end + KNOWN * rate)] = word + 1
    return y


def spans(stream: Stream, front: LogMelSettings) -> NDArray[np.int64]:
    """Which word each frame is within, (T,), counted from 1; 0 is none."""
    now = frame_ends(stream, front)
    inside = np.zeros(len(now), np.int64)
    for i, (start, end) in enumerate(zip(stream.starts, stream.ends, strict=True), 1):
        inside[(now > start) & (now <= end)] = i
    return inside


def frame_ends(stream: Stream, front: LogMelSettings) -> NDArray[np.int64]:
    """The samples that each frame has heard."""
    count = front.frames(len(stream.audio))
    return np.arange(count, dtype=np.int64) * front.hop + front.frame
