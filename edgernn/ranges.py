"""What calibration learned about each value: how far it reaches and how it varies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from edgernn.rounding import Moments


@dataclass(frozen=True, eq=False)
class Ranges:
    """Calibrated facts, by value name.

    amplitudes: |value| that int16 must hold, > 0. second: mean and covariance of values that a
    matrix product reads.
    """

    amplitudes: Mapping[str, float]
    second: Mapping[str, Moments]

    def __post_init__(self) -> None:
        object.__setattr__(self, "amplitudes", MappingProxyType(dict(self.amplitudes)))
        object.__setattr__(self, "second", MappingProxyType(dict(self.second)))

    def amplitude(self, value: str) -> float:
        """How far a value reaches from zero."""
        return self.amplitudes[value]

    def moments(self, value: str) -> Moments:
        """Mean and covariance of a value."""
        return self.second[value]
