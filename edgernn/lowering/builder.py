"""The program under construction: tensors, operators and quantized matrices."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgernn.rounding import Moments, Rounding
from edgernn.runtime.errors import UnsupportedError
from edgernn.runtime.functions import tabulated
from edgernn.runtime.operators import KINDS, MAX_BIAS, SHIFTS
from edgernn.runtime.program import UNIT, Matrix, Operator, Program, Scale, State, Tensor

FINEST: Final = 32
"""The largest shift that is chosen: a step of the weight is then at most 1/8 of one of the output,
and the C kernels requantize with the high word of one product."""


def covering_scale(amplitude: float, mantissa: int = 1) -> Scale:
    """The smallest scale mantissa * 2^e at which +-amplitude fits int16."""
    amplitude = min(max(amplitude, 2.0**-30), 2.0**60)
    exponent = math.ceil(math.log2(amplitude / (32767 * mantissa)))
    if 32767 * mantissa * 2.0**exponent < amplitude:
        exponent += 1
    return Scale(mantissa, max(min(exponent, 30), -40))


@dataclass
class Builder:
    """Collects tensors and operators in execution order.

    Methods named after an operator append it and return the name of its output.
    mask: the tensor that freezes the states carried while it is set; "" for none.
    """

    rounding: Rounding
    tensors: dict[str, Tensor] = field(default_factory=dict)
    operators: list[Operator] = field(default_factory=list)
    states: list[State] = field(default_factory=list)
    constants: dict[str, NDArray[np.int16]] = field(default_factory=dict)
    mask: str = ""

    def begin(self, layer: str) -> None:
        """What is appended from here on belongs to this layer: for a builder that keeps account."""

    def meant(self, name: str, weight: NDArray[Any], bias: NDArray[Any]) -> None:
        """The numbers that the integers of a product stand for: for a builder that keeps account.

        weight (rows, K), bias (rows,), float64 or float32.
        """

    def tensor(self, name: str, size: int, scale: Scale) -> str:
        """Declare a tensor; its name must be new."""
        if name in self.tensors:
            raise AssertionError(f"tensor {name} is declared twice")
        self.tensors[name] = Tensor(name, size, scale)
        return name

    def state(self, name: str, size: int, scale: Scale, initial: NDArray[np.float32]) -> str:
        """Declare a state's input tensor; `carry` closes the loop."""
        reach = float(scale) * 32767.5
        if not np.isfinite(initial).all() or float(np.abs(initial).max(initial=0.0)) > reach:
            raise UnsupportedError(
                f"the initial state {name} leaves +-{reach:.4g}, the range of this state; "
                "train or start it within that range"
            )
        tensor = self.tensor(f"{name}_in", size, scale)
        integers = np.clip(np.rint(initial.astype(np.float64) / float(scale)), -32768, 32767)
        self.states.append(State(name, tensor, "", integers.astype(np.int16)))
        return tensor

    def constant(self, name: str, values: NDArray[Any], scale: Scale | None = None) -> str:
        """Declare a tensor of fixed values (size,), at the finest scale unless one is given."""
        if not np.isfinite(values).all():
            raise UnsupportedError(f"{name} holds NaN or infinity; train the model again")
        scale = covering_scale(float(np.abs(values).max(initial=0.0))) if scale is None else scale
        integers = np.rint(values.astype(np.float64) / float(scale))
        self.constants[name] = np.clip(integers, -32768, 32767).astype(np.int16)
        return self.tensor(name, len(values), scale)

    def carry(self, name: str, tensor: str) -> str:
        """The tensor becomes the next value of a declared state; returns that next value.

        Where a mask is set, the state stays as it was wherever the mask is 0.
        """
        index = next(i for i, s in enumerate(self.states) if s.name == name)
        old = self.states[index]
        if self.mask:
            tensor = self.select(f"{tensor}_kept", self.mask, tensor, old.input)
        self.states[index] = State(old.name, old.input, tensor, old.initial)
        return tensor

    def size(self, tensor: str) -> int:
        """Elements of a declared tensor."""
        return self.tensors[tensor].size

    def scale(self, tensor: str) -> Scale:
        """Scale of a declared tensor."""
        return self.tensors[tensor].scale

    def linear(
        self,
        name: str,
        x: str,
        weight: NDArray[Any],
        bias: NDArray[Any],
        moments: Moments,
        scale: Scale,
    ) -> str:
        """Quantize weight (rows, K) and bias (rows,) and append the product."""
        self.meant(name, weight, bias)
        matrix = quantize_matrix(weight, bias, moments, self.scale(x), scale, self.rounding, name)
        self.tensor(name, len(weight), scale)
        self.operators.append(Operator("linear", (x,), (name,), matrix))
        return name

    def reachable(self, scale: Scale, x: str, weight: NDArray[Any], moments: Moments) -> Scale:
        """The scale, or the next wider one at which the product's multipliers are in range.

        An output that stayed near zero during calibration would ask for too fine a scale. What no
        scale can help is left for `linear` to refuse.
        """
        if not np.isfinite(weight).all():
            return scale
        wanted = float(self.rounding.scales(weight.astype(np.float64), moments).max())
        limit = 0.9 * (1 << 15 - SHIFTS[0])
        while wanted * float(self.scale(x)) / float(scale) > limit and scale.exponent < 40:
            scale = Scale(scale.mantissa, scale.exponent + 1)
        return scale

    def can_add(self, a: str, b: str, scale: Scale) -> bool:
        """Is the sum of these tensors at this scale the same on every runtime?"""
        operands = [self.tensors[a], self.tensors[b]]
        try:
            operator = Operator("add", (a, b), ("sum",))
            KINDS["add"].check(operator, operands, [Tensor("sum", self.size(a), scale)])
        except ValueError:
            return False
        return True

    def add(self, name: str, a: str, b: str, scale: Scale) -> str:
        """a + b."""
        return self._append("add", name, (a, b), self.size(a), scale)

    def sub(self, name: str, a: str, b: str, scale: Scale) -> str:
        """a - b."""
        return self._append("sub", name, (a, b), self.size(a), scale)

    def mul(self, name: str, a: str, b: str, scale: Scale) -> str:
        """a * b; the scales must make the factor 2^-15."""
        return self._append("mul", name, (a, b), self.size(a), scale)

    def logistic(self, name: str, x: str) -> str:
        """sigmoid(x)."""
        return self._append("logistic", name, (x,), self.size(x), UNIT)

    def tanh(self, name: str, x: str) -> str:
        """tanh(x)."""
        return self._append("tanh", name, (x,), self.size(x), UNIT)

    def relu(self, name: str, x: str) -> str:
        """max(x, 0)."""
        return self._append("relu", name, (x,), self.size(x), self.scale(x))

    def maximum(self, name: str, a: str, b: str) -> str:
        """max(a, b), of equal scale."""
        return self._append("maximum", name, (a, b), self.size(a), self.scale(a))

    def select(self, name: str, mask: str, a: str, b: str) -> str:
        """a where mask is not 0, else b, of equal scale; mask has one element or as many as a."""
        return self._append("select", name, (mask, a, b), self.size(a), self.scale(a))

    def lookup(
        self,
        name: str,
        x: str,
        function: Callable[[NDArray[np.float64]], NDArray[np.float64]],
        scale: Scale,
    ) -> str:
        """function(x), element by element, interpolated between 513 points."""
        table = tabulated(function, self.scale(x), scale)
        self.tensor(name, self.size(x), scale)
        self.operators.append(Operator("lookup", (x,), (name,), table=table))
        return name

    def rsqrt(self, name: str, x: str, scale: Scale) -> str:
        """1 / sqrt(x); scale^2 times that of x must be a power 4^-15 to 4^-23."""
        return self._append("rsqrt", name, (x,), self.size(x), scale)

    def embedding(self, name: str, ids: str, table: NDArray[np.int8], scale: Scale) -> str:
        """The row of an int8 table (tokens, size) that the id says."""
        self.tensor(name, table.shape[1], scale)
        self.operators.append(Operator("embedding", (ids,), (name,), table=table))
        return name

    def rescale(self, name: str, x: str, scale: Scale) -> str:
        """x at another scale; x itself if it has that scale."""
        if self.scale(x) == scale:
            return x
        return self._append("rescale", name, (x,), self.size(x), scale)

    def concat(self, name: str, parts: tuple[str, ...]) -> str:
        """The parts one after the other, at the scale they share."""
        size = sum(self.size(p) for p in parts)
        return self._append("concat", name, parts, size, self.scale(parts[0]))

    def split(self, x: str, parts: Mapping[str, int]) -> tuple[str, ...]:
        """Cut x into parts, name -> size."""
        for name, size in parts.items():
            self.tensor(name, size, self.scale(x))
        self.operators.append(Operator("split", (x,), tuple(parts)))
        return tuple(parts)

    def _append(
        self, kind: str, name: str, inputs: tuple[str, ...], size: int, scale: Scale
    ) -> str:
        self.tensor(name, size, scale)
        self.operators.append(Operator(kind, inputs, (name,)))
        return name

    def program(
        self, inputs: tuple[str, ...], outputs: Mapping[str, str], metadata: Mapping[str, Any]
    ) -> Program:
        """The finished program."""
        return Program(
            self.tensors,
            inputs,
            outputs,
            tuple(self.states),
            tuple(self.operators),
            metadata,
            self.constants,
        )


