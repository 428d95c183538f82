"""What a log-mel front end is: its settings, its window and its bands.

Mel scale: 2595 log10(1 + f / 700) (HTK; Young et al., The HTK Book). Bands are triangles of height
1 whose corners are evenly spaced in mel; each is centred where its neighbours end.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgernn.runtime.errors import InputError

KIND: Final = "log-mel"
FFT_SIZES: Final = (16, 4096)
BANDS: Final = 256
LOWEST_FLOOR: Final = 2.0**-60
_WHOLE: Final = ("sample_rate", "frame", "hop", "bands", "fft")


@dataclass(frozen=True)
class LogMelSettings:
    """A log-mel front end for int16 audio of one channel.

    sample_rate: Hz. frame, hop: samples; frame k is the samples [hop*k, hop*k + frame), nothing is
    padded. bands between low and high, in Hz. fft: a power of two, at least the frame, which is
    followed by zeros; 0 is the smallest. floor: of the power of a band, full scale being 1, below
    which it is not heard. mean, std: of each band's natural logarithm, what standardises the
    features; empty for features that are the logarithm itself.

    Raises InputError for settings that are none.
    """

    sample_rate: int
    frame: int
    hop: int
    bands: int
    low: float
    high: float
    fft: int = 0
    floor: float = 1e-6
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for name in _WHOLE:
            object.__setattr__(self, name, _whole(name, getattr(self, name)))
        for name in ("low", "high", "floor"):
            object.__setattr__(self, name, _number(name, getattr(self, name)))
        for name in ("mean", "std"):
            numbers = tuple(_number(name, value) for value in getattr(self, name))
            object.__setattr__(self, name, numbers)
        if self.fft == 0:
            size = max(FFT_SIZES[0], 1 << max(0, self.frame - 1).bit_length())
            object.__setattr__(self, "fft", size)
        _check(self)

    @property
    def window(self) -> NDArray[np.float32]:
        """The periodic Hann window, (frame,) float32."""
        turns = np.arange(self.frame) / self.frame
        return (0.5 - 0.5 * np.cos(2 * np.pi * turns)).astype(np.float32)

    @property
    def filterbank(self) -> NDArray[np.float32]:
        """Each band's weight on the power of each bin, (bands, fft / 2 + 1) float32."""
        corners = _hertz(np.linspace(_mel(self.low), _mel(self.high), self.bands + 2))
        bins = np.arange(self.fft // 2 + 1) * self.sample_rate / self.fft
        low, centre, high = corners[:-2, None], corners[1:-1, None], corners[2:, None]
        rising, falling = (bins - low) / (centre - low), (high - bins) / (high - centre)
        return np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)

    @property
    def rate(self) -> float:
        """Frames a second."""
        return self.sample_rate / self.hop

    def frames(self, samples: int) -> int:
        """How many frames are complete within so many samples."""
        return max(0, 1 + (samples - self.frame) // self.hop)

    def standardized(self, mean: ArrayLike, std: ArrayLike) -> LogMelSettings:
        """The same front end with features less their mean, over their standard deviation."""
        first, second = (np.asarray(v, np.float64).ravel().tolist() for v in (mean, std))
        return replace(self, mean=tuple(first), std=tuple(second))

    def as_json(self) -> dict[str, Any]:
        """For a JSON file; `from_json` reads it."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {"kind": KIND} | {
            k: list(v) if isinstance(v, tuple) else v for k, v in values.items()
        }

    @classmethod
    def from_json(cls, value: object) -> LogMelSettings:
        """What `as_json` gave. InputError for anything else, in one sentence."""
        if not isinstance(value, Mapping) or value.get("kind") != KIND:
            raise InputError(f'a front end is an object with "kind": "{KIND}", this is none')
        known = {f.name for f in fields(cls)}
        unknown = sorted(str(key) for key in set(value) - known - {"kind"})
        absent = sorted(known - {"fft", "floor", "mean", "std"} - set(value))
        if unknown or absent:
            what = f"lacks {', '.join(absent)}" if absent else f"has unknown {', '.join(unknown)}"
            raise InputError(f"the front end {what}; write it with as_json of LogMelSettings")
        for name in ("mean", "std"):
            if not isinstance(value.get(name, []), (list, tuple)):
                raise InputError(f"{name} of the front end is a list of a number for each band")
        return cls(**{str(key): item for key, item in value.items() if key != "kind"})


def _check(s: LogMelSettings) -> None:
    low, high = FFT_SIZES
    if not 1 <= s.sample_rate <= 1_000_000:
        raise InputError(f"sample_rate is 1 to 1,000,000 Hz, not {s.sample_rate}")
    if s.fft not in {1 << n for n in range(low.bit_length() - 1, high.bit_length())}:
        raise InputError(f"fft is a power of two from {low} to {high}, not {s.fft}")
    if not 2 <= s.frame <= s.fft:
        raise InputError(f"frame is 2 samples to the {s.fft} of the fft, not {s.frame}")
    if not 1 <= s.hop <= s.frame:
        raise InputError(
            f"hop is 1 sample to the frame's {s.frame}, or some would not be heard, not {s.hop}"
        )
    if not 0 <= s.low < s.high <= s.sample_rate / 2:
        raise InputError(
            f"bands lie between 0 and {s.sample_rate / 2:g} Hz, half the sample rate, from a lower "
            f"to a higher frequency, not from {s.low:g} to {s.high:g}"
        )
    if not 1 <= s.bands <= BANDS:
        raise InputError(f"bands is 1 to {BANDS}, not {s.bands}")
    if not LOWEST_FLOOR <= s.floor <= 1:
        raise InputError(f"floor is a power from 2^-60 to 1, not {s.floor:g}")
    empty = np.flatnonzero(~(s.filterbank >= 2.0**-8).any(axis=1))
    if empty.size:
        raise InputError(
            f"band {empty[0]} of {s.bands} is narrower than a bin of {s.sample_rate / s.fft:g} Hz "
            "and would hear nothing; take fewer bands, a higher low, or a larger fft"
        )
    _check_statistics(s)


def _check_statistics(s: LogMelSettings) -> None:
    if len(s.mean) != len(s.std) or len(s.mean) not in (0, s.bands):
        raise InputError(
            f"mean and std are a number for each of {s.bands} bands, or empty, not "
            f"{len(s.mean)} and {len(s.std)}"
        )
    if min(s.std, default=1.0) < 1e-3 or max(map(abs, (*s.mean, *s.std)), default=0.0) > 1e3:
        raise InputError(
            "mean and std are those of logarithms: mean within 1000, std 0.001 to 1000; "
            "a band with no deviation was silent in all data"
        )


def _whole(name: str, value: object) -> int:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise InputError(f"{name} of the front end is a whole number, not {value!r}")
    return int(value)


def _number(name: str, value: object) -> float:
    real = isinstance(value, (int, float, np.integer, np.floating))
    if isinstance(value, (bool, np.bool_)) or not real or not math.isfinite(value):  # type: ignore[arg-type]
        raise InputError(f"{name} of the front end is a finite number, not {value!r}")
    return float(value)  # type: ignore[arg-type]


def _mel(hertz: float) -> float:
    return 2595.0 * math.log10(1.0 + hertz / 700.0)


def _hertz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(700.0 * (10.0 ** (mel / 2595.0) - 1.0))
