"""A .wav file as a stream: each step takes its samples as they come, +-1 at full scale."""

from __future__ import annotations

import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn.bench.live.sources import Item, Source
from edgernn.runtime.errors import FileFormatError, InputError

_CHUNK: Final = 4096
"""Steps that are read at a time."""


def open_wav(path: Path, features: int) -> Source:
    """Steps of `features` numbers: that many samples of a mono file, or frames of all channels.

    FileFormatError if it is no PCM .wav; InputError if its channels do not fit the program.
    """
    try:
        with wave.open(str(path), "rb") as file:
            channels, width, rate, frames, *_ = file.getparams()
    except (OSError, EOFError, wave.Error) as error:
        raise FileFormatError(
            f"{path} is no PCM .wav file ({str(error) or 'it is too short'}); convert it, for "
            "instance with `sox in.wav -b 16 -e signed-integer out.wav`"
        ) from None
    if features % channels:
        raise InputError(
            f"{path} has {channels} channels, and a step of this program takes {features} numbers, "
            "which is no multiple; convert the file to mono, or name a .csv of features"
        )
    each = features // channels
    if rate < 1:
        raise FileFormatError(f"{path} has no sample rate; write it again")
    # What is left at the end is no whole step.
    count = frames // each
    return Source(str(path), _steps(path, width, each, count, rate), each / rate, count, paced=True)


def _steps(path: Path, width: int, each: int, count: int, rate: int) -> Iterator[Item]:
    with wave.open(str(path), "rb") as file:
        for begin in range(0, count, _CHUNK):
            steps = min(_CHUNK, count - begin)
            data = file.readframes(steps * each)
            values = samples(data, width)
            if values.size % steps:
                raise FileFormatError(f"{path} ends before its header says; write it again")
            for i, step in enumerate(values.reshape(steps, -1), begin):
                yield Item(step, i * each / rate)


def samples(data: bytes, width: int) -> NDArray[np.float32]:
    """PCM of 1 (unsigned), 2, 3 or 4 bytes a sample, little-endian, as numbers within +-1."""
    raw = np.frombuffer(data, np.uint8)
    if width == 1:
        return ((raw.astype(np.float32) - 128.0) / 128.0).astype(np.float32)
    # Into the upper bytes of 32 bits, which keeps the sign.
    wide = np.zeros((len(raw) // width, 4), np.uint8)
    wide[:, 4 - width :] = raw[: len(wide) * width].reshape(-1, width)
    return (wide.reshape(-1).view("<i4") / 2.0**31).astype(np.float32)
