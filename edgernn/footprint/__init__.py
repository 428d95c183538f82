"""What a model costs on a microcontroller, known before it is compiled.

flash   weights, tables of the engine, code, what the code takes from the C library
RAM     state and the step's stack, its scratch arena included; the arrays that hold the input and
        the output are the application's
counts  instructions of one step, not cycles

All for -O2 with the compiler that a target names. The loops of the whole family were measured on
emulated boards, in networks of many sizes; a loop whose like was not measured is the sum of its
operators, and `Footprint.measured` says so. `Footprint.errors` has the worst and the mean error
that was found on programs that no price was taken from: where all loops were measured,
instructions and flash are within 3 % on most targets, and the mean is 0.5 %; the stack depends on
the mood of the compiler, and the RAM of small models is further off. Stacks of GRU, LSTM and RNN
layers are within 2 %. Plain C takes a few instructions more or less where a value saturates: they
are counted for inputs that rarely do.

`breakdown` says where it all goes, action by action; `window_estimate` and `window_breakdown` are
the same for window programs.
"""

from edgernn.footprint.breakdown import Part, breakdown
from edgernn.footprint.estimate import Footprint, estimate, estimates
from edgernn.footprint.targets import Error, Errors, Target, load_targets
from edgernn.footprint.window import (
    WindowFootprint,
    window_breakdown,
    window_estimate,
    window_estimates,
)

__all__ = [
    "Error",
    "Errors",
    "Footprint",
    "Part",
    "Target",
    "WindowFootprint",
    "breakdown",
    "estimate",
    "estimates",
    "load_targets",
    "window_breakdown",
    "window_estimate",
    "window_estimates",
]
