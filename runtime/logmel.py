"""Log-mel features of audio: in float, and in integers with the bits of the exported C.

The integer arithmetic, per frame; `>>` is the arithmetic shift, mul(a, b) = (a * b) >> 16.
1. The frame is shifted left until its peak fills int16, and multiplied with the window (Q15).
2. FFT: fft / 2 complex numbers (even samples, odd samples), radix 2, each stage halves, a/2 +-
   mul(w, b), with w in Q15. Then the bins of the real signal, halved once more.
3. Each band shifts its bins until the largest fills int16, and adds up mul(re^2 + im^2, weight),
   weights in Q16.
4. log2 by a table of 128 straight pieces, 16 bits behind the point; not below the floor.
5. feature = saturate((mul(log2 << 7, multiplier) + offset) >> shift), per band.
No sum leaves int32, but for the bands' sums, of 40 bits.

Against float, in logarithms: 0.003 at most in bands up to 40 dB below the loudest of their frame,
the half unit of 2^-11 for most; 0.05 up to 70 dB below. The noise of the FFT is 105 dB below.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from edgernn.runtime.errors import InputError
from edgernn.runtime.fixedpoint import Int64Array, saturate
from edgernn.runtime.logmel_settings import LogMelSettings
from edgernn.runtime.logmel_tables import LOG2_BITS, ROOM, LogMelTables, logmel_tables
from edgernn.runtime.program import Scale

FEATURE_SCALE: Final = Scale(1, -11)
"""Features within +-16: standard deviations, or logarithms."""
_AT_ONCE: Final = 256
"""Frames; so that they stay in the cache."""


class FloatLogMel:
    """The front end in float64: the natural logarithm of each band's power, standardised."""

    def __init__(self, settings: LogMelSettings) -> None:
        self.settings = settings
        self._window = settings.window.astype(np.float64)
        self._bank = settings.filterbank.astype(np.float64).T

    def features(self, audio: NDArray[np.int16]) -> NDArray[np.float64]:
        """Audio (samples,) int16 -> (frames, bands) float64."""
        s = self.settings
        frames = _frames(checked_audio(audio), s) / 32768.0 * self._window
        power = np.abs(np.fft.rfft(frames, s.fft)) ** 2 @ self._bank
        logarithm = np.log(np.maximum(power, s.floor))
        if s.mean:
            logarithm = (logarithm - np.array(s.mean)) / np.array(s.std)
        return np.asarray(logarithm)


class IntegerLogMel:
    """The front end in integers: int16 samples in, int16 features out, of scale `scale`.

    scale: of the program's input, so that its step takes the features as they are.
    """

    def __init__(self, settings: LogMelSettings, scale: Scale = FEATURE_SCALE) -> None:
        self.settings = settings
        self.scale = scale
        self.tables = logmel_tables(settings, scale)
        self._buffer = np.zeros(0, np.int16)

    def reset(self) -> None:
        """Forget the samples that no frame has finished with."""
        self._buffer = np.zeros(0, np.int16)

    def push(self, samples: NDArray[np.int16]) -> NDArray[np.int16]:
        """The next samples (n,) int16, any number -> the frames (k, bands) int16 they complete."""
        audio = np.concatenate([self._buffer, checked_audio(samples)])
        features = self.features(audio)
        self._buffer = audio[len(features) * self.settings.hop :]
        return features

    def features(self, audio: NDArray[np.int16]) -> NDArray[np.int16]:
        """A whole recording (samples,) int16 -> (frames, bands) int16; the stream is untouched."""
        frames = _frames(checked_audio(audio), self.settings)
        parts = [
            logmel_frames(frames[i : i + _AT_ONCE], self.settings, self.tables)
            for i in range(0, len(frames), _AT_ONCE)
        ]
        return np.concatenate([np.zeros((0, self.settings.bands), np.int16), *parts])


def checked_audio(audio: Any) -> NDArray[np.int16]:
    """Audio as the front end takes it; InputError for anything but int16 (samples,)."""
    if not (isinstance(audio, np.ndarray) and audio.dtype == np.int16 and audio.ndim == 1):
        shape = f"{audio.dtype}{audio.shape}" if isinstance(audio, np.ndarray) else type(audio)
        raise InputError(f"audio is int16 of one channel, (samples,), not {shape}")
    return audio


