"""Log-mel features in float and in integers."""

from __future__ import annotations

import math
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray

from edgernn.runtime.errors import InputError
from edgernn.runtime.logmel import FloatLogMel, IntegerLogMel
from edgernn.runtime.logmel_settings import LogMelSettings
from edgernn.runtime.program import Scale

SMALL = LogMelSettings(8000, 256, 128, 24, 80, 3900)
SPEECH = LogMelSettings(16000, 400, 160, 40, 60, 7600)
FINE = 2.0**-11


def noise(amplitude: float, samples: int, seed: int = 0) -> NDArray[np.int16]:
    values = np.random.default_rng(seed).normal(0, amplitude, samples)
    return np.clip(np.rint(values), -32768, 32767).astype(np.int16)


def tone(hertz: float, amplitude: float, samples: int, rate: int) -> NDArray[np.int16]:
    values = amplitude * np.sin(2 * np.pi * hertz * np.arange(samples) / rate)
    return np.clip(np.rint(values), -32768, 32767).astype(np.int16)


def by_the_book(audio: NDArray[np.int16], s: LogMelSettings) -> NDArray[np.float64]:
    """The definition once more: torch's transform, and triangles one by one."""
    import torch

    x = torch.from_numpy(audio.astype(np.float64) / 32768)
    window = torch.hann_window(s.frame, periodic=True, dtype=torch.float64)
    starts = range(0, len(audio) - s.frame + 1, s.hop)
    frames = torch.stack([x[k : k + s.frame] * window for k in starts])
    power = torch.fft.fft(frames, n=s.fft).abs().square().numpy()

    def mel(f: float) -> float:
        return 1127.010480 * math.log(1 + f / 700)

    result = np.empty((len(power), s.bands))
    step = (mel(s.high) - mel(s.low)) / (s.bands + 1)
    for band in range(s.bands):
        low, centre, high = (
            700 * (math.exp((mel(s.low) + (band + i) * step) / 1127.010480) - 1) for i in range(3)
        )
        total = np.zeros(len(power))
        for k in range(s.fft // 2 + 1):
            f = k * s.sample_rate / s.fft
            if low < f <= centre:
                total += power[:, k] * (f - low) / (centre - low)
            elif centre < f < high:
                total += power[:, k] * (high - f) / (high - centre)
        result[:, band] = np.log(np.maximum(total, s.floor))
    return result


@pytest.mark.parametrize("s", [SMALL, SPEECH, LogMelSettings(8000, 100, 30, 5, 0, 4000, 512)])
def test_float_features_are_those_of_the_definition(s: LogMelSettings) -> None:
    audio = np.concatenate([noise(900, 3000), noise(0.4, 2000), tone(700, 30000, 3000, 8000)])
    features = FloatLogMel(s).features(audio)
    assert features.shape == (s.frames(len(audio)), s.bands)
    np.testing.assert_allclose(features, by_the_book(audio, s), atol=2e-4)
    assert (FloatLogMel(s).features(np.zeros(2000, np.int16)) == math.log(s.floor)).all()


@pytest.mark.parametrize("s", [SMALL, SPEECH], ids=["8 kHz", "16 kHz"])
@pytest.mark.parametrize("amplitude", [0.5, 1, 3, 30, 1000, 30000, 100000])
def test_integers_follow_float_from_the_quietest_to_the_loudest(
    s: LogMelSettings, amplitude: float
) -> None:
    audio = noise(amplitude, 20000)
    error = IntegerLogMel(s).features(audio) * FINE - FloatLogMel(s).features(audio)
    assert np.abs(error).max() < 0.0006
    assert math.sqrt((error**2).mean()) < 0.00032


@pytest.mark.parametrize("s", [SMALL, SPEECH], ids=["8 kHz", "16 kHz"])
def test_the_noise_of_the_integers_is_far_below_the_loudest_bin(s: LogMelSettings) -> None:
    for hertz in np.geomspace(100, s.high, 20):
        audio = tone(float(hertz), 32767, 4000, s.sample_rate) + noise(0.7, 4000)
        wanted = FloatLogMel(s).features(audio)
        error = np.abs(IntegerLogMel(s).features(audio) * FINE - wanted)
        below = (wanted.max(axis=1, keepdims=True) - wanted) * 10 / math.log(10)
        assert error[below < 40].max() < 0.003
        assert error[below < 70].max() < 0.05
        # Noise 105 dB down adds to what is there, and does not take away from it.
        assert error.max() < 1.5


def test_full_scale_of_either_sign_does_not_overflow() -> None:
    for audio in (
        np.full(4000, -32768, np.int16),
        np.where(np.arange(4000) % 2, 32767, -32768).astype(np.int16),
        np.where(np.arange(4000) // 16 % 2, 32767, -32768).astype(np.int16),
        (np.random.default_rng(0).integers(0, 2, 4000) * 65535 - 32768).astype(np.int16),
    ):
        s = LogMelSettings(8000, 256, 128, 4, 0, 4000)
        wanted = FloatLogMel(s).features(audio)
        got = IntegerLogMel(s).features(audio) * FINE
        loud = wanted > wanted.max(axis=1, keepdims=True) - 10
        assert np.abs(got - wanted)[loud].max() < 0.002


def test_silence_is_the_floor_and_features_saturate() -> None:
    silence = np.zeros(1000, np.int16)
    assert (IntegerLogMel(SMALL).features(silence) == round(math.log(1e-6) * 2048)).all()
    assert (IntegerLogMel(SMALL, Scale(1, -12)).features(silence) == -32768).all()


@given(st.data())
@settings(deadline=None, max_examples=60)
def test_how_a_stream_is_cut_changes_nothing(data: st.DataObject) -> None:
    frame = data.draw(st.integers(2, 40))
    hop = data.draw(st.integers(1, frame))
    front = IntegerLogMel(LogMelSettings(8000, frame, hop, 2, 0, 4000, 64))
    audio = noise(data.draw(st.sampled_from([1, 300, 20000])), data.draw(st.integers(0, 300)))
    whole = front.features(audio)
    parts, at = [np.zeros((0, 2), np.int16)], 0
    while at < len(audio):
        count = data.draw(st.integers(0, 90))
        parts.append(front.push(audio[at : at + count]))
        at += count
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert len(whole) == front.settings.frames(len(audio))
    front.reset()
    np.testing.assert_array_equal(front.push(audio), whole)


def test_standardized_features_have_the_integers_of_the_network() -> None:
    audio = np.concatenate([noise(a, 4000, seed=a) for a in (2, 50, 2000)])
    plain = FloatLogMel(SMALL).features(audio)
    s = SMALL.standardized(plain.mean(axis=0), plain.std(axis=0))
    wanted = FloatLogMel(s).features(audio)
    np.testing.assert_allclose(wanted.std(axis=0), 1)
    for scale in (Scale(1, -11), Scale(1, -13), Scale(3, -13), Scale(5, -15)):
        features = IntegerLogMel(s, scale).features(audio)
        assert np.abs(features * float(scale) - wanted).max() < 0.0003 + 0.6 * float(scale)


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=30)
def test_json_brings_back_the_same_settings(seed: int) -> None:
    import json

    rng = np.random.default_rng(seed)
    s = LogMelSettings(16000, int(rng.integers(200, 600)), 160, 12, rng.random() * 50, 7000.5)
    if rng.random() < 0.5:
        s = s.standardized(rng.normal(size=12), rng.random(12) + 0.1)
    assert LogMelSettings.from_json(json.loads(json.dumps(s.as_json()))) == s


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"hop": 300}, "hop is 1 sample to the frame's 256"),
        ({"frame": 300, "fft": 256}, "frame is 2 samples to the 256"),
        ({"fft": 300}, "power of two"),
        ({"high": 4100}, "half the sample rate"),
        ({"low": 3900}, "from a lower to a higher"),
        ({"bands": 0}, "bands is 1 to 256"),
        ({"bands": 120}, "would hear nothing"),
        ({"floor": 0}, "floor is a power"),
        ({"frame": 25.5}, "frame of the front end is a whole number, not 25.5"),
        ({"low": math.nan}, "low of the front end is a finite number"),
        ({"low": "80"}, "low of the front end is a finite number, not '80'"),
        ({"mean": [0.0]}, "a number for each of 24 bands"),
        ({"mean": [0.0] * 24, "std": [0.0] * 24}, "was silent in all data"),
        ({"mean": 3}, "a list of a number for each band"),
        ({"kind": "mfcc"}, '"kind": "log-mel"'),
        ({"colour": 1}, "has unknown colour"),
    ],
)
def test_settings_that_are_none_are_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        LogMelSettings.from_json(SMALL.as_json() | change)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_lacks_is_named() -> None:
    given = SMALL.as_json()
    del given["hop"]
    with pytest.raises(InputError, match="lacks hop"):
        LogMelSettings.from_json(given)


@pytest.mark.parametrize("audio", [[1, 2], np.zeros(9), np.zeros((9, 2), np.int16)])
def test_audio_of_other_kinds_is_refused(audio: Any) -> None:
    for front in (FloatLogMel(SMALL), IntegerLogMel(SMALL)):
        with pytest.raises(InputError, match="int16 of one channel"):
            front.features(audio)


def test_a_scale_that_does_not_suit_is_refused() -> None:
    with pytest.raises(InputError, match="do not suit band 0"):
        IntegerLogMel(SMALL.standardized([900.0] * 24, [0.01] * 24), Scale(1, -14))
