"""The log-mel front end on boards: the bits of NumPy, and no floats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgernn.runtime.logmel import IntegerLogMel
from edgernn.runtime.logmel_settings import LogMelSettings
from firmware_tests import binary
from firmware_tests.boards import BOARDS
from firmware_tests.build import build
from firmware_tests.conftest import require
from firmware_tests.emulator import count_instructions, run
from firmware_tests.frontend import front_end
from tests.exporters.test_c_logmel import sounds

SETTINGS = LogMelSettings(16000, 400, 160, 40, 60, 7600)
MOST = {"microbit": 130_000, "mps2-an386": 75_000, "rv32imc": 100_000}
"""Instructions of a frame; a core with a smaller product needs more."""


@pytest.mark.parametrize("name", MOST)
def test_features_are_those_of_numpy(name: str, tmp_path: Path) -> None:
    board = BOARDS[name]
    require([board])
    image = build(board, [front_end(SETTINGS)], tmp_path / "image")
    audio = sounds(7, 2000)
    hops = audio[: len(audio) // 160 * 160].reshape(-1, 160)
    got = run(image, hops)
    assert got.status == 0
    # The first two hops complete no frame.
    np.testing.assert_array_equal(got.outputs[2:], IntegerLogMel(SETTINGS).features(hops.ravel()))
    assert not got.outputs[:2].any()
    counts = count_instructions(image, hops[:6])
    assert counts[2:].max() < MOST[name]
    assert not binary.heap_symbols(image, image.elf)
    assert not binary.float_symbols(image, image.elf)
    assert not binary.float_instructions(image, image.elf)
