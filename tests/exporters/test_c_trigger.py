"""The trigger in C: the events of NumPy."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest

from edgernn.exporters.c.export import ENGINE
from edgernn.exporters.c.trigger import to_c_trigger
from edgernn.runtime.errors import InputError
from edgernn.runtime.program import Scale
from edgernn.runtime.trigger import Trigger, TriggerSettings
from tests.exporters.c_host import CXX, GCC, Build, library
from tests.runtime.test_trigger import noisy

UNIT = Scale(1, -10)
SETTINGS = {
    "one": TriggerSettings(("quiet", "go"), 1, 0.5, 0),
    "some": TriggerSettings(("background", "yes", "no", "mañana", "classes"), 7, 1.25, 12),
    "many": TriggerSettings(tuple(map(str, range(36))), 15, 0.0, 3, 2.0),
}


def load(s: TriggerSettings, folder: Path, build: Build = GCC) -> ctypes.CDLL:
    folder.mkdir(exist_ok=True)
    for file, content in to_c_trigger(s, "kws", UNIT).items():
        assert max(map(len, content.decode("ascii").splitlines())) <= 100
        (folder / file).write_bytes(content)
    (folder / "edgernn.h").write_bytes((ENGINE / "edgernn.h").read_bytes())
    return library([folder / "kws_trigger.c"], folder / "trigger.so", build)


@pytest.mark.parametrize("build", [GCC, CXX], ids=str)
@pytest.mark.parametrize("name", SETTINGS)
def test_events_are_those_of_numpy(name: str, build: Build, tmp_path: Path) -> None:
    s = SETTINGS[name]
    loaded = load(s, tmp_path, build)
    state = ctypes.create_string_buffer(8192)
    total = 0
    for seed in range(12):
        logits = noisy(seed, 800, len(s.classes))
        loaded.kws_trigger_reset(state)
        got = []
        for frame, row in enumerate(logits):
            word = loaded.kws_trigger_push(state, ctypes.c_void_p(row.ctypes.data))
            assert word >= 0
            if word:
                got.append((word, frame))
        assert got == [(e.word, e.frame) for e in Trigger(s, UNIT).push(logits)]
        total += len(got)
    assert total > 50


def test_what_is_no_state_is_refused(tmp_path: Path) -> None:
    loaded = load(SETTINGS["some"], tmp_path)
    state, logits = ctypes.create_string_buffer(8192), np.zeros(5, np.int16)
    pointer = ctypes.c_void_p(logits.ctypes.data)
    assert loaded.kws_trigger_push(state, pointer) == -2
    loaded.kws_trigger_reset(state)
    assert loaded.kws_trigger_push(state, pointer) == 0
    assert loaded.kws_trigger_push(None, pointer) == loaded.kws_trigger_push(state, None) == -1


def test_macros_are_named_after_the_words() -> None:
    header = to_c_trigger(SETTINGS["some"], "kws", UNIT)["kws_trigger.h"].decode()
    for line in ("BACKGROUND 0", "YES 1", "MA_ANA 3", "CLASSES_ 4"):
        assert f"#define KWS_TRIGGER_{line}\n" in header


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match="cannot name"):
        to_c_trigger(SETTINGS["some"], "Kws", UNIT)
