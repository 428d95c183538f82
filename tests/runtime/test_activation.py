"""LOGISTIC and TANH over the int16 range, against the rule written out on Python integers."""

from __future__ import annotations

import numpy as np
import pytest

from edgernn.runtime import activation
from edgernn.runtime.program import GATE, Scale

SCALES = [GATE, Scale(3, -12), Scale(3, -15), Scale(3, -16), Scale(3, -20)]
EVERY = np.arange(-32768, 32768, dtype=np.int64)


def by_the_rule(kind: str, x: int, multiplier: int, shift: int) -> int:
    table = activation.SIGMOID_TABLE.tolist()
    xi = (x * multiplier + (1 << (shift - 1))) >> shift
    bits, a = (9 if kind == "logistic" else 8), abs(xi)
    i, fraction = a >> bits, a & ((1 << bits) - 1)
    if kind == "logistic":
        r = 32767 << 10 if i >= 255 else (table[i] << 9) + fraction * (table[i + 1] - table[i])
        return (r + 512) >> 10 if xi >= 0 else ((1 << 25) - r + 511) >> 10
    r = 65535 << 8 if i >= 255 else (table[i] << 8) + fraction * (table[i + 1] - table[i])
    return (r - (1 << 23) + 128) >> 8 if xi >= 0 else ((1 << 23) - r + 127) >> 8


@pytest.mark.parametrize("scale", SCALES, ids=str)
@pytest.mark.parametrize("kind", ["logistic", "tanh"])
def test_inputs_follow_the_rule(kind: str, scale: Scale) -> None:
    constants = activation.input_multiplier(float(scale))
    # Every input at the scale of the gates, one of seven elsewhere.
    part = slice(None, None, 1 if scale == GATE else 7)
    wanted = [by_the_rule(kind, x, *constants) for x in EVERY[part].tolist()]
    np.testing.assert_array_equal(activation.full_table(kind, float(scale))[part], wanted)


@pytest.mark.parametrize("scale", SCALES, ids=str)
def test_every_input_is_close_to_the_real_function(scale: Scale) -> None:
    real = EVERY * float(scale)
    # The straight lines between the table's entries cost a few units.
    logistic = activation.logistic(EVERY, float(scale)) / 32768.0
    assert np.abs(logistic - 1.0 / (1.0 + np.exp(-real))).max() < 5 / 32768
    tanh = activation.tanh(EVERY, float(scale)) / 32768.0
    assert np.abs(tanh - np.tanh(real)).max() < 14 / 32768


def test_results_stay_within_int16_and_the_sigmoid_is_never_negative() -> None:
    for scale in SCALES:
        logistic = activation.logistic(EVERY, float(scale))
        tanh = activation.tanh(EVERY, float(scale))
        assert 0 <= logistic.min() <= logistic.max() <= 32767
        assert -32768 <= tanh.min() <= tanh.max() <= 32767


def test_both_functions_never_fall() -> None:
    for kind in ("logistic", "tanh"):
        for scale in SCALES:
            steps = np.diff(activation.full_table(kind, float(scale)).astype(np.int64))
            assert steps.min() >= 0


def test_the_gate_scale_is_brought_to_the_grid_exactly() -> None:
    assert activation.input_multiplier(float(GATE)) == (18432, 12)
    assert float(GATE) * 4096 * 3 == 18432 / (1 << 12)


def test_the_multiplier_uses_15_bits() -> None:
    for exponent in range(-30, -11):
        multiplier, shift = activation.input_multiplier(float(Scale(3, exponent)))
        assert 16384 <= multiplier <= 32767
        assert 1 <= shift <= 30
        assert multiplier * 2.0**-shift == float(Scale(3, exponent)) * 4096 * 3


@pytest.mark.parametrize("scale", [3.0, 2.0**-50, 1.5])
def test_a_scale_the_kernels_cannot_read_is_refused(scale: float) -> None:
    with pytest.raises(ValueError, match="cannot read"):
        activation.input_multiplier(scale)


def test_the_tables_are_read_only() -> None:
    assert not activation.full_table("tanh", float(GATE)).flags.writeable
    assert not activation.SIGMOID_TABLE.flags.writeable
    assert len(activation.SIGMOID_TABLE) == 256