def logmel_frames(
    frames: NDArray[np.int16], settings: LogMelSettings, tables: LogMelTables
) -> NDArray[np.int16]:
    """Frames (k, frame) int16 -> features (k, bands) int16, by the rules above."""
    x = frames.astype(np.int64)
    # -32768 has no place left to go; 0 becomes the floor.
    headroom = 15 - _bits(np.minimum(np.abs(x).max(axis=1, initial=0), 32767))
    position = np.arange(settings.frame)
    window = tables.window[np.minimum(position, settings.frame - position)]
    z = np.zeros((len(x), settings.fft), np.int64)
    z[:, : settings.frame] = (x << headroom[:, None]) * window
    re, im = _spectrum(*_half_fft(z[:, ::2], z[:, 1::2], tables.cosines), tables.cosines)
    places = 2 * (settings.fft.bit_length() - 1) - 60 - 2 * headroom
    # The bins of all bands, one band after the other.
    ends = tables.count.cumsum()
    starts = ends - tables.count
    bins = np.arange(ends[-1]) + np.repeat(tables.first - starts, tables.count)
    re, im = re[:, bins], im[:, bins]
    # -1 - v in place of -v: one instruction, and never too large.
    most = np.bitwise_or.reduceat((re ^ (re >> 63)) | (im ^ (im >> 63)), starts, axis=1)
    shift = _bits(most) - 15
    right = np.repeat(np.maximum(shift, 0), tables.count, axis=1)
    left = np.repeat(np.maximum(-shift, 0), tables.count, axis=1)
    r, i = (re >> right) << left, (im >> right) << left
    total = np.add.reduceat(_mul(r * r + i * i, tables.weights), starts, axis=1)
    log2 = _log2(total, tables) + ((places[:, None] + 2 * shift) << LOG2_BITS)
    log2 = np.maximum(np.where(total > 0, log2, tables.floor), tables.floor)
    scaled = _mul(log2 << ROOM, tables.multiplier) + tables.offset
    return saturate(scaled >> tables.shift).astype(np.int16)


def _frames(audio: NDArray[np.int16], settings: LogMelSettings) -> NDArray[np.int16]:
    if len(audio) < settings.frame:
        return np.zeros((0, settings.frame), np.int16)
    view: NDArray[np.int16] = sliding_window_view(audio, settings.frame)[:: settings.hop]
    return view


def _half_fft(re: Int64Array, im: Int64Array, cosines: Int64Array) -> tuple[Int64Array, Int64Array]:
    """The FFT of (k, n) complex numbers over n, halved at each stage; cosines are those of 2n."""
    n = re.shape[1]
    order = np.zeros(n, np.int64)
    for bit in range(n.bit_length() - 1):
        order |= ((np.arange(n) >> bit) & 1) << (n.bit_length() - 2 - bit)
    re, im = re[:, order], im[:, order]
    size = 1
    while size < n:
        c, s = _twiddles(np.arange(size) * (n // size), cosines)
        ar, br = np.moveaxis(re.reshape(-1, n // (2 * size), 2, size), 2, 0)
        ai, bi = np.moveaxis(im.reshape(-1, n // (2 * size), 2, size), 2, 0)
        tr, ti = _mul(br, c) + _mul(bi, s), _mul(bi, c) - _mul(br, s)
        ar, ai = ar >> 1, ai >> 1
        re = np.stack([ar + tr, ar - tr], axis=2).reshape(-1, n)
        im = np.stack([ai + ti, ai - ti], axis=2).reshape(-1, n)
        size *= 2
    return re, im


def _spectrum(re: Int64Array, im: Int64Array, cosines: Int64Array) -> tuple[Int64Array, Int64Array]:
    """The bins 0 .. n of 2n real numbers, halved, from the FFT of their n pairs."""
    n = re.shape[1]
    k = np.arange(1, n // 2 + 1)
    c, s = _twiddles(k, cosines)
    re, im = re >> 1, im >> 1
    even_r, even_i = (re[:, k] + re[:, n - k]) >> 1, (im[:, k] - im[:, n - k]) >> 1
    odd_r, odd_i = im[:, k] + im[:, n - k], re[:, n - k] - re[:, k]
    tr, ti = _mul(odd_r, c) + _mul(odd_i, s), _mul(odd_i, c) - _mul(odd_r, s)
    out_r, out_i = np.zeros((2, len(re), n + 1), np.int64)
    out_r[:, n - k], out_i[:, n - k] = even_r - tr, ti - even_i
    out_r[:, k], out_i[:, k] = even_r + tr, even_i + ti
    out_r[:, 0], out_r[:, n] = re[:, 0] + im[:, 0], re[:, 0] - im[:, 0]
    return out_r, out_i


def _twiddles(index: Int64Array, cosines: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Cosine and sine (Q15) of 2 pi index / fft, for index 0 .. fft / 2."""
    quarter = len(cosines) - 1
    c = np.where(index <= quarter, 1, -1) * cosines[np.minimum(index, 2 * quarter - index)]
    return c, cosines[np.abs(quarter - index)]


def _log2(value: Int64Array, tables: LogMelTables) -> Int64Array:
    """log2 of positive integers below 2^62; anything for others."""
    exponent = _bits(value) - 1
    mantissa = np.where(
        exponent > 31,
        value >> np.maximum(exponent - 31, 0),
        value << np.clip(31 - exponent, 0, 31),
    )
    index = (mantissa >> 24) & 127
    low, high = tables.logarithms[index], tables.logarithms[index + 1]
    rest = _mul(high - low, (mantissa >> 8) & 0xFFFF)
    return np.asarray((exponent << LOG2_BITS) + low + rest)


def _bits(value: Int64Array) -> Int64Array:
    """The number of bits of integers from 0 to 2^53 - 1."""
    bits: Int64Array = np.frexp(value.astype(np.float64))[1].astype(np.int64)
    return bits


def _mul(a: Int64Array, b: Int64Array) -> Int64Array:
    product: Int64Array = a * b
    product >>= 16
    return product
