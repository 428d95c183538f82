"""What a model costs on a microcontroller, known before it is compiled.

flash   weights, tables of the engine, code, what the code takes from the C library
RAM     state and the step's stack, its scratch arena included; the arrays that hold the input and
        the output are the application's
counts  instructions of one step, not cycles

All for -O2 with the compiler that a target names. On the emulated boards that the prices were
measured on, models of the usual cells are within 2 %, the smallest within 8 bytes of RAM. Plain C
takes a few instructions more or less where a value saturates: they are counted for inputs that
rarely do. A loop whose like was not measured is the sum of its operators: for such a model the
numbers are no more than its order of magnitude.
"""

from edgernn.footprint.estimate import Footprint, estimate, estimates
from edgernn.footprint.targets import Target, load_targets

__all__ = ["Footprint", "Target", "estimate", "estimates", "load_targets"]
