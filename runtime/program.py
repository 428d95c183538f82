"""What a program is: int16 tensors, the operators between them, and the state they carry.

A program computes one time step. Every tensor is an int16 vector with a dyadic scale and zero
point 0; the operators are those of `edgernn.runtime.operators`, in execution order. Engines and
exporters read this description and nothing else; it is immutable once built.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, order=False)
class Scale:
    """A dyadic scale, mantissa * 2^exponent; mantissa odd and below 2^24, so exact in float32."""

    mantissa: int
    exponent: int

    def __post_init__(self) -> None:
        if not (0 < self.mantissa < 1 << 24 and self.mantissa % 2):
            raise ValueError(f"scale mantissa {self.mantissa} is not odd in 1 .. 2^24")
        if not -100 <= self.exponent <= 60:
            raise ValueError(f"scale exponent {self.exponent} is not in -100 .. 60")

    @classmethod
    def of(cls, value: Fraction) -> Scale:
        """The scale of an exact dyadic value; ValueError if it is none."""
        numerator, denominator = value.numerator, value.denominator
        if numerator <= 0 or denominator & (denominator - 1):
            raise ValueError(f"{value} is not a positive dyadic number")
        twos = (numerator & -numerator).bit_length() - 1
        return cls(numerator >> twos, twos - (denominator.bit_length() - 1))

    @property
    def fraction(self) -> Fraction:
        """The exact value."""
        return Fraction(self.mantissa) * Fraction(2) ** self.exponent

    def __float__(self) -> float:
        return float(self.mantissa) * 2.0**self.exponent

    def __str__(self) -> str:
        head = "" if self.mantissa == 1 else f"{self.mantissa}*"
        return f"{head}2^{self.exponent}"


UNIT = Scale(1, -15)
"""Scale of everything that lives in [-1, 1): hidden states, gates, tanh."""
GATE = Scale(3, -13)
"""Scale of gate pre-activations, range +-12: every runtime takes the table path there."""


@dataclass(frozen=True)
class Tensor:
    """An int16 vector of `size` elements; real value = integer * scale."""

    name: str
    size: int
    scale: Scale


@dataclass(frozen=True, eq=False)
class Matrix:
    """The constants of a matrix product: y = sat((acc * multiplier + 2^(shift-1)) >> shift).

    weight: (rows, columns) int8 in -127 .. 127; bias: (rows,) int64, |bias| <= 2^37;
    multiplier: (rows,) int32 in 16384 .. 32767; shift: (rows,) int32 in 8 .. 35.
    """

    weight: NDArray[np.int8]
    bias: NDArray[np.int64]
    multiplier: NDArray[np.int32]
    shift: NDArray[np.int32]

    def row_scales(self, scale_in: Scale, scale_out: Scale) -> list[Scale]:
        """The exact scale of each weight row; ValueError if one is not dyadic."""
        ratio = scale_out.fraction / scale_in.fraction
        return [
            Scale.of(ratio * int(m) / (1 << int(k)))
            for m, k in zip(self.multiplier, self.shift, strict=True)
        ]


@dataclass(frozen=True, eq=False)
class Operator:
    """One operator: a kind from `operators.KINDS`, tensor names in and out, and its constants.

    matrix: of a linear. table: of a lookup (513,) int16, of an embedding (rows, columns) int8.
    It is known by the name of its first output.
    """

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    matrix: Matrix | None = None
    table: NDArray[Any] | None = None

    @property
    def name(self) -> str:
        """The name of the first output, unique in a program."""
        return self.outputs[0]


@dataclass(frozen=True, eq=False)
class State:
    """A vector carried from step to step: read as `input`, written as `output`.

    initial: (size,) int16, what a reset puts there.
    """

    name: str
    input: str
    output: str
    initial: NDArray[np.int16]


@dataclass(frozen=True, eq=False)
class Program:
    """One time step of a quantized recurrent network.

    inputs: tensor names, in call order. outputs: public name -> tensor name, in return order.
    constants: tensor name -> (size,) int16, tensors that no operator writes.
    metadata: text for people and tools; it never changes what is computed.
    """

    tensors: Mapping[str, Tensor]
    inputs: tuple[str, ...]
    outputs: Mapping[str, str]
    states: tuple[State, ...]
    operators: tuple[Operator, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    constants: Mapping[str, NDArray[np.int16]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # A frozen description: the mappings cannot be written through either.
        for name in ("tensors", "outputs", "metadata", "constants"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    def __reduce__(self) -> tuple[Any, ...]:
        # A mapping proxy can be neither pickled nor copied; what it shows can.
        values = [getattr(self, f.name) for f in fields(self)]
        return type(self), tuple(dict(v) if isinstance(v, Mapping) else v for v in values)

    def producer(self, name: str) -> Operator | None:
        """The operator that writes a tensor; None for inputs, state inputs and constants."""
        return next((op for op in self.operators if name in op.outputs), None)

    def consumers(self, name: str) -> list[Operator]:
        """The operators that read a tensor, in execution order."""
        return [op for op in self.operators if name in op.inputs]

    @property
    def weight_count(self) -> int:
        """Number of int8 weights, embedding tables included."""
        tables = [op.table for op in self.operators if op.kind == "embedding"]
        return sum(op.matrix.weight.size for op in self.operators if op.matrix) + sum(
            table.size for table in tables if table is not None
        )

    @property
    def row_count(self) -> int:
        """Number of weight rows over all matrix products."""
        return sum(op.matrix.weight.shape[0] for op in self.operators if op.matrix)
