"""The log-mel front end in C: the bits of NumPy."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgernn.exporters.c.export import ENGINE
from edgernn.exporters.c.logmel import logmel_bytes, to_c_logmel
from edgernn.runtime.errors import InputError
from edgernn.runtime.logmel import FEATURE_SCALE, FloatLogMel, IntegerLogMel
from edgernn.runtime.logmel_settings import LogMelSettings
from edgernn.runtime.program import Scale
from tests.exporters.c_host import CLANG, CXX, GCC, Build, execute, library, require


def sounds(seed: int, samples: int = 12000) -> NDArray[np.int16]:
    """Audio of every loudness, a chirp, both rails, and silence."""
    rng = np.random.default_rng(seed)
    t = np.arange(samples) / samples
    parts = [rng.normal(0, a, samples) for a in (0.4, 20, 3000, 50000)]
    parts.append(rng.uniform(5, 32767) * np.sin(2 * np.pi * samples * 0.25 * t**2))
    parts.append(rng.integers(0, 2, samples) * 65535.0 - 32768)
    parts += [np.zeros(samples), np.full(samples, -32768.0)]
    return np.clip(np.rint(np.concatenate(parts)), -32768, 32767).astype(np.int16)


SMALL = LogMelSettings(8000, 256, 128, 24, 80, 3900)
SETTINGS = {
    "small": SMALL,
    "speech": LogMelSettings(16000, 400, 160, 40, 60, 7600),
    "wide": LogMelSettings(48000, 2047, 999, 64, 100, 24000, 4096),
    "tiny": LogMelSettings(8000, 15, 7, 2, 0, 4000, 16, 1e-9),
    "standardized": SMALL.standardized(np.linspace(-9, -3, 24), np.linspace(4, 1, 24)),
    # Of a scale that shows each last bit of the logarithms, and saturates both ways.
    "fine": SMALL.standardized(
        FloatLogMel(SMALL).features(sounds(1)[24000:36000]).mean(axis=0), np.ones(24)
    ),
}
SCALES = {"standardized": Scale(3, -13), "fine": Scale(1, -14)}
TAG, ARGUMENT = -2, -1


def write(settings: LogMelSettings, folder: Path, scale: Scale = FEATURE_SCALE) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in to_c_logmel(settings, "kws", scale).items():
        (folder / file).write_bytes(content)
    (folder / "edgernn.h").write_bytes((ENGINE / "edgernn.h").read_bytes())
    return sorted(folder.glob("*.c"))


class Front:
    """The front end in a loaded library."""

    def __init__(self, settings: LogMelSettings, loaded: ctypes.CDLL) -> None:
        self.bands = settings.bands
        self.state = ctypes.create_string_buffer(logmel_bytes(settings)["state"])
        self.push_once = loaded.kws_logmel_push
        loaded.kws_logmel_reset(self.state)

    def push(self, samples: NDArray[np.int16]) -> list[NDArray[np.int16]]:
        held = np.ascontiguousarray(samples)
        at, count = ctypes.c_void_p(held.ctypes.data), ctypes.c_size_t(len(held))
        found: list[NDArray[np.int16]] = []
        while True:
            features = np.full(self.bands, 12345, np.int16)
            pointer = ctypes.c_void_p(features.ctypes.data)
            ready = self.push_once(self.state, ctypes.byref(at), ctypes.byref(count), pointer)
            assert ready in (0, 1)
            if ready == 0:
                assert (features == 12345).all()
                assert count.value == 0
                return found
            found.append(features)


@pytest.mark.parametrize("build", [GCC, Build(GCC.compiler, ()), CLANG, CXX], ids=str)
@pytest.mark.parametrize("name", SETTINGS)
def test_features_are_those_of_numpy(name: str, build: Build, tmp_path: Path) -> None:
    require(build.compiler[0])
    s = SETTINGS[name]
    scale = SCALES.get(name, FEATURE_SCALE)
    front = Front(s, library(write(s, tmp_path, scale), tmp_path / "front.so", build))
    audio = sounds(1, 4000 if name == "tiny" else 12000)
    wanted = IntegerLogMel(s, scale).features(audio)
    rng = np.random.default_rng(2)
    got, at = [], 0
    while at < len(audio):
        count = int(rng.integers(0, 3 * s.hop))
        got += front.push(audio[at : at + count])
        at += count
    np.testing.assert_array_equal(np.array(got), wanted)
    assert len(np.unique(wanted)) > 500


def test_blocks_of_a_hop_give_a_frame_each(tmp_path: Path) -> None:
    s = SETTINGS["speech"]
    front = Front(s, library(write(s, tmp_path), tmp_path / "front.so"))
    blocks = sounds(3, 3200)[: 160 * 50].reshape(50, 160)
    counts = [len(front.push(block)) for block in blocks]
    assert counts == [0, 0] + [1] * 48


def test_what_is_no_state_is_refused(tmp_path: Path) -> None:
    front = Front(SMALL, library(write(SMALL, tmp_path), tmp_path / "front.so"))
    samples, features = np.zeros(300, np.int16), np.full(24, 9, np.int16)
    at, count = ctypes.c_void_p(samples.ctypes.data), ctypes.c_size_t(300)
    given = [
        front.state,
        ctypes.byref(at),
        ctypes.byref(count),
        ctypes.c_void_p(features.ctypes.data),
    ]
    for missing in range(4):
        arguments = [None if i == missing else value for i, value in enumerate(given)]
        assert front.push_once(*arguments) == ARGUMENT
    assert front.push_once(front.state, ctypes.byref(ctypes.c_void_p()), *given[2:]) == ARGUMENT
    good = front.state.raw
    other = LogMelSettings(8000, 256, 128, 24, 80, 3899)
    foreign = Front(other, library(write(other, tmp_path / "b"), tmp_path / "b.so")).state.raw
    too_full = good[:4] + (256).to_bytes(4, "little") + good[8:]
    for state in (bytes(len(good)), foreign, too_full):
        front.state.raw = state
        assert front.push_once(*given) == TAG
        assert front.state.raw == state
    assert count.value == 300
    assert (features == 9).all()


def test_sanitizers_find_nothing(tmp_path: Path) -> None:
    require("clang")
    main = tmp_path / "main.c"
    main.write_text(_MAIN)
    audio = np.concatenate([sounds(5, 2500), sounds(6, 700)])
    audio.astype("<i2").tofile(tmp_path / "audio")
    flags = ("-fsanitize=address,undefined,local-bounds", "-fno-sanitize-recover=all", "-g", "-O1")
    for name in ("speech", "tiny"):
        s = SETTINGS[name]
        sources = write(s, tmp_path / name)
        program = tmp_path / f"{name}.out"
        execute(["clang", *flags, "-I", tmp_path / name, main, *sources, "-o", program])
        said = execute([program, tmp_path / "audio", tmp_path / "features"])
        assert said == ""
        got = np.fromfile(tmp_path / "features", "<i2").reshape(-1, s.bands)
        np.testing.assert_array_equal(got, IntegerLogMel(s).features(audio))


def test_equal_settings_give_equal_bytes_and_long_lines_are_none() -> None:
    files = to_c_logmel(SETTINGS["speech"], "kws")
    assert files == to_c_logmel(LogMelSettings.from_json(SETTINGS["speech"].as_json()), "kws")
    assert sorted(files) == ["edgernn_logmel.c", "edgernn_logmel.h", "kws_logmel.c", "kws_logmel.h"]
    for text in files.values():
        assert max(map(len, text.decode("ascii").splitlines())) <= 100
        assert b"float " not in text


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match="cannot name the model"):
        to_c_logmel(SMALL, "Kws")


# Every block is memory of its own, so that a read behind its end is seen.
_MAIN = """
#include "kws_logmel.h"
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    FILE *in = fopen(argv[1], "rb");
    FILE *out = fopen(argv[argc - 1], "wb");
    kws_logmel_state_t *state = (kws_logmel_state_t *)malloc(sizeof *state);
    size_t size = 1;
    size_t count;
    kws_logmel_reset(state);
    do {
        int16_t *block = (int16_t *)malloc(2 * size);
        int16_t *features = (int16_t *)malloc(2 * KWS_LOGMEL_BANDS);
        const int16_t *at = block;
        size_t left = count = fread(block, 2, size, in);
        while (kws_logmel_push(state, &at, &left, features) > 0) {
            fwrite(features, 2, KWS_LOGMEL_BANDS, out);
        }
        free(block);
        free(features);
        size = size * 7 % 701 + 1;
    } while (count != 0);
    free(state);
    fclose(in);
    fclose(out);
    return 0;
}
"""
