"""A log-mel front end as the harness steps it: a hop of samples in, the features of a frame out."""

from __future__ import annotations

from edgernn.exporters.c.export import ENGINE
from edgernn.exporters.c.logmel import to_c_logmel
from edgernn.runtime.logmel_settings import LogMelSettings
from firmware_tests.build import Model

_WRAPPER = """\
#include "mic.h"

void mic_reset(mic_state_t *state)
{{
    mic_logmel_reset(state);
}}

edgernn_status_t mic_step(mic_state_t *state, const int16_t *x, int16_t *y)
{{
    size_t count = {hop};
    int ready;
    int i;
    for (i = 0; i < {bands}; ++i) {{
        y[i] = 0;
    }}
    do {{
        ready = mic_logmel_push(state, &x, &count, y);
    }} while (ready > 0);
    return ready == 0 ? EDGERNN_OK : EDGERNN_ERROR_STATE;
}}
"""
_HEADER = """\
#ifndef MIC_H
#define MIC_H
#include "mic_logmel.h"
typedef mic_logmel_state_t mic_state_t;
void mic_reset(mic_state_t *state);
edgernn_status_t mic_step(mic_state_t *state, const int16_t *x, int16_t *y);
#endif
"""


def front_end(settings: LogMelSettings) -> Model:
    """A model called mic: hop samples in, features out, zeros where no frame is complete yet."""
    wrapper = _WRAPPER.format(hop=settings.hop, bands=settings.bands)
    sources = to_c_logmel(settings, "mic") | {"mic.c": wrapper.encode(), "mic.h": _HEADER.encode()}
    sources["edgernn.h"] = (ENGINE / "edgernn.h").read_bytes()
    return Model("mic", sources, (settings.hop,), (settings.bands,))
