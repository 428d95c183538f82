"""What a program is made of: exact scales, and mappings that nobody writes to."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from edgernn.runtime.program import GATE, Scale
from tests.runtime.forgery import genuine


@pytest.mark.parametrize(
    ("mantissa", "exponent"), [(2, 0), (0, 0), (-3, 0), ((1 << 24) + 1, 0), (1, -101), (1, 61)]
)
def test_a_scale_that_is_not_short_and_odd_is_refused(mantissa: int, exponent: int) -> None:
    with pytest.raises(ValueError, match="scale"):
        Scale(mantissa, exponent)


def test_a_scale_is_exact_in_float32() -> None:
    for scale in (Scale((1 << 24) - 1, 60), Scale((1 << 24) - 1, -100), GATE):
        assert Fraction(float(np.float32(float(scale)))) == scale.fraction
        assert Scale.of(scale.fraction) == scale
    for value in (Fraction(1, 3), Fraction(0), Fraction(-1, 2)):
        with pytest.raises(ValueError, match="dyadic"):
            Scale.of(value)


def test_a_program_cannot_be_written_through() -> None:
    program = genuine()
    for mapping in (program.tensors, program.outputs, program.metadata):
        with pytest.raises(TypeError):
            mapping["x"] = None  # type: ignore[index]
