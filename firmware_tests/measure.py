"""What a model costs on a board: instructions, stack, flash and RAM."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firmware_tests.build import Image
from firmware_tests.emulator import count_instructions, stack_bytes
from firmware_tests.sizes import Sizes, sizes


@dataclass(frozen=True)
class Measurement:
    """instructions: (T,) of each step. stack: most bytes that a step wrote below its caller's."""

    instructions: NDArray[np.int64]
    stack: int
    sizes: Sizes

    @property
    def mean_instructions(self) -> float:
        """Instructions per step; they depend a little on the data."""
        return float(self.instructions.mean())

    @property
    def flash(self) -> int:
        """Bytes: weights, tables and code."""
        return self.sizes.flash

    @property
    def ram(self) -> int:
        """Bytes: state, other variables, and the stack of a step."""
        return self.sizes.state + self.sizes.static + self.stack


def measure(image: Image, inputs: NDArray[np.int16], model: str | None = None) -> Measurement:
    """Measure a model of an image from its reset on, over inputs (T, I) int16."""
    instructions = count_instructions(image, inputs, model)
    # Painting takes much longer than a step, and the paths of a step are few.
    stack = int(stack_bytes(image, inputs[:8], model).max())
    return Measurement(instructions, stack, sizes(image, model))
