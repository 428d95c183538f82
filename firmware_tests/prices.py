"""From features and what was measured to prices: weighted least squares with a prior.

What all loops have in common is found from all of them; a loop's own price, and that of the way in
which it is called, is how far it is from that, and small if it was seen seldom.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from edgernn.footprint.estimate import arena_bytes, frame_parts, total
from edgernn.footprint.features import engine_feature, functions
from edgernn.footprint.targets import Target
from edgernn.footprint.window import (
    window_code,
    window_estimate,
    window_frame,
    window_instructions,
)
from firmware_tests.samples import Sample
from firmware_tests.windows import WindowSample

NOISE: Final = 0.003
"""Of a sum of prices, relative: what the features do not see of what the compiler does."""
OWN: Final = re.compile(r"[0-9a-f]{12}")
SPREADS: Final = (
    (rf"(partial )?turn {OWN.pattern}$", 5.0),
    (rf"(partial )?turn {OWN.pattern} ", 3.0),
    (rf"(partial )?call {OWN.pattern}", 15.0),
    (rf"code {OWN.pattern}", 20.0),
    (rf"frame {OWN.pattern}$", 15.0),
    (rf"frame {OWN.pattern} ", 10.0),
    (r"turn pressure", 2.0),
    (r"call pressure", 3.0),
    (r"loop pressure", 6.0),
    (r"frame pressure", 3.0),
    (r"loop turn partial access", 3.0),
    (r"loop turn ", 5.0),
    (r"loop call ", 20.0),
    (r"turn \w+ ", 4.0),
    (r"turn ", 30.0),
    (r"call \w+ ", 2.0),
    (r"call ", 4.0),
    (r"single ", 8.0),
    (r"code \w+ ", 10.0),
    (r"code ", 60.0),
    (r"several ", 20.0),
    (r"loop ", 40.0),
    (r"frame ", 6.0),
    (r"frame$|step frame", 60.0),
    (r"step ", 10.0),
    (r"copy in place", 8.0),
    (r"copied", 2.0),
    (r"window (copied|state|kept)", 2.0),
    (r"window (argument|array|port)", 8.0),
    (r"window", 30.0),
)
"""How far prices are from 0, or a loop's own from what its operators say: the first that fits."""
FRAME_NOISE: Final = 4.0
"""Bytes."""
SMALL: Final = 1e-3
SMALL_OWN: Final = 0.05
"""Prices below are left out, as they make no difference."""


def prices(
    counts: Sequence[Counter[str]], measured: Sequence[float], noise: float = NOISE
) -> dict[str, float]:
    """Feature -> price. counts and measured: of programs."""
    return _solved(counts, measured, [noise * abs(m) + 0.3 for m in measured])


def _solved(
    counts: Sequence[Counter[str]], measured: Sequence[float], noise: Sequence[float]
) -> dict[str, float]:
    names = sorted({name for row in counts for name in row})
    weight = 1.0 / np.array(noise)
    matrix = np.array([[row[name] for name in names] for row in counts], dtype=float)
    spread = np.array([_spread(name) for name in names])
    # In units of the spread the prior is one row of the identity for each price.
    scaled = np.concatenate([matrix * weight[:, None] * spread, np.eye(len(names))])
    target = np.concatenate([np.array(measured) * weight, np.zeros(len(names))])
    found = np.linalg.lstsq(scaled, target, rcond=None)[0] * spread
    return {
        n: round(float(p), 2 if OWN.search(n) else 4)
        for n, p in zip(names, found, strict=True)
        if abs(p) > (SMALL_OWN if OWN.search(n) else SMALL)
    }


def _spread(name: str) -> float:
    return next((spread for pattern, spread in SPREADS if re.match(pattern, name)), 3000.0)


def frames(samples: Sequence[Sample], lanes: int, alignment: int) -> dict[str, float]:
    """Bytes of stack: of the engine's functions, and of a step's frame beside the scratch arena."""
    found: dict[str, float] = {}
    for s in samples:
        if not functions(s.model):
            name = engine_feature(s.model)
            found[name] = max(found.get(name, 0.0), float(s.stack))
    found["engine"] = max(found.values())
    found["engine "] = 0.0
    looping = [(s, functions(s.model)) for s in samples if functions(s.model)]
    # At first those whose loops are all in the step: how deep the others go is then known about.
    chosen = [(s, loops) for s, loops in looping if all(len(f.sizes) == 1 for f in loops)]
    own: dict[str, float] = {"frame": 1.0}
    noise: list[float] = []
    for turn in range(8):
        if turn == 3:
            chosen, noise = looping, []
        counts, rest = [], []
        for sample, loops in chosen:
            parts, engine = frame_parts(sample.model, loops, found | own, lanes)
            counts.append(parts)
            # What was measured is rounded up, by less than the alignment.
            below = engine + arena_bytes(sample.model) + 0.5 * (alignment - 1)
            rest.append(sample.stack - below)
        own = _solved(counts, rest, noise or [FRAME_NOISE] * len(rest))
        left = [abs(r - total(c, own)) for r, c in zip(rest, counts, strict=True)]
        # The compiler has its moods: what is far off counts less.
        noise = [max(FRAME_NOISE, error / 3) for error in left]
    return found | own


def with_windows(target: Target, samples: Sequence[WindowSample]) -> Target:
    """The target with the prices of what a window costs beside the steps of its stages."""
    counts, measured, noise = [], [], []
    code_counts, code_measured, frame_counts, frame_measured = [], [], [], []
    for sample in samples:
        for steps, instructions in sample.instructions.items():
            cost = window_estimate(sample.model, target, steps)
            counts.append(window_instructions(sample.model, steps))
            measured.append(float(instructions - cost.instructions))
            # The stages' own error is what stands out.
            noise.append(0.01 * instructions + 10)
        code_counts.append(window_code(sample.model))
        code_measured.append(float(sample.flash - cost.flash))
        frame_counts.append(window_frame(sample.model))
        frame_measured.append(float(sample.stack - cost.state - cost.stack))
    return replace(
        target,
        instructions={**target.instructions, **_solved(counts, measured, noise)},
        code={**target.code, **_solved(code_counts, code_measured, [20.0] * len(samples))},
        frames={**target.frames, **_solved(frame_counts, frame_measured, [8.0] * len(samples))},
    )