def quantize_matrix(
    weight: NDArray[Any],
    bias: NDArray[Any],
    moments: Moments,
    scale_in: Scale,
    scale_out: Scale,
    rounding: Rounding,
    name: str = "a matrix",
) -> Matrix:
    """Quantize weight (rows, K) and bias (rows,) for an input and an output of given scales."""
    wide = weight.astype(np.float64)
    if not (np.isfinite(wide).all() and np.isfinite(bias).all()):
        raise UnsupportedError(f"the weights of {name} hold NaN or infinity; train the model again")
    wanted = rounding.scales(wide, moments) * (float(scale_in) / float(scale_out))
    step = scale_in.mantissa // math.gcd(scale_in.mantissa, scale_out.mantissa)
    multiplier, shift = admissible_factors(wanted, step, name)
    scales = multiplier * 2.0 ** -shift.astype(np.float64)
    scales *= float(scale_out.fraction / scale_in.fraction)
    integers = rounding.integers(wide, scales, moments)
    # The mean of the rounding error is a constant: the bias takes it back.
    shifted = bias.astype(np.float64) + (wide - scales[:, None] * integers) @ moments.mean
    bias_integers = np.clip(
        np.rint(shifted / (scales * float(scale_in))), -float(MAX_BIAS), float(MAX_BIAS)
    )
    return Matrix(integers, bias_integers.astype(np.int64), multiplier.astype(np.int32), shift)


