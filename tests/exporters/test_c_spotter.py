"""From the microphone to the word in C, without a float: the bits of the NumPy spotter."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np

from edgernn.exporters.c import to_c
from edgernn.exporters.c.logmel import to_c_logmel
from edgernn.exporters.c.trigger import to_c_trigger
from edgernn.runtime.logmel_settings import LogMelSettings
from edgernn.runtime.spotter import Spotter
from edgernn.runtime.trigger import TriggerSettings
from tests.exporters.c_host import WARNINGS, execute
from tests.exporters.test_c_logmel import sounds
from tests.programs import random_program

FRONT = LogMelSettings(16000, 400, 160, 20, 60, 7600)
TRIGGER = TriggerSettings(("background", "yes", "no"), 3, 0.02, 5)


def test_logits_and_events_are_those_of_numpy(tmp_path: Path) -> None:
    program = random_program(["gru"], [16], 20, seed=5, head=3)
    front = FRONT.standardized(np.full(20, -5.0), np.full(20, 3.0))
    spotter = Spotter(program, front, TRIGGER)
    scale_in, scale_out = spotter.front.scale, spotter.trigger.scale
    files = to_c(program, "kws")
    files |= to_c_logmel(front, "kws", scale_in) | to_c_trigger(TRIGGER, "kws", scale_out)
    for name, content in files.items():
        if "/" not in name:
            (tmp_path / name).write_bytes(content)
    (tmp_path / "main.c").write_text(_MAIN)
    sources = [tmp_path / n for n in files if n.endswith(".c") and "/" not in n and "main" not in n]
    program_file = tmp_path / "spot"
    execute(
        ["gcc", "-std=c99", "-O1", *WARNINGS, tmp_path / "main.c", *sources, "-o", program_file]
    )
    audio = sounds(11, 9000)
    found = subprocess.run(
        [program_file], input=audio.astype("<i2").tobytes(), capture_output=True, check=True
    )
    rows = np.frombuffer(found.stdout, "<i2").reshape(-1, 4)
    logits = spotter.logits(audio)
    np.testing.assert_array_equal(rows[:, :3], logits)
    assert len(np.unique(logits)) > 100
    heard = [(TRIGGER.classes[w], k) for k, w in enumerate(rows[:, 3].tolist()) if w]
    spotter.reset()
    events, at = [], 0
    while at < len(audio):
        events += spotter.push(audio[at : at + 777])
        at += 777
    assert [(e.word, e.time) for e in events] == [
        (word, (k * 160 + 400) / 16000) for word, k in heard
    ]
    assert {word for word, _ in heard} == {"yes", "no"}


_MAIN = """
#include "kws.h"
#include "kws_logmel.h"
#include "kws_trigger.h"

#include <stdio.h>

int main(void)
{
    static kws_state_t state;
    static kws_logmel_state_t microphone;
    static kws_trigger_state_t heard;
    int16_t block[320];
    int16_t x[KWS_INPUT_SIZE];
    int16_t y[KWS_OUTPUT_SIZE + 1];
    size_t count;
    kws_reset(&state);
    kws_logmel_reset(&microphone);
    kws_trigger_reset(&heard);
    while ((count = fread(block, sizeof *block, 320, stdin)) > 0) {
        const int16_t *at = block;
        while (kws_logmel_push(&microphone, &at, &count, x) > 0) {
            if (kws_step(&state, x, y) != EDGERNN_OK) {
                return 1;
            }
            y[KWS_OUTPUT_SIZE] = (int16_t)kws_trigger_push(&heard, y);
            fwrite(y, sizeof *y, KWS_OUTPUT_SIZE + 1, stdout);
        }
    }
    return 0;
}
"""
