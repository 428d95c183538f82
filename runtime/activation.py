"""LOGISTIC and TANH on int16, as TensorFlow Lite computes them: a 256-entry table, interpolated.

Source: TensorFlow Lite, reference_integer_ops::Logistic and Tanh for int16 (16x8 mode).
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgernn.runtime.fixedpoint import Int64Array

# sigmoid(i / 24) in unsigned Q0.16, i = 0..255; the one table both functions interpolate.
# Not round(65536 * sigmoid): 44 entries are one higher, as in the kernels that must be matched.
_SIGMOID_TEXT: Final = """
    32768 33451 34133 34813 35493 36169 36843 37513 38180 38841 39498 40149 40794 41432 42064 42688
    43304 43912 44511 45102 45683 46255 46817 47369 47911 48443 48964 49475 49975 50464 50942 51409
    51865 52311 52745 53169 53581 53983 54374 54755 55125 55485 55834 56174 56503 56823 57133 57433
    57724 58007 58280 58544 58800 59048 59288 59519 59743 59959 60168 60370 60565 60753 60935 61110
    61279 61441 61599 61750 61896 62036 62172 62302 62428 62549 62666 62778 62886 62990 63090 63186
    63279 63368 63454 63536 63615 63691 63765 63835 63903 63968 64030 64090 64148 64204 64257 64308
    64357 64405 64450 64494 64536 64576 64614 64652 64687 64721 64754 64786 64816 64845 64873 64900
    64926 64950 64974 64997 65019 65039 65060 65079 65097 65115 65132 65149 65164 65179 65194 65208
    65221 65234 65246 65258 65269 65280 65291 65301 65310 65319 65328 65337 65345 65352 65360 65367
    65374 65381 65387 65393 65399 65404 65410 65415 65420 65425 65429 65433 65438 65442 65445 65449
    65453 65456 65459 65462 65465 65468 65471 65474 65476 65479 65481 65483 65485 65488 65489 65491
    65493 65495 65497 65498 65500 65501 65503 65504 65505 65507 65508 65509 65510 65511 65512 65513
    65514 65515 65516 65517 65517 65518 65519 65520 65520 65521 65522 65522 65523 65523 65524 65524
    65525 65525 65526 65526 65526 65527 65527 65528 65528 65528 65529 65529 65529 65529 65530 65530
    65530 65530 65531 65531 65531 65531 65531 65532 65532 65532 65532 65532 65532 65533 65533 65533
    65533 65533 65533 65533 65533 65534 65534 65534 65534 65534 65534 65534 65534 65534 65534 65535
"""
SIGMOID_TABLE: Final = np.array(_SIGMOID_TEXT.split(), dtype=np.int64)
SIGMOID_TABLE.setflags(write=False)

LAST: Final = len(SIGMOID_TABLE) - 1


def input_multiplier(scale: float) -> tuple[int, int]:
    """The (multiplier, shift) that brings an input of this scale to the table's Q4.12 / 3 grid.

    Raises ValueError for a scale the int16 kernels cannot take.
    """
    multiplier, shift = scale * 4096.0 * 3.0, 0
    while multiplier <= 16383.5 and shift <= 30:
        multiplier, shift = multiplier * 2.0, shift + 1
    if not (1 <= shift <= 30 and multiplier <= 32767.0):
        raise ValueError(f"an activation cannot read a tensor of scale {scale!r}")
    return int(multiplier), shift


def logistic(x: Int64Array, scale: float) -> Int64Array:
    """sigmoid(x * scale) at scale 2^-15; x int64 within int16, any shape."""
    xi = _rescaled(x, scale)
    r = _interpolate(np.abs(xi), 9, 32767 << 10)
    return np.where(xi >= 0, (r + 512) >> 10, ((1 << 25) - r + 511) >> 10)


def tanh(x: Int64Array, scale: float) -> Int64Array:
    """tanh(x * scale) at scale 2^-15; x int64 within int16, any shape."""
    xi = _rescaled(x, scale)
    r = _interpolate(np.abs(xi), 8, 65535 << 8)
    return np.where(xi >= 0, (r - (1 << 23) + 128) >> 8, ((1 << 23) - r + 127) >> 8)


@cache
def full_table(kind: str, scale: float) -> NDArray[np.int16]:
    """The function over all int16 inputs, (65536,) int16, entry x + 32768; read-only, shared."""
    function = {"logistic": logistic, "tanh": tanh}[kind]
    table = function(np.arange(-32768, 32768, dtype=np.int64), scale).astype(np.int16)
    table.setflags(write=False)
    return table


def _rescaled(x: Int64Array, scale: float) -> Int64Array:
    multiplier, shift = input_multiplier(scale)
    return (x * multiplier + (1 << (shift - 1))) >> shift


def _interpolate(a: Int64Array, bits: int, beyond: int) -> Int64Array:
    i = np.minimum(a >> bits, LAST - 1)
    fraction = a & ((1 << bits) - 1)
    low, high = SIGMOID_TABLE[i], SIGMOID_TABLE[i + 1]
    return np.where(a >> bits >= LAST, beyond, (low << bits) + fraction * (high - low))