def admissible_factors(
    wanted: NDArray[np.float64], step: int, name: str
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """The smallest factors multiplier * 2^-shift >= wanted that every runtime computes alike.

    The multiplier is an odd multiple of `step` in (16384, 32768); odd keeps ties rare.
    """
    low, high = SHIFTS[0], FINEST
    mantissa, exponent = np.frexp(wanted)
    multiplier = _round_up(mantissa * 32768.0, step)
    shift = 15 - exponent
    over = multiplier > 32767
    multiplier = np.where(over, _round_up(np.full_like(wanted, 16385.0), step), multiplier)
    shift = np.where(over, shift - 1, shift)
    if (shift < low).any():
        raise UnsupportedError(
            f"{name} turns one unit of its input into more than {1 << 15 - low} units of its "
            "output; normalise the model's input, for instance to zero mean and unit variance"
        )
    # Rows too small to matter get the finest scale there is.
    small = shift > high
    multiplier = np.where(small, _round_up(np.full_like(wanted, 16385.0), step), multiplier)
    return multiplier, np.where(small, high, shift).astype(np.int32)


def _round_up(x: NDArray[np.float64], step: int) -> NDArray[np.float64]:
    count = np.ceil(np.maximum(x, 16385.0) / step)
    count += count % 2 == 0
    return count * step
